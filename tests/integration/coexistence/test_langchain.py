"""Other instrumentations of LangChain, whose spans callbacks start and end, together with calls that the engine bills.

OpenTelemetry's attaches its context around the run, so a call has its span alone. OpenInference's span is never current.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any, ClassVar

import pytest

from tests.integration.coexistence.matrix import OURS, PROGRAMS, ROOT, ours_are_in, theirs_are_in
from tests.integration.coexistence.venvs import python_of

DUE = {"invoke": [1, 0, 23, 6], "batch": [3, 0, 69, 18], "stream": [1, 0, 23, 6], "gather": [3, 0, 69, 18]}


@pytest.mark.slow
class AtPeaceInLangChain:
    """What holds together with callbacks in LangChain. Each of them has a class that derives from this one."""

    peer: ClassVar[str]
    scope: ClassVar[str]

    @pytest.fixture(scope="class", params=PROGRAMS)
    @classmethod
    def steps(cls, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
        python = python_of(f"{cls.peer}-langchain")
        command = [python, "-m", "tests.integration.coexistence.langchain_runner", cls.peer, request.param]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert f"{OURS} failed" not in done.stderr, done.stderr
        steps: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(steps) == len(DUE) * request.param.count(".")
        return steps

    def test_every_token_is_billed_once_and_by_the_engine(self, steps: list[dict[str, Any]]) -> None:
        names = ("llm_calls", "observed_calls", "input_tokens", "output_tokens")
        seen = [(step["so_far"], step["name"], [step[name] for name in names]) for step in steps]
        assert seen == [
            (step["so_far"], step["name"], DUE[step["name"]] if ours_are_in(step["so_far"]) else [0, 0, 0, 0])
            for step in steps
        ]

    def test_the_spans_of_a_call_are_below_the_step(self, steps: list[dict[str, Any]]) -> None:
        seen = [(step["so_far"], step["name"], sorted(step["scopes"])) for step in steps]
        assert seen == [
            (step["so_far"], step["name"], sorted(self.spans(step["so_far"]) * DUE[step["name"]][0])) for step in steps
        ]

    def spans(self, so_far: str) -> list[str]:
        """Whose spans a call has."""
        theirs = [self.scope] if theirs_are_in(so_far) else []
        return theirs or ([OURS] if ours_are_in(so_far) else [])


class TestGenAI(AtPeaceInLangChain):
    peer = "genai"
    scope = "opentelemetry.instrumentation.genai.langchain"


class TestOpenInference(AtPeaceInLangChain):
    peer = "openinference"
    scope = "openinference.instrumentation.langchain"
