"""The programs of the matrix, run in the environment of another instrumentation, and what their runs must show."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.integration.coexistence.venvs import python_of

ROOT = Path(__file__).resolve().parents[3]
OURS = "otel_harn_steps"
PROGRAMS = ("OT.t.T.o.O.", "TO.t.T.o.O.OTTO.tt.oo.OTo.O.")
"""Us first; them first, and everything twice. `runner.py` says what the letters mean."""

Call = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One program, with us and without."""

    program: str
    ours: list[Call]
    bare: dict[tuple[str, str], Call]

    @cached_property
    def pairs(self) -> list[tuple[Call, Call]]:
        """Every call with us, and the same call without, after the same comings and goings of theirs."""
        return [(call, self.bare[moment(call)]) for call in self.ours if "call" in call]


def moment(call: Call) -> tuple[str, str]:
    """A call, and what they had done before it."""
    return "".join(letter for letter in call["so_far"] if letter in "Tt"), call["call"]


def ours_are_in(so_far: str) -> bool:
    return so_far.upper().rfind("O") == so_far.rfind("O") >= 0


def theirs_are_in(so_far: str) -> bool:
    return so_far.upper().rfind("T") == so_far.rfind("T") >= 0


def their_spans(call: Call) -> list[dict[str, Any]]:
    return [span for span in call["spans"] if span["scope"] != OURS]


def inference_spans(call: Call) -> list[dict[str, Any]]:
    """Theirs and ours, but for the step's span."""
    return [span for span in call["spans"] if not span["name"].startswith("step ")]


def where(call: Call) -> str:
    return f"{call['so_far']}: {call['call']}"


@dataclass
class Runner:
    """Runs programs in the environment of `peer`, two at a time."""

    peer: str
    environment: str
    variables: dict[str, str] = field(default_factory=dict)

    def all(self, programs: tuple[str, ...]) -> list[Run]:
        python = python_of(self.environment)
        with ThreadPoolExecutor(2) as pool:
            bare = pool.submit(self._run, python, programs[-1], "bare")
            ours = [pool.submit(self._run, python, program) for program in programs]
            calls = {moment(call): call for call in bare.result() if "call" in call}
            return [Run(program, run.result(), calls) for program, run in zip(programs, ours, strict=True)]

    def _run(self, python: Path, *arguments: str) -> list[Call]:
        command = [python, "-m", "tests.integration.coexistence.runner", self.peer, *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert f"{OURS} failed" not in done.stderr, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
class AtPeace:
    """What holds together with any other instrumentation. Each of them has a file with a class that derives from this one."""

    peer: ClassVar[str]
    environment: ClassVar[str | None] = None
    variables: ClassVar[dict[str, str]] = {}
    programs: ClassVar[tuple[str, ...]] = PROGRAMS

    @pytest.fixture(scope="class")
    @classmethod
    def runs(cls) -> list[Run]:
        return Runner(cls.peer, cls.environment or cls.peer, cls.variables).all(cls.programs)

    def test_every_token_is_billed_once(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), ours["billed"], ours["due"])
            for run in runs
            for ours, bare in run.pairs
            if ours_are_in(ours["so_far"]) and not bare["raised"] and ours["billed"] != ours["due"]
        ]
        assert wrong == []

    def test_the_engine_bills_and_nothing_is_billed_from_spans(self, runs: list[Run]) -> None:
        assert [where(ours) for run in runs for ours, _ in run.pairs if ours["observed"]] == []

    def test_nothing_is_billed_once_we_are_gone(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), ours["billed"])
            for run in runs
            for ours, _ in run.pairs
            if not ours_are_in(ours["so_far"]) and any(ours["billed"].values())
        ]
        assert wrong == []

    def test_an_exhausted_step_sends_nothing(self, runs: list[Run]) -> None:
        wrong = [
            (call["so_far"], call["exhausted"], call["sent"])
            for run in runs
            for call in run.ours
            if "exhausted" in call and call["sent"] != ([1, 0] if ours_are_in(call["so_far"]) else [1, 1])
        ]
        assert wrong == []

    def test_the_app_sees_what_it_sees_without_us(self, runs: list[Run]) -> None:
        wrong = [where(ours) for run in runs for ours, bare in run.pairs if ours["app_saw"] != bare["app_saw"]]
        assert wrong == []

    def test_their_spans_are_what_they_are_without_us(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), their_spans(ours), their_spans(bare))
            for run in runs
            for ours, bare in run.pairs
            if not self.are_alike(their_spans(ours), their_spans(bare))
        ]
        assert wrong == []

    def test_their_spans_are_below_the_step(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), span["name"])
            for run in runs
            for ours, _ in run.pairs
            for span in inference_spans(ours)
            if not span["is_below_step"]
        ]
        assert wrong == []

    def test_a_call_has_a_span_of_ours_only_where_it_has_none_of_theirs(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), [span["scope"] for span in inference_spans(ours)])
            for run in runs
            for ours, bare in run.pairs
            if len(inference_spans(ours)) - len(their_spans(ours)) not in self.spans_of_ours(ours, bare)
        ]
        assert wrong == []

    def test_a_call_has_its_price_and_its_step_on_one_span(self, runs: list[Run]) -> None:
        wrong = [
            (where(ours), ours["cost_usd"], [(span["scope"], span["cost_usd"]) for span in inference_spans(ours)])
            for run in runs
            for ours, bare in run.pairs
            if ours_are_in(ours["so_far"]) and not bare["raised"] and not self.ends_early(ours)
            if [(span["cost_usd"], span["step"]) for span in inference_spans(ours) if span["cost_usd"] is not None]
            != [(ours["cost_usd"], "s")]
        ]
        assert wrong == []

    def ends_early(self, ours: Call) -> bool:
        """Whether the only span of the call is theirs, and is over before what the call used is known, or made after.

        So are all of async responses whose body the app reads.
        """
        return bool(their_spans(ours)) and ours["call"].startswith("async") and ours["call"].endswith("streaming.json")

    def spans_of_ours(self, ours: Call, bare: Call) -> set[int]:
        """How many spans of ours a call may have."""
        if bare["raised"]:  # theirs broke the call: their span may not have ended
            return {0, 1}
        return {1 if ours_are_in(ours["so_far"]) and not their_spans(bare) else 0}

    def are_alike(self, ours: list[dict[str, Any]], bare: list[dict[str, Any]]) -> bool:
        """Whether their spans are the same. A stream that we asked for its usage may have reported it to them too."""
        return [_told(span) for span in ours] == [_told(span) for span in bare] and all(
            one["usage"] == other["usage"] or not other["usage"] for one, other in zip(ours, bare, strict=True)
        )


def _told(span: dict[str, Any]) -> tuple[Any, ...]:
    return span["scope"], span["name"], span["operation"], span["kinds"]
