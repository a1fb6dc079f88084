"""Published programs, unmodified: by themselves, by `otel-harn-steps run`, by `opentelemetry-instrument`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from otel_harn_steps import price
from otel_harn_steps.testing import ReplayServer
from tests.integration.coexistence.venvs import python_of
from tests.integration.programs.installed import ENVIRONMENTS, HERE, ROOT
from tests.integration.programs.stand_in import MODEL, Says, StandIn

pytestmark = pytest.mark.slow

AGENTS = "openai_agents/examples"

TRANSLATED = Says("Buenos días")
ADVICE = {"support_advice": "Your balance is $123.45.", "block_card": False, "risk": 1}


@dataclass(frozen=True, slots=True)
class Program:
    """A program, what the provider says to it, and the steps that come of it: path, calls."""

    path: str
    environment: str
    script: Mapping[str, Sequence[Says]]
    steps: Mapping[str, int]
    stdin: str = ""
    config: str = ""
    prints: str = ""


PROGRAMS = (
    Program(
        f"{AGENTS}/basic/hello_world.py",
        "openai-agents",
        {"haikus": [Says("Function calls itself")]},
        {"Assistant": 1},
        prints="Function calls itself",
    ),
    Program(
        f"{AGENTS}/basic/tools.py",
        "openai-agents",
        {"helpful agent": [Says(tool="get_weather", arguments={"city": "Tokyo"}), Says("It is sunny in Tokyo.")]},
        {"Hello world": 2},
        prints="It is sunny in Tokyo.",
    ),
    Program(
        f"{AGENTS}/agent_patterns/parallelization.py",
        "openai-agents",
        {"to Spanish": [TRANSLATED], "pick the best": [Says("Buenos días, the first")]},
        {"translate/spanish_agent": 3, "translate/translation_picker": 1, "translate": 0},
        stdin="Good morning!\n",
        config='[[steps]]\ntarget = "__main__:main"\nname = "translate"\n',
        prints="Best translation: Buenos días, the first",
    ),
    Program(
        f"{AGENTS}/agent_patterns/agents_as_tools.py",
        "openai-agents",
        {
            "never translate on your own": [
                Says(tool="translate_to_spanish", arguments={"input": "Hello"}),
                Says(tool="translate_to_french", arguments={"input": "Hello"}),
                Says("Hola, Bonjour"),
            ],
            "You inspect translations": [Says("Hola. Bonjour.")],
            "to Spanish": [Says("Hola")],
            "to French": [Says("Bonjour")],
        },
        {
            "orchestrator_agent": 3,
            "orchestrator_agent/spanish_agent": 1,
            "orchestrator_agent/french_agent": 1,
            "synthesizer_agent": 1,
        },
        stdin="Hello, in Spanish and French\n",
        prints="Hola. Bonjour.",
    ),
    Program(
        f"{AGENTS}/agent_patterns/deterministic.py",
        "openai-agents",
        {
            "story outline based": [Says("A ship, a star.")],
            "judge the quality": [Says(json.dumps({"good_quality": True, "is_scifi": True}))],
            "short story based": [Says("Once there was a ship.")],
        },
        {"story_outline_agent": 1, "outline_checker_agent": 1, "story_agent": 1},
        stdin="A story of the stars\n",
        prints="Once there was a ship.",
    ),
    Program(
        "pydantic_ai/bank_support.py",
        "pydantic-ai",
        {"support agent in our bank": [Says(tool="customer_balance"), Says(tool="final_result", arguments=ADVICE)]},
        {"support_agent": 2 + 1},
        prints="Your balance is $123.45.",
    ),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run."""

    stdout: str
    code: int
    records: list[dict[str, Any]]
    stand_in: StandIn
    log: str

    @property
    def calls(self) -> dict[str, int]:
        """Calls by the path of their step."""
        calls: Counter[str] = Counter()
        for record in self.records:
            calls[record["path"]] += record["llm_calls"]
        return dict(calls)


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


@pytest.fixture
def run(server: ReplayServer, installed: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs a program by one of the commands; None: by itself."""

    def run(program: Program, command: str | None, config: str = "") -> Ran:
        python = python_of(program.environment, ENVIRONMENTS)
        stand_in = StandIn(server, program.script)
        records = tmp_path / f"{command}.jsonl"
        file = tmp_path / f"{command}.toml"
        sink = f'[sinks]\njson_lines = "{records}"\n' if command == "opentelemetry-instrument" else ""
        file.write_text(f'frameworks = "auto"\n{program.config}{config}{sink}', encoding="utf-8")
        # Copied, as a user has it: nothing of the checkout is next to it.
        home = tmp_path / f"{command}"
        shutil.copytree(HERE / program.path.partition("/")[0], home)
        words = [str(python), program.path.partition("/")[2]]
        if command == "otel-harn-steps":
            run = [
                str(python),
                "-m",
                "otel_harn_steps.cli",
                "run",
                "--config",
                str(file),
                "--step-records",
                str(records),
            ]
            words = [*run, "--", *words]
        elif command == "opentelemetry-instrument":
            words = [str(python.with_name(command)), *words]
        done = subprocess.run(
            words,
            cwd=home,
            env=_environment(stand_in, file if command else None, home, installed),
            input=program.stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
        return Ran(done.stdout, done.returncode, [json.loads(line) for line in lines], stand_in, done.stderr)

    return run


def _environment(stand_in: StandIn, config: Path | None, home: Path, installed: Path) -> dict[str, str]:
    ours = {} if config is None else {"OTEL_HARN_STEPS_CONFIG": str(config)}
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "OTEL_HARN_STEPS_RECORDS": str(home.with_name("kept")),
        "PYTHONPATH": os.pathsep.join(map(str, (home, ROOT, installed))),
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": stand_in.url,  # unmodified programs have no other way to it; both frameworks only pass it on
        "OPENAI_AGENTS_DISABLE_TRACING": "1",  # it goes to another host
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **ours,
    }


@pytest.mark.parametrize("command", ["otel-harn-steps", "opentelemetry-instrument"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: Path(each.path).stem)
def test_a_program_of_somebody_else_is_billed_and_unchanged(
    program: Program, command: str, run: Callable[..., Ran]
) -> None:
    bare, ours = run(program, None), run(program, command)
    assert (bare.code, program.prints in bare.stdout) == (0, True), bare.log
    assert (ours.stdout, ours.code) == (bare.stdout, bare.code), ours.log
    assert ours.calls == dict(program.steps)

    sent = ours.stand_in.sent
    assert len(sent) == len(bare.stand_in.sent) == sum(program.steps.values())
    for name, of_answer in (
        ("input_tokens", "input_tokens"),
        ("cache_read_tokens", "cached_tokens"),
        ("output_tokens", "output_tokens"),
        ("reasoning_tokens", "reasoning_tokens"),
    ):
        assert sum(record[name] for record in ours.records) == sum(getattr(each, of_answer) for each in sent), name
    costs = [
        price(
            MODEL,
            provider="openai",
            input_tokens=each.input_tokens,
            output_tokens=each.output_tokens,
            cache_read_tokens=each.cached_tokens,
        )
        for each in sent
    ]
    assert sum(record["cost_usd"] for record in ours.records) == pytest.approx(float(sum(costs)), abs=1e-12)
    assert all(record["unmetered_calls"] == record["unpriced_calls"] == 0 for record in ours.records)


def test_a_runaway_is_stopped_at_its_budget(run: Callable[..., Ran]) -> None:
    asks_again = {"support agent in our bank": [Says(tool="customer_balance")]}
    program = replace(PROGRAMS[-1], script=asks_again)
    bare = run(program, None)
    assert len(bare.stand_in.sent) == 50  # Pydantic AI's own limit

    ours = run(program, "otel-harn-steps", '[[steps]]\nname = "support_agent"\nbudget = { max_tokens = 1000 }\n')
    (record,) = ours.records
    tokens = [each.input_tokens + each.output_tokens for each in ours.stand_in.sent]
    # It ends before the call for which there is no room: its next one is a little longer than the last.
    assert sum(tokens) == record["input_tokens"] + record["output_tokens"] <= 1000
    assert (record["status"], ours.code, len(tokens)) == ("failed", 1, 5)
    assert "step `support_agent` has no room in its max_tokens budget" in ours.log
