"""The pytest plugin where nobody uses it: it loads nothing and changes nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.testing.plugged import PLUGIN, ROOT, Project, project_in

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(pytester, monkeypatch)


def python(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    return ran.stdout.strip()


def test_pytest_finds_it_by_a_name_that_can_be_switched_off():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    assert f"{PLUGIN}.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]


def test_to_load_it_loads_nothing_but_pytest_and_the_standard_library():
    loaded = python(
        f"import sys, pytest; before = set(sys.modules); import {PLUGIN}; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    assert loaded == PLUGIN


def test_a_project_that_uses_nothing_of_it_loads_nothing_of_the_package(project):
    project.write(
        test_plain="""
        import sys

        def test_plain():
            assert [name for name in sys.modules if name.startswith(("otel_harn_steps.", "opentelemetry"))] == []

        def test_equal():
            assert {"a": 1} == {"a": 2}
        """
    )
    with_plugin = project.run()
    with_plugin.assert_outcomes(passed=1, failed=1)
    without = project.pytester.runpytest_subprocess("-p", f"no:{PLUGIN}")
    lines = [[line for line in ran.outlines if line.startswith("E ")] for ran in (with_plugin, without)]
    assert lines[0] == lines[1] != []
    assert not list(project.pytester.path.rglob("__cost_snapshots__"))


def test_a_fixture_of_the_same_name_in_the_project_is_the_one_that_its_tests_get(project):
    project.write(
        conftest="import pytest\n\n@pytest.fixture\ndef steps():\n    return 'ours'\n",
        test_own="def test_own(steps):\n    assert steps == 'ours'\n",
    )
    project.passes()


def test_the_kit_works_where_there_is_no_pytest():
    program = """
import sys
sys.modules["pytest"] = None
from otel_harn_steps import record_llm_usage, step
from otel_harn_steps.testing import CostSnapshot, capture_steps
with capture_steps() as captured, step("plan"):
    record_llm_usage("m", 1, 1, 0.5)
print(captured.cost_usd)
"""
    assert python(program) == "0.5"


def test_the_fixture_leaves_no_instrumentation_behind(project):
    project.write(
        test_fixture="""
        import agent
        from otel_harn_steps._instrument.instrumentation import current_instrumentation

        def test_captures(steps):
            agent.plan()
            assert steps.step("plan").total.calls == 2
            assert len(steps.records) == 2

        def test_after():
            assert current_instrumentation() is None
        """
    )
    project.passes()


def test_an_async_test_has_its_own_steps_whatever_loop_it_runs_in(project):
    pytest.importorskip("pytest_asyncio")
    project.write(
        test_loops="""
        import asyncio, pytest, agent

        pytestmark = pytest.mark.asyncio(loop_scope="session")

        @pytest.mark.parametrize("calls", [1, 2, 3])
        async def test_own(steps, calls):
            await asyncio.gather(*[asyncio.to_thread(agent.plan, calls) for _ in range(3)])
            assert steps.step("plan").own.calls == 3 * calls
            assert steps.total.calls == 3 * calls + 3
        """
    )
    project.passes()


def test_the_option_and_the_mark_are_described(project):
    assert "--update-cost-snapshots" in project.passes("--help")
    assert "@pytest.mark.step_budget(max_usd=..., max_tokens=..., max_calls=...)" in project.passes("--markers")
