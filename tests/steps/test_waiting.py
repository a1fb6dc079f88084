"""Calls that wait for room go on as soon as there is some, and wait no longer than they may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded, step
from otel_harn_steps._steps.tree import Tree
from tests.instrumented import instrumented
from tests.provider import PRICES
from tests.steps.held_calls import Answer, Calls, HeldCall

BUDGET = {"max_tokens": 100, "preflight": "reserve", "on_contention": "wait"}


@pytest.fixture
def calls() -> Iterator[Calls]:
    with instrumented(prices=PRICES):
        made = Calls()
        with made.at_work():
            yield made


@pytest.fixture(params=["task", "thread"])
def begin(request: pytest.FixtureRequest, calls: Calls):
    return calls.in_task if request.param == "task" else calls.in_thread


def end(calls: Calls, *made: HeldCall) -> None:
    for call in made:
        calls.answer(call, Answer(10, 5))


def test_a_call_that_waits_is_sent_when_another_has_ended(calls: Calls, begin) -> None:
    with step("s", **BUDGET):
        first, second = begin(60), begin(60)
        assert (first.state, second.state) == ("sent", "waiting")
        end(calls, first)
        assert second.state == "sent"
        end(calls, second)


def test_a_call_that_begins_to_wait_at_the_moment_at_which_another_ends_is_sent(
    calls: Calls, begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_changed = Tree.when_changed

    def as_the_first_one_ends(tree: Tree, call: Any) -> Any:
        calls.end_in_thread(first, Answer(10, 5))
        return when_changed(tree, call)

    with step("s", **BUDGET):
        first = calls.in_thread(60)
        monkeypatch.setattr(Tree, "when_changed", as_the_first_one_ends)
        second = begin(60)
        assert (first.state, second.state) == ("ended", "sent")
        end(calls, second)


def test_a_call_that_waits_is_sent_when_the_budget_is_raised(calls: Calls, begin) -> None:
    with step("s", **BUDGET) as active:
        first, second = begin(60), begin(60)
        assert (first.state, second.state) == ("sent", "waiting")
        active.raise_budget(max_tokens=200)
        calls.settle_down()
        assert second.state == "sent"
        end(calls, first, second)


def test_a_call_that_waits_is_sent_when_the_step_ends_whose_budget_it_waits_for(calls: Calls, begin) -> None:
    with step("outer"):
        with step("inner", **BUDGET):
            first, second = begin(60), begin(60)
            assert (first.state, second.state) == ("sent", "waiting")
        calls.settle_down()
        assert second.state == "sent"
        end(calls, first, second)


def test_a_wait_is_as_long_as_the_budget_says(calls: Calls, begin) -> None:
    with step("s", **BUDGET, wait_seconds=10):
        first, second = begin(60), begin(60)
        calls.advance(9.5)
        assert second.state == "waiting"
        calls.advance(0.5)
        assert second.state == "ended"
        assert isinstance(second.error, StepBudgetExceeded)
        second.error.accept()
        end(calls, first)
