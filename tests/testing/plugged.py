"""A project of its own with tests, which pytest runs in a process of its own with our plugin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from otel_harn_steps._guard import RAISE_FAULTS

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = "otel_harn_steps_pytest"

AGENT = """
import os
from otel_harn_steps import record_llm_usage, step

@step("plan")
def plan(calls=1, tokens=1000, model="gpt-5"):
    for _ in range(calls):
        record_llm_usage(model, tokens, 20, provider="openai")
    search()

@step("search")
def search():
    record_llm_usage("gpt-5-mini", 100, 5, provider="openai")
"""


@dataclass(frozen=True)
class Project:
    """A folder with tests."""

    pytester: pytest.Pytester

    def write(self, **files: str) -> None:
        self.pytester.makepyfile(**files)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run its tests."""
        return self.pytester.runpytest_subprocess("-p", PLUGIN, "--strict-markers", *arguments)

    def passes(self, *arguments: str) -> str:
        """The output of a run in which no test fails."""
        ran = self.run(*arguments)
        assert ran.ret == 0, ran.stdout.str()
        return ran.stdout.str()

    def fails(self, *arguments: str) -> str:
        """The output of a run in which a test fails."""
        ran = self.run(*arguments)
        assert ran.ret == 1, ran.stdout.str()
        return ran.stdout.str()

    @property
    def snapshots(self) -> dict[str, bytes]:
        """The files of its cost snapshots."""
        found: Sequence[Path] = sorted(self.pytester.path.rglob("__cost_snapshots__/*"))
        return {file.name: file.read_bytes() for file in found}


def project_in(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, with the agent that its tests are about."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(RAISE_FAULTS, "1")
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "OTEL_HARN_STEPS_RUN"))]:
        monkeypatch.delenv(name)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(agent=AGENT)
    return Project(pytester)
