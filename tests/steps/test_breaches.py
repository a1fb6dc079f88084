"""What a breach says, whose it is, and which calls it refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, record_llm_usage, step
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._steps import account
from otel_harn_steps._steps.ledger import OpenCall
from otel_harn_steps._steps.totals import ModelCall
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider
from tests.steps.spending import spend


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    yield
    harn.reset_steps()


# -- which calls are refused ---------------------------------------------------------------------------------------------


def test_an_exhausted_tree_refuses_the_calls_of_every_step_in_it(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded), step("outer", max_tokens=100, scope="tree"):
        with pytest.raises(StepBudgetExceeded):
            llm.ask(100, 20)
        with step("middle"), pytest.raises(StepBudgetExceeded) as refused, step("inner"):
            llm.ask(1, 1)
    assert llm.handed_out.calls == 1
    error = refused.value
    assert (error.step, error.limit, error.consumed_tokens) == ("outer", "max_tokens", 120)
    assert str(error) == "step `outer` exceeded max_tokens budget (120 > 100)"


def test_an_exhausted_step_does_not_refuse_the_calls_of_the_steps_in_it(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded), step("outer", max_tokens=100):
        with pytest.raises(StepBudgetExceeded):
            llm.ask(100, 20)
        with step("inner") as inner:
            llm.ask(1, 1)
            spend(1)
    assert (inner.llm_calls, inner.status) == (2, "completed")


def test_what_a_step_spends_within_another_is_not_held_against_that_one() -> None:
    with step("outer", max_tokens=100) as outer:
        with step("inner"):
            spend(90)
        spend(20)
    assert (outer.breach, outer.total_llm_calls) == (None, 2)


def test_a_refusal_repeats_why_the_budget_cannot_be_held(llm: Provider) -> None:
    harn.instrument(unpriced="refuse", prices=PRICES)
    with pytest.raises(StepBudgetExceeded) as first, step("s", max_usd=1):
        with pytest.raises(StepBudgetExceeded) as refused:
            try:
                record_llm_usage("nobody-knows-it", 10, 5)
            except StepBudgetExceeded:
                llm.ask(1, 1)
        assert llm.handed_out.calls == 0
    assert str(refused.value) == str(first.value) == first.value.detail
    assert (refused.value.limit, refused.value.detail) == ("max_usd", first.value.detail)


def test_the_first_breach_is_the_one_that_counts() -> None:
    errors = []
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100, max_usd=1) as active:
        for usd in (0, 2):
            with pytest.raises(StepBudgetExceeded) as each:
                spend(130, usd)
            errors.append(each.value)
    assert caught.value is errors[0] is active.breach
    assert [error.consumed_tokens for error in errors] == [130, 260]


# -- what it says ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limits", "limit"), [({"max_tokens": 100}, "max_tokens"), ({"max_usd": 1e-9}, "max_usd")])
def test_a_breach_has_the_response_that_was_paid_for(limits: dict[str, Any], limit: str, llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", **limits):
        llm.ask(100, 20)
    assert caught.value.limit == limit
    assert caught.value.response.usage.total_tokens == 120


def test_a_limit_of_zero_dollars_is_shown_as_zero() -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_usd=0):
        spend(10, 0.5)
    assert caught.value.limit_value == 0.0


@pytest.mark.parametrize(
    ("limits", "limit"),
    [({"max_tokens": 9}, "max_tokens"), ({"max_usd": 1}, "max_usd"), ({"max_tokens": 9, "max_usd": 1}, "max_tokens")],
)
@pytest.mark.parametrize("counts", [(None, None), (1, None), (None, 1)])
def test_refused_unknown_usage_names_the_limit_the_model_and_the_way_out(
    counts: tuple[int | None, int | None], limits: dict[str, Any], limit: str
) -> None:
    with instrumented(unmetered="refuse"):
        with pytest.raises(StepBudgetExceeded) as caught, step("s", **limits):
            record_llm_usage("some-model", *counts, cost_usd=0)
    assert caught.value.limit == limit
    assert str(caught.value) == (
        f"step `s` has a {limit} budget, but the usage of a call to model `some-model` was not reported; "
        'allow such calls with instrument(unmetered="ignore")'
    )


def test_a_refused_unknown_price_names_the_step_the_model_and_the_way_out() -> None:
    with instrumented(unpriced="refuse"):
        with pytest.raises(StepBudgetExceeded) as caught, step("s", max_usd=0.5):
            record_llm_usage("nobody-knows-it", 10, 5)
    assert str(caught.value) == (
        "step `s` has a max_usd budget of $0.500000, but the price of model `nobody-knows-it` is unknown; "
        'give one with instrument(prices={...}) or allow unpriced calls with instrument(unpriced="ignore")'
    )


def test_a_refused_response_is_kept_too(replay: ReplayServer) -> None:
    with instrumented(unpriced="refuse"), provider(replay) as llm:
        with pytest.raises(StepBudgetExceeded) as caught, step("s", max_usd=1000):
            llm.ask(1, 1)
    assert caught.value.response.usage.total_tokens == 2


def test_an_unknown_price_is_allowed_where_only_unknown_usage_is_refused_and_the_other_way_round() -> None:
    with instrumented(unmetered="refuse", unpriced="ignore"), step("unpriced", max_usd=1, max_tokens=100):
        record_llm_usage("nobody-knows-it", 10, 5)
    with instrumented(unmetered="ignore", unpriced="refuse"), step("unmetered", max_usd=1, max_tokens=100):
        record_llm_usage("nobody-knows-it", None, None)
    with instrumented(unmetered="refuse", unpriced="refuse"), step("no limit"):
        record_llm_usage("nobody-knows-it", None, None)


# -- spend that no budget covers -------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "covered" in record.getMessage()]


def test_the_warning_of_uncovered_spend_names_both_steps_and_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        with step("parent", max_tokens=100), step("middle"), step("child"):
            spend(1)
    (message,) = warnings(caplog)
    assert message == (
        "step 'parent' has a budget for its own calls only: what the nested step 'child' spends is not covered by it; "
        "give step 'parent' scope=\"tree\" to cover nested steps too"
    )


@pytest.mark.parametrize(
    ("outer", "inner"),
    [({}, {"max_tokens": 100}), ({"max_tokens": 100, "scope": "tree"}, {}), ({}, {})],
    ids=["its own", "a tree's", "none"],
)
def test_spend_that_a_budget_covers_is_no_reason_to_warn(
    outer: dict[str, Any], inner: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        with step("outer", **outer), step("inner", **inner):
            spend(1)
    assert warnings(caplog) == []


def test_each_step_of_several_that_do_not_cover_it_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        with step("a", max_tokens=100), step("b", max_usd=1), step("c"):
            spend(1)
    assert [message.split()[1] for message in warnings(caplog)] == ["'b'", "'a'"]


def test_names_that_are_made_at_run_time_are_warned_of_up_to_a_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_MOST_WARNED", 2)
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        for number in range(4):
            with step(f"step {number}", max_tokens=100), step("child"):
                spend(1)
    assert len(warnings(caplog)) == 2


# -- calls that are over ---------------------------------------------------------------------------------------------------


def test_a_call_that_was_closed_is_never_billed_and_closed_once(steps: ModuleType) -> None:
    call = ModelCall("openai", "m", Usage(10, 5), 7)
    with step("s") as active:
        row = OpenCall(active, "openai", "chat", "m", 0)
        row.send()
        assert active.open_calls == 1
        for _ in range(2):
            row.close("failed")
            assert active.open_calls == 0
        assert row.settle(call) is None
    assert (active.llm_calls, active.open_calls) == (0, 0)


def test_a_call_that_has_settled_is_never_billed_again(steps: ModuleType) -> None:
    first, second = ModelCall("openai", "m", Usage(10, 5), 7), ModelCall("openai", "m", Usage(20, 5), 9)
    with step("s") as active:
        row = OpenCall(active, "openai", "chat", "m", 0)
        row.send()
        row.settle(first)
        row.settle(second)
        row.close("void")
    assert (active.llm_calls, active.input_tokens, active.open_calls) == (1, 10, 0)
    with step("s") as active:
        row = OpenCall(active, "openai", "chat", "m", 0)
        row.send()
        row.bill_for_now(first)
        assert (active.open_calls, active.input_tokens) == (1, 10)
        row.settle(first)
        row.settle(second)
        row.bill_for_now(second)
        row.close("void")
    assert (active.llm_calls, active.input_tokens, active.open_calls) == (1, 10, 0)


@pytest.mark.parametrize("interrupted", ["_change", "_apply"])
def test_a_breach_has_its_response_also_where_counting_it_was_interrupted(
    interrupted: str, llm: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, interrupts = getattr(account.Account, interrupted), [KeyboardInterrupt()]

    def count(*args: Any, **options: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return counts(*args, **options)

    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100) as active:
        monkeypatch.setattr(account.Account, interrupted, count)
        with pytest.raises(KeyboardInterrupt):
            llm.ask(100, 20)
    assert caught.value.response.usage.total_tokens == 120
    assert (active.llm_calls, active.open_calls) == (1, 0)
