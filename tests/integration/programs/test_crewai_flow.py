"""The flow that CrewAI's own command makes (`crewai create flow posts`), as it made it. Nothing of it is kept here."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.frameworks.stand_in import MODEL, Provider, Said, usd
from tests.integration.coexistence.venvs import python_of
from tests.integration.programs.installed import ENVIRONMENTS, ROOT, installed

__all__ = ["installed"]

pytestmark = pytest.mark.slow

SAYS = {
    "Content Planner": Said("An outline", 101, 11),
    "Content Writer": Said("A draft", 203, 23),
    "Content Editor": Said("A post", 307, 37),
}
TASKS = {"planning_task": (1, 101, 11), "writing_task": (1, 203, 23), "editing_task": (1, 307, 37)}
SILENT = ("CREWAI_DISABLE_TELEMETRY", "CREWAI_DISABLE_TRACKING")
OF_ITS_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # it prints identities that are new in each run


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run."""

    code: int
    printed: list[str]  # the lines, sorted: panels come from threads of CrewAI's, in another order in each run
    post: str
    asked: list[str]
    records: list[dict[str, Any]]
    log: str


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("crewai", ENVIRONMENTS)


@pytest.fixture(scope="module")
def source(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the package `posts`, made anew by the command of CrewAI's that makes it for its users."""
    home = tmp_path_factory.mktemp("made")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **dict.fromkeys(SILENT, "true")}
    subprocess.run(
        [python.with_name("crewai"), "create", "flow", "posts"],
        cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=True,
    )  # fmt: skip
    return home / "posts" / "src"


@pytest.fixture
def run(server: ReplayServer, installed: Path, python: Path, source: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs the flow by one of the commands; None: by itself."""

    def run(command: str | None, config: str = "") -> Ran:
        provider = Provider(server)
        for who, said in SAYS.items():
            provider.says(who, said)
        home = tmp_path / str(command)
        home.mkdir()
        records, file = home / "records.jsonl", home / "harn-steps.toml"
        words = [str(python), "-m", "posts.main"]
        if command is not None:
            file.write_text(f'frameworks = "auto"\n{config}[sinks]\njson_lines = "{records}"\n', encoding="utf-8")
        if command == "otel-harn-steps":
            words = [str(python), "-m", "otel_harn_steps.cli", "run", "--config", str(file), "--", *words]
        elif command == "opentelemetry-instrument":
            words = [str(python.with_name(command)), *words]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(map(str, (source, ROOT, installed))),
            "CREWAI_STORAGE_DIR": str(home / "storage"),
            "CREWAI_TRACING_ENABLED": "false",
            "MODEL": f"openai/{MODEL}",
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": provider.url,  # the unmodified program's only way to it; crewai passes it on to openai
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **dict.fromkeys(SILENT, "true"),
            **({"OTEL_HARN_STEPS_CONFIG": str(file)} if command else {}),
        }
        done = subprocess.run(
            words, cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        post = home / "output" / "post.md"
        return Ran(
            done.returncode,
            sorted(OF_ITS_RUN.sub("identity", done.stdout).splitlines()),
            post.read_text(encoding="utf-8") if post.exists() else "",
            provider.asked,
            [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else [],
            done.stderr,
        )

    return run


@pytest.mark.parametrize("command", ["otel-harn-steps", "opentelemetry-instrument"])
def test_the_tasks_of_a_flow_of_somebody_else_are_billed_and_it_is_unchanged(
    command: str, run: Callable[..., Ran]
) -> None:
    bare, ours = run(None), run(command)
    assert (bare.code, bare.post, bare.asked) == (0, "A post", list(SAYS)), bare.log

    assert (ours.code, ours.printed, ours.post) == (bare.code, bare.printed, bare.post), ours.log
    assert ours.asked == bare.asked
    usage = {each["name"]: (each["llm_calls"], each["input_tokens"], each["output_tokens"]) for each in ours.records}
    assert (usage, len(ours.records)) == (TASKS, 3)
    assert sum(each["cost_usd"] for each in ours.records) == pytest.approx(usd(*SAYS.values()), abs=1e-12)


def test_a_task_of_a_flow_that_overspends_ends_the_flow_there(run: Callable[..., Ran]) -> None:
    table = '[[steps]]\nname = "writing_task"\nbudget = { max_tokens = 200, preflight = "exhausted" }\n'
    ours = run("otel-harn-steps", table)

    assert (ours.code, ours.post, ours.asked) == (1, "", list(SAYS)[:2])
    assert [(each["name"], each["status"]) for each in ours.records] == [
        ("planning_task", "completed"),
        ("writing_task", "failed"),
    ]
    assert "step `writing_task` exceeded max_tokens budget" in ours.log


def test_a_task_of_a_flow_without_room_for_its_call_ends_the_flow_before_it(run: Callable[..., Ran]) -> None:
    ours = run("otel-harn-steps", '[[steps]]\nname = "writing_task"\nbudget = { max_tokens = 200 }\n')

    assert (ours.code, ours.post, ours.asked) == (1, "", list(SAYS)[:1])
    assert [(each["name"], each["status"], each["llm_calls"]) for each in ours.records] == [
        ("planning_task", "completed", 1),
        ("writing_task", "failed", 0),
    ]
    assert "step `writing_task` has no room in its max_tokens budget" in ours.log
