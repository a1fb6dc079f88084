"""Ordinary programs of five frameworks whose model never finishes: `otel-harn-steps run` ends each at its budget.

The programs (`endless/`) are what the first pages of each framework show, with its own retries, and know nothing of us.
The provider stands in for its own host (`hosts.py`) and counts what it was asked: the ledger agrees to the dollar.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_harn_steps import price
from otel_harn_steps.testing import Answer, Received
from tests.integration.coexistence.venvs import python_of
from tests.integration.programs.hosts import Hosts
from tests.integration.programs.installed import ENVIRONMENTS, HERE, ROOT
from tests.integration.programs.stand_in import Says, Scripted, Sent

pytestmark = pytest.mark.slow

PROGRAMS = HERE / "endless"
OTHER_ENVIRONMENTS = HERE.parent / "through_frameworks" / "environments"
LINES = tuple(f"{number:03}: a river of Europe, which is worth a line of its own\n" for number in range(200))
BYTES_PER_TOKEN = 4
ANSWER_TOKENS = 40


def tool_calls() -> Sequence[Says]:
    """The model asks for its tool, each time with another line: crewai ends an agent that repeats itself."""
    return [Says(tool="add_to_report", arguments={"text": line}) for line in LINES]


def react_turns() -> Sequence[Says]:
    """The same in text, as dspy asks for it."""
    fields = {"next_thought": "One more.", "next_tool_name": "add_to_report"}
    turns = [{**fields, "next_tool_args": json.dumps({"text": line}), "completed": ""} for line in LINES]
    return [Says("".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in turn.items())) for turn in turns]


@dataclass(frozen=True, slots=True)
class Endless:
    """A program in `endless/`.

    Args:
        name: its file.
        environment: that of its framework.
        max_usd: what it may spend, before a limit of its framework's own ends it.
        tries: how often the framework asks for the call that is refused, by itself.
        environments: the folder of the environment.
        says: what its model says.
    """

    name: str
    environment: str
    max_usd: str
    tries: int = 1
    environments: Path = ENVIRONMENTS
    says: Callable[[], Sequence[Says]] = tool_calls


ONE_BY_ONE: Sequence[Endless] = (
    Endless("agents_report", "openai-agents", "0.0005"),
    Endless("langgraph_report", "langgraph", "0.0008", tries=3),
    Endless("crewai_report", "crewai", "0.0008", tries=3),
    Endless("smolagents_report", "smolagents", "0.0010", environments=OTHER_ENVIRONMENTS),
    Endless("dspy_report", "dspy", "0.0010", environments=OTHER_ENVIRONMENTS, says=react_turns),
)
AT_THE_SAME_TIME: Sequence[Endless] = (
    Endless("agents_reports", "openai-agents", "0.005"),
    Endless("langgraph_reports", "langgraph", "0.005"),
    Endless("crewai_reports", "crewai", "0.005"),
    Endless("dspy_reports", "dspy", "0.005", environments=OTHER_ENVIRONMENTS, says=react_turns),
)


class Counting(Scripted):
    """Counts a request by its size, so that what is estimated of it before is about right. Answers are equally long."""

    def count(self, number: int, asked: str) -> Sent:
        return Sent(len(asked) // BYTES_PER_TOKEN, 0, ANSWER_TOKENS, 0)

    def answer(self, received: Received) -> Answer:
        if received.path.endswith("/traces/ingest"):  # openai-agents sends its own traces to the same host
            return Answer(204, ())
        if received.path.endswith("/responses/input_tokens"):  # crewai has its requests counted first
            tokens = {"object": "response.input_tokens", "input_tokens": len(received.body) // BYTES_PER_TOKEN}
            return Answer(200, (json.dumps(tokens).encode(),), headers={"content-type": "application/json"})
        return super().answer(received)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run, and what the provider sent."""

    code: int
    log: str
    report: Sequence[str]
    """The lines of the file that the program's tool writes."""
    sent: Sequence[Sent]
    summary: Mapping[str, Any]
    """What `--json` wrote."""

    @property
    def costs(self) -> Sequence[float]:
        """What each answer costs, in US dollars."""
        costs = [
            price(each.model, provider="openai", input_tokens=each.input_tokens, output_tokens=each.output_tokens)
            for each in self.sent
        ]
        return [float(cost) for cost in costs if cost is not None]


@pytest.fixture
def run(hosts: Hosts, installed: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs a program under our command. `again`: by a worker that starts it again whatever has become of it."""

    def run(program: Endless, *limit: str, again: bool = False) -> Ran:
        python = python_of(program.environment, program.environments)
        provider = Counting({"Europe": program.says()})
        hosts.begin(provider.answer)
        summary, report = tmp_path / "summary.json", tmp_path / "report.txt"
        command = [python, "-m", "otel_harn_steps.cli", "run", "--json", summary, *limit, "--", python]
        environment = {
            **hosts.environment,
            "PATH": os.pathsep.join((str(python.parent), os.environ["PATH"])),
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, installed))),
            "OPENAI_API_KEY": "test",
            "CREWAI_DISABLE_TELEMETRY": "true",  # or it sends it to its own host, and tries again
            "CREWAI_DISABLE_TRACKING": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it looks for newer prices at its own host
        }
        done = subprocess.run(
            [*command, *([PROGRAMS / "again.py", program.name] if again else [PROGRAMS / f"{program.name}.py"])],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        return Ran(
            done.returncode,
            done.stderr,
            report.read_text(encoding="utf-8").splitlines(keepends=True) if report.exists() else [],
            provider.sent,
            json.loads(summary.read_text(encoding="utf-8")),
        )

    return run


def _is_ended_by(limit: str, ran: Ran) -> None:
    """It was ended by this limit, without a signal, and every call is in the ledger as the provider counted it."""
    assert (ran.code, ran.summary["exit_code"] in (0, 1)) == (75, True), ran.log
    assert ran.summary["budget"]["ended_by"]["limit"] == limit
    assert f"  ended by its budget: {limit}, " in ran.log
    total = ran.summary["total"]
    assert (total["calls"], total["input_tokens"], total["output_tokens"], total["cost_usd"]) == (
        len(ran.sent),
        sum(each.input_tokens for each in ran.sent),
        sum(each.output_tokens for each in ran.sent),
        pytest.approx(sum(ran.costs), abs=1e-12),
    )
    assert ran.summary["certainties"] == {"measured": len(ran.sent)}
    assert total["open_calls"] == 0


def _has_spent_nearly(max_usd: str, ran: Ran) -> None:
    """It has not spent more than this, and what is left is less than two calls cost."""
    left = float(max_usd) - sum(ran.costs)
    assert 0 <= left < 2 * max(ran.costs)


@pytest.mark.parametrize("program", ONE_BY_ONE, ids=lambda program: program.name)
def test_an_agent_that_never_finishes_is_ended_within_two_calls_of_its_dollars(
    program: Endless, run: Callable[..., Ran]
) -> None:
    """The framework's own retries ask again for what is refused. Each line that the model has asked for is written."""
    ran = run(program, "--max-usd", program.max_usd)
    _is_ended_by("max_usd", ran)
    _has_spent_nearly(program.max_usd, ran)
    assert ran.summary["outcomes"] == {"answered": len(ran.sent), "refused": program.tries}
    assert tuple(ran.report) == LINES[: len(ran.sent)]


@pytest.mark.parametrize("program", ONE_BY_ONE, ids=lambda program: program.name)
def test_a_worker_that_starts_its_agent_again_and_again_is_ended_by_the_hard_stop(
    program: Endless, run: Callable[..., Ran]
) -> None:
    """No framework takes it for an error of its own: after three refusals the fourth ends the program."""
    ran = run(program, "--max-calls", "3", again=True)
    _is_ended_by("max_calls", ran)
    assert ran.summary["outcomes"] == {"answered": 3, "refused": 4}
    assert "StepBudgetStop: run `again.py` exceeded max_calls budget (4 > 3)" in ran.log
    # dspy has answers in its cache, and writes those again.
    assert tuple(ran.report[:3]) == LINES[:3]
    assert set(ran.report) == set(LINES[:3])


@pytest.mark.parametrize("program", AT_THE_SAME_TIME, ids=lambda program: program.name)
def test_ten_agents_at_the_same_time_never_spend_more_than_their_dollars(
    program: Endless, run: Callable[..., Ran]
) -> None:
    """In tasks and in threads. Each line that a model has asked for is written, once and whole."""
    ran = run(program, "--max-usd", program.max_usd)
    _is_ended_by("max_usd", ran)
    _has_spent_nearly(program.max_usd, ran)
    assert ran.summary["outcomes"]["answered"] == len(ran.sent)
    assert ran.summary["outcomes"]["refused"] > 3  # some by the hard stop
    assert sorted(ran.report) == list(LINES[: len(ran.sent)])
