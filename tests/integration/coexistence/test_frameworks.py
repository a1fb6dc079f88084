"""Frameworks and platforms with spans of their own next to us: tokens once, the price once, theirs as they are without us."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coexistence.matrix import OURS, ROOT, ours_are_in, theirs_are_in
from tests.integration.coexistence.venvs import python_of

pytestmark = pytest.mark.slow

Step = dict[str, Any]

COMES_AND_GOES = ("OT.t.T.o.O.", "TO.t.T.o.O.")
STAYS = ("OT.o.O.", "TO.o.O.")
PROGRAMS = {
    "langfuse-observe": STAYS,
    "langfuse-openai": STAYS,
    "litellm-otel": COMES_AND_GOES,
    "logfire-pydantic-ai": COMES_AND_GOES,
    "openllmetry-langchain": COMES_AND_GOES,
    "openllmetry-openai-agents": STAYS,
    "openlit": STAYS,
    "pydantic-ai": COMES_AND_GOES,
    "weave": COMES_AND_GOES,
}
MADE_AFTER = {("litellm-otel", "completion stream")}
"""Where theirs is made when the call is over, in a thread that carries no context: it has no place in the trace."""


@pytest.fixture(
    scope="module",
    params=[(peer, program) for peer, programs in PROGRAMS.items() for program in programs],
    ids=" ".join,
)
def seen(request: pytest.FixtureRequest) -> tuple[str, list[Step], dict[tuple[str, str], Step]]:
    """A peer, its steps with us, and by what they had done before and the scene, without."""
    peer, program = request.param
    python = python_of("frameworks")
    return peer, _run(python, peer, program), _bare(python, peer, "t" in program)


@cache
def _bare(python: Path, peer: str, leaves: bool) -> dict[tuple[str, str], Step]:
    steps = _run(python, peer, ".T.t." if leaves else ".T.", "bare")
    return {(_theirs_of(step), step["scene"]): step for step in steps}


def test_every_token_is_billed_once_and_by_the_engine(seen: Any) -> None:
    _, steps, _ = seen
    for step in steps:
        due = [step["calls"], 0, *step["due"]] if ours_are_in(step["so_far"]) else [0, 0, 0, 0]
        assert step["billed"] == due, _where(step)


def test_a_backend_that_sums_a_dialect_over_all_spans_counts_every_token_once(seen: Any) -> None:
    peer, steps, bare = seen
    for step in steps:
        without_us = bare[_theirs_of(step), step["scene"]]
        sums, before = _sums(step), _sums(without_us)
        for dialect, tokens in sums.items():
            if before.get(dialect, step["due"]) == step["due"] and (peer, step["scene"]) not in MADE_AFTER:
                assert tokens == step["due"], (_where(step), dialect)
            elif (peer, step["scene"]) not in MADE_AFTER:  # they count it twice by themselves: we add nothing
                assert tokens == before[dialect], (_where(step), dialect)
        if ours_are_in(step["so_far"]):
            assert sums, _where(step)


def test_a_call_has_one_price_and_the_prices_add_up_to_the_ledger(seen: Any) -> None:
    _, steps, _ = seen
    for step in steps:
        priced = [span for span in step["spans"] if span["cost_usd"] is not None]
        assert len(priced) == (step["calls"] if ours_are_in(step["so_far"]) else 0), _where(step)
        assert sum(span["cost_usd"] for span in priced) == pytest.approx(step["cost_usd"], abs=1e-12), _where(step)
        assert {span["step"] for span in priced} <= {step["scene"]}, _where(step)


def test_their_spans_are_those_that_they_make_without_us(seen: Any) -> None:
    _, steps, bare = seen
    for step in steps:
        assert _theirs(step) == _theirs(bare[_theirs_of(step), step["scene"]]), _where(step)


def test_a_step_reports_no_tokens_of_its_own_in_any_dialect(seen: Any) -> None:
    _, steps, _ = seen
    with_us = [step for step in steps if ours_are_in(step["so_far"])]
    assert [
        (_where(step), span) for step in with_us for span in step["spans"] if _is_steps(span) and span["tokens"]
    ] == []


def _run(python: Path, *arguments: str) -> list[Step]:
    done = subprocess.run(
        [python, "-m", "tests.integration.coexistence.frameworks_runner", *arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # else it fetches its prices when it is imported
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert f"{OURS} failed" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _theirs_of(step: Step) -> str:
    """Whether they are in: nothing else of what happened before is to change what they do."""
    return "in" if theirs_are_in(step["so_far"]) else "out"


def _sums(step: Step) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for span in step["spans"]:
        for dialect, tokens in span["tokens"].items():
            found[dialect] = [one + other for one, other in zip(found[dialect], tokens, strict=True)]
    return found


def _theirs(step: Step) -> list[tuple[str, str, Any]]:
    return sorted((span["scope"], span["name"], str(span["tokens"])) for span in step["spans"] if span["scope"] != OURS)


def _is_steps(span: dict[str, Any]) -> bool:
    return span["scope"] == OURS and span["name"].startswith("step ")


def _where(step: Step) -> str:
    return f"{step['so_far']}: {step['scene']}"
