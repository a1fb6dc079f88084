"""The documents are true: their code runs and prints what they say, their links lead somewhere, nothing is left out."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_harn_steps

pytest.importorskip("openai", reason="needs the group `demo`")

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# What the README may tell a reader to type, besides targets of the Makefile.
INSTALLATIONS = {"pip install otel-harn-steps", "pip install 'otel-harn-steps[sdk]'"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return [found[3] for found in FENCE.finditer(page.read_text(encoding="utf-8")) if found[2] == language]


def program_of(page: Path) -> str:
    """The Python blocks of a page as one program, each line where it stands in the page."""
    text = page.read_text(encoding="utf-8")
    kept = [""] * (text.count("\n") + 1)
    for found in FENCE.finditer(text):
        if found[2] == "python":
            first = text.count("\n", 0, found.start(3))
            kept[first : first + found[3].count("\n")] = found[3].splitlines()
    return "\n".join(kept).rstrip() + "\n"


def environment(**more: str) -> dict[str, str]:
    """This one, without what changes a Python, an SDK or a client."""
    meddling = ("PYTHON", "OTEL_", "OPENAI_", "ANTHROPIC_", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(meddling)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "NO_PROXY": "127.0.0.1"} | more


def output_of(*command: str, **more: str) -> str:
    ran = subprocess.run(
        [sys.executable, *command],
        env=environment(**more), capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def recorded() -> Iterator[str]:
    """The demo's recordings, served on this machine; its URL."""
    spec = importlib.util.spec_from_file_location("stand_in", ROOT / "examples" / "stand_in.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with module.stand_in() as url:
        yield url
    del sys.modules[spec.name]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_its_comments_say(page, recorded, tmp_path):
    program = tmp_path / f"page_{page.stem}.py"  # not the name of a library that the page imports
    program.write_text(program_of(page), encoding="utf-8")
    keys = {"OPENAI_API_KEY": "not needed", "ANTHROPIC_API_KEY": "not needed"}
    printed = output_of(str(program), OPENAI_BASE_URL=f"{recorded}/v1", ANTHROPIC_BASE_URL=recorded, **keys)
    said = re.findall(r"^ *print\(.*\)  # (.+)$", program_of(page), re.MULTILINE)
    assert printed.splitlines() == said


PYTEST_PAGE = ROOT / "docs" / "pytest.md"


@pytest.fixture
def tests_of_the_page(tmp_path):
    """Runs the tests of the page on pytest, with something in them replaced. Returns what is printed."""

    def run(*arguments, replaces=("", ""), fails=False):
        (tmp_path / "test_page.py").write_text(program_of(PYTEST_PAGE).replace(*replaces), encoding="utf-8")
        plugin = ("-p", "otel_harn_steps_pytest", "-p", "no:cacheprovider", "-o", "addopts=")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *plugin, *arguments],
            cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == int(fails), ran.stdout
        return ran.stdout

    return run


def test_the_tests_of_the_page_on_pytest_pass_once_their_snapshot_is_written(tests_of_the_page):
    assert "1 failed, 2 passed" in tests_of_the_page(fails=True)
    assert "3 passed" in tests_of_the_page("--update-cost-snapshots")
    assert "3 passed" in tests_of_the_page()


@pytest.mark.parametrize(
    ("block", "replaces"),
    [
        (0, ('cent():\n    plan("why?")', 'cent():\n    plan("why?")\n    plan("why?")')),
        (1, ('record_llm_usage("gpt-5", 1200', 'for _ in "ab": record_llm_usage("gpt-5-mini", 1200')),
    ],
)
def test_the_page_on_pytest_shows_what_its_tests_say(tests_of_the_page, block, replaces):
    tests_of_the_page("--update-cost-snapshots")
    printed = {line.removeprefix("E").strip() for line in tests_of_the_page(replaces=replaces, fails=True).splitlines()}
    shown = [line.strip() for line in blocks(PYTEST_PAGE, "text")[block].splitlines()]
    first = shown.pop(0)
    assert any(line.endswith(first) for line in printed)
    assert [line for line in shown if line not in printed] == []


def test_the_page_on_jupyter_shows_what_the_report_prints(tmp_path):
    page = ROOT / "docs" / "how-to" / "jupyter.md"
    program = tmp_path / "cells.py"
    program.write_text("".join([*blocks(page, "python")[:2], "print(report())\n"]), encoding="utf-8")
    assert output_of(str(program)).partition("\n")[2] == blocks(page, "text")[0]


def test_the_readme_shows_what_the_demo_prints():
    shown = README.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0].splitlines()
    printed = {line.strip() for line in output_of(str(ROOT / "examples" / "demo.py")).splitlines()}
    assert [line for line in shown if line.strip() not in {*printed, "", "..."}] == []
    assert len(shown) > 10


def test_the_commands_of_the_readme_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    allowed = {f"make {target}" for target in targets} | INSTALLATIONS
    typed = [line.partition("  #")[0].strip() for block in blocks(README, "sh") for line in block.splitlines()]
    assert {"make demo", "make test", "pip install otel-harn-steps"} <= set(typed)
    assert [line for line in typed if line not in allowed] == []


def test_the_extras_of_the_readme_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"otel-harn-steps\[(\w+)\]", README.read_text(encoding="utf-8"))
    assert named
    assert set(named) <= set(extras)


def test_the_page_of_attributes_is_current():
    output_of(str(ROOT / "docs" / "generate.py"), "--check")


def test_the_attributes_of_metrics_are_those_that_the_page_names():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from otel_harn_steps._telemetry.metrics import count_unseen

    reader = InMemoryMetricReader()
    otel_harn_steps.instrument(meter_provider=MeterProvider([reader]))
    try:
        with otel_harn_steps.step("plan", max_tokens=1, error_boundary="continue", at={0.5: "notify"}):
            otel_harn_steps.record_llm_usage("no price for this", 1, 1)
        with otel_harn_steps.step("plan"):
            otel_harn_steps.record_llm_usage("a price for this", 1, 1, 0.5)
            otel_harn_steps.record_llm_usage("gpt-5", 9, 9, provider="openai", cache_read_tokens=5, reasoning_tokens=5)
            otel_harn_steps.record_llm_usage("gpt-5", 9, None, provider="openai")
        count_unseen("api.openai.com")
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    counted = {metric.name: set(metric.data.data_points[0].attributes) for metric in scope.metrics}
    page = (ROOT / "docs" / "attributes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (?:counter|histogram) .*\| ([^|]+) \|$", page, re.MULTILINE)
    ours = [(name, attributes) for name, attributes in rows if not name.startswith("gen_ai.")]  # those are of calls
    assert counted == {name: set(re.findall(r"`([\w.]+)`", attributes)) for name, attributes in ours}


@pages
def test_relative_links_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked as, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_the_page_on_reliability_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    found = {path: functions_in(ROOT / path) for path, _ in named}
    assert len(named) > 50
    assert [f"{path}::{test}" for path, test in named if test not in found[path]] == []


def functions_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_public_name_is_in_the_docs():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in otel_harn_steps.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_page_is_linked_from_the_readme():
    links = re.findall(r"\]\(([^)\s]+)\)", README.read_text(encoding="utf-8"))
    assert [page.name for page in PAGES[1:] if str(page.relative_to(ROOT)) not in links] == []
