"""OpenTelemetry's genai package for the OpenAI Agents SDK: spans of agents and tools around calls that have ours."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.coexistence.matrix import OURS, PROGRAMS, ROOT, ours_are_in, theirs_are_in
from tests.integration.coexistence.venvs import python_of

pytestmark = pytest.mark.slow

THEIRS = ["execute_tool weather", "invoke_agent Forecaster", "invoke_workflow Agent workflow"]


@pytest.fixture(scope="module", params=PROGRAMS)
def steps(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    command = [python_of("genai-openai-agents"), "-m", "tests.integration.coexistence.agents_runner", request.param]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{OURS} failed" not in done.stderr, done.stderr
    seen: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) == request.param.count(".")
    return seen


def test_every_token_is_billed_once_and_by_the_engine(steps: list[dict[str, Any]]) -> None:
    names = ("llm_calls", "observed_calls", "input_tokens", "output_tokens")
    for step in steps:
        due = [2, 0, *step["sent"]] if ours_are_in(step["so_far"]) else [0, 0, 0, 0]
        assert [step[name] for name in names] == due, step["so_far"]


def test_a_call_has_one_span_and_theirs_are_of_agents_and_tools(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        assert step["scopes"] == ([OURS] * 2 if ours_are_in(step["so_far"]) else []), step["so_far"]
        assert step["theirs"] == (THEIRS if theirs_are_in(step["so_far"]) else []), step["so_far"]
        assert step["outside"] == [], step["so_far"]
