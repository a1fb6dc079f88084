"""`instrument(agents={"researcher": {"max_usd": 0.5}})`: what all steps of an agent may spend together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, drain_completed_steps, step
from tests.provider import PRICES, Provider
from tests.steps.spending import is_refused_in_a_fork


def instrument(agents: Mapping[str, Any]) -> None:
    harn.instrument(prices=PRICES, agents=agents)


def test_the_steps_of_an_agent_share_its_budget_wherever_they_run(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 3}})
    with step("first", agent="researcher"):
        llm.ask()
    with step("around"), step("second", agent="researcher"), step("nested"):
        llm.ask()
    with step("other", agent="writer"):
        llm.ask()
    with step("third", agent="researcher"):
        llm.ask()
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask()
    assert str(caught.value) == "agent `researcher` exceeded max_calls budget (4 > 3)"
    assert (caught.value.budget_of, caught.value.step) == ("agent", "researcher")
    assert llm.handed_out.calls == 4


def test_dollars_count_to_the_last_one_and_no_further(llm: Provider) -> None:
    instrument({"researcher": {"max_usd": Decimal("0.00013")}})  # two calls of 10 * 3 + 5 * 7 millionths
    for name in ("a", "b"):
        with step(name, agent="researcher"):
            llm.ask()
    with pytest.raises(StepBudgetExceeded), step("c", agent="researcher"):
        llm.ask()
    assert llm.handed_out.calls == 3
    with pytest.raises(StepBudgetExceeded), step("d", agent="researcher"):
        llm.ask()
    assert llm.handed_out.calls == 3


def test_a_pattern_is_for_each_agent_that_matches_and_a_name_comes_first(llm: Provider) -> None:
    instrument({"re*": {"max_calls": 1}, "reader": {"max_calls": 2}})
    spent = {}
    for name in ("researcher", "reviewer", "reader", "writer"):
        before = llm.handed_out.calls
        with step("s", agent=name, error_boundary="continue"):
            for _ in range(3):
                llm.ask()
        spent[name] = llm.handed_out.calls - before
    assert spent == {"researcher": 1, "reviewer": 1, "reader": 2, "writer": 3}


def test_what_an_agent_hands_to_another_is_the_others(llm: Provider) -> None:
    instrument({"boss": {"max_calls": 1}, "worker": {"max_calls": 2}})
    with step("lead", agent="boss"):
        with step("work", agent="worker"):
            llm.ask()
            llm.ask()
        llm.ask()
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask()
    assert caught.value.step == "boss"


def test_the_agents_outermost_step_decides_and_its_boundary_may_go_on(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 1}})

    @step("inner", error_boundary="continue", fallback="nothing")
    def inner() -> str:
        return str(llm.ask() and llm.ask())

    @step("outer", agent="researcher", error_boundary="continue", fallback="what there is")
    def outer() -> str:
        return inner()

    assert outer() == "what there is"
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("inner", "failed"),
        ("outer", "skipped"),
    ]


def test_a_loop_that_tries_again_is_ended(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 1}})
    with pytest.raises(StepBudgetExceeded), step("s", agent="researcher"):
        for _ in range(100):
            try:
                llm.ask()
            except Exception:  # noqa: BLE001 -- as frameworks do
                continue
    assert llm.handed_out.calls == 1


def test_a_hundred_at_once_in_steps_of_their_own_hold_room_together(llm: Provider) -> None:
    instrument({"researcher": {"max_tokens": 150, "preflight": "reserve"}})

    async def one() -> bool:
        try:
            async with step("s", agent="researcher"):
                await llm.ask_async(10, 5, max_tokens=5)
        except StepBudgetExceeded:
            return False
        return True

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*[one() for _ in range(100)])

    sent = sum(asyncio.run(all_of_them()))
    spent = llm.handed_out.input_tokens + llm.handed_out.output_tokens
    assert 0 < spent <= 150
    assert sent == llm.handed_out.calls


def test_calls_wait_for_room_that_steps_elsewhere_hold(llm: Provider) -> None:
    instrument({"researcher": {"max_tokens": 20 * 15 + 5, "preflight": "reserve", "on_contention": "wait"}})

    def one(_: int) -> None:
        with step("s", agent="researcher"):
            llm.ask(10, 5, max_tokens=5)

    with ThreadPoolExecutor(8) as pool:
        contexts = [copy_context() for _ in range(20)]
        list(pool.map(lambda context: context.run(one, 0), contexts))
    assert llm.handed_out.calls == 20


def test_another_run_begins_at_zero(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 1}})
    for name in ("monday", "tuesday"):
        with harn.run(name), step("s", agent="researcher"):
            llm.ask()
    assert llm.handed_out.calls == 2


def test_a_run_that_was_open_before_is_one_with_its_agents(llm: Provider) -> None:
    harn.uninstrument()
    with harn.run("nightly"):
        instrument({"researcher": {"max_calls": 1}})
        with step("s", agent="researcher"):
            llm.ask()
            with pytest.raises(StepBudgetExceeded):
                llm.ask()


def test_instrumented_again_with_the_same_budgets_what_was_spent_counts(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 2}})
    with step("s", agent="researcher"):
        llm.ask()
    instrument({"researcher": {"max_calls": 2}})
    with step("s", agent="researcher", error_boundary="continue"):
        llm.ask()
        llm.ask()
    assert llm.handed_out.calls == 2


def test_uninstrumented_nothing_is_held_any_more(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 1}})
    instrument({})
    with step("s", agent="researcher"):
        llm.ask()
        llm.ask()
    assert llm.handed_out.calls == 2


def test_what_is_left_is_the_least_of_step_and_agent_and_told_by_both(llm: Provider) -> None:
    instrument({"researcher": {"max_tokens": 100, "at": {0.1: "tell"}}})
    with step("s", agent="researcher", max_tokens=1000, max_calls=5) as active:
        assert not active.is_told
        llm.ask()
        assert active.is_told
        assert (active.remaining().tokens, active.remaining().calls) == (85, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_begins_with_what_was_spent_at_the_fork(llm: Provider) -> None:
    instrument({"researcher": {"max_calls": 2}})
    with step("s", agent="researcher"):
        llm.ask()
        assert is_refused_in_a_fork(llm.ask, llm.ask)


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (
            ["researcher"],
            r"agents must be a mapping such as \{'researcher': \{'max_usd': 0.5\}\}, not \['researcher'\]",
        ),
        ({"": {"max_usd": 1}}, "agents must have names of agents or patterns as keys, not ''"),
        ({"a": {"max_uds": 1}}, r"agents\['a'\]: budget has .*not 'max_uds'; did you mean 'max_usd'\?"),
        ({"a": {"max_usd": -1}}, r"agents\['a'\]: max_usd must be .*not -1"),
        ({"a": {"mode": "shadow"}}, r"agents\['a'\] must have at least one of max_tokens, max_usd, .*not \{'mode'"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(agents: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        harn.instrument(agents=agents)
