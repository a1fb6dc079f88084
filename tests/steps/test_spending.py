"""Attribution, totals and limits: house plan, sections 2.2 and 2.3."""

import logging
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, StepEscalated, current_step, record_llm_usage, step
from otel_harn_steps._steps.totals import COUNTERS, Tally
from tests.steps.spending import spend


@pytest.fixture(autouse=True)
def clean():
    harn.reset_steps()
    yield
    harn.uninstrument()
    harn.reset_steps()


def test_a_tally_begins_with_the_counters_in_their_order():
    assert Tally._fields[: len(COUNTERS)] == COUNTERS


def test_a_call_is_billed_to_the_innermost_step_and_shown_above_it():
    with step("outer") as outer:
        spend(10, 0.5)
        with step("inner") as inner:
            spend(7, 0.25)
    assert (inner.input_tokens + inner.output_tokens, inner.cost_usd, inner.llm_calls) == (7, 0.25, 1)
    assert (outer.input_tokens + outer.output_tokens, outer.cost_usd, outer.llm_calls) == (10, 0.5, 1)
    assert (outer.total_input_tokens + outer.total_output_tokens, outer.total_cost_usd, outer.total_llm_calls) == (
        17,
        0.75,
        2,
    )
    assert inner.parent is outer


def test_without_a_step_nothing_is_billed():
    spend()
    assert harn.drain_completed_steps() == []


def test_every_entry_begins_at_zero():
    @step
    def walk(depth):
        spend(10)
        assert current_step().llm_calls == 1
        if depth:
            walk(depth - 1)

    walk(2)
    assert [record.llm_calls for record in harn.drain_completed_steps()] == [1, 1, 1]


def test_the_default_model_applies_to_calls_that_name_none_and_is_not_inherited():
    with step("outer", model="big") as outer:
        spend(model=None)
        with step("inner") as inner:
            spend(model=None)
    assert (outer.last_model, inner.last_model) == ("big", None)


def test_an_empty_model_does_not_overwrite_the_last_one():
    with step("s") as active:
        spend(model="one")
        spend(model="")
    assert active.last_model == "one"


def test_an_empty_model_is_billed_under_none_and_priced_by_the_default():
    with step("s", model="gpt-4o") as active:
        record_llm_usage("gpt-4o-mini", 1000, 0, provider="openai")
        mini = active.cost_usd
        record_llm_usage("", 1000, 0, provider="openai")
    assert active.cost_usd - mini == pytest.approx(0.0025)
    assert active.last_model == "gpt-4o-mini"
    assert ("openai", None) in active.by_model


def test_the_record_of_a_step_without_calls_names_its_default_model():
    with step("s", model="m"):
        pass
    assert harn.drain_completed_steps()[0].model == "m"


def test_reaching_a_limit_exactly_is_fine():
    with step("s", max_tokens=130, max_usd=0.3):
        for _ in range(3):
            spend(10, 0.1)  # three tenths, which a float sum would find above 0.3
        spend(100)


def test_crossing_tokens_raises_with_everything_and_keeps_the_totals():
    with pytest.raises(StepBudgetExceeded) as caught, step("plan", max_tokens=100) as active:
        spend(130, 0.01)
    error = caught.value
    assert str(error) == "step `plan` exceeded max_tokens budget (130 > 100)"
    assert error.as_dict() == {
        "category": "budget_exceeded",
        "kind": "budget_exhausted",
        "reason": "step_budget_exhausted",
        "step": "plan",
        "function": "plan",
        "limit": "max_tokens",
        "limit_value": 100.0,
        "consumed_tokens": 130.0,
        "consumed_cost_usd": 0.01,
        "error_boundary": "fail",
        "message": "step `plan` exceeded max_tokens budget (130 > 100)",
    }
    assert (error.step, error.function, error.limit, error.limit_value) == ("plan", "plan", "max_tokens", 100)
    assert error.response is None
    assert (active.input_tokens + active.output_tokens, active.llm_calls) == (130, 1)


def test_crossing_dollars_says_dollars():
    with pytest.raises(StepBudgetExceeded) as caught, step("plan", max_usd=0.05):
        spend(10, 0.06)
    assert str(caught.value) == "step `plan` exceeded max_usd budget ($0.060000 > $0.050000)"
    assert (caught.value.limit, caught.value.limit_value) == ("max_usd", 0.05)


def test_tokens_are_checked_before_dollars():
    with pytest.raises(StepBudgetExceeded) as caught, step("plan", max_tokens=1, max_usd=0):
        spend(10, 1)
    assert caught.value.limit == "max_tokens"


def test_zero_dollars_is_a_limit_and_half_a_token_too():
    with step("s", max_usd=0):
        spend(10, 0)
    with pytest.raises(StepBudgetExceeded), step("s", max_usd=0):
        spend(10, 1e-12)
    with pytest.raises(StepBudgetExceeded), step("s", max_tokens=0.5):
        spend(1)


def test_the_error_shows_the_boundary_as_it_was_written():
    harn.register_step_from_dict("f", {"error_boundary": "Whatever", "budget": {"max_tokens": 1}})
    with pytest.raises(StepBudgetExceeded) as caught, harn.enter_step("f"):
        spend()
    assert caught.value.error_boundary == "Whatever"


def test_a_swallowed_breach_is_raised_again_at_the_exit():
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100):
        try:
            spend()
        except StepBudgetExceeded as error:
            swallowed = error
    assert caught.value is swallowed


def test_another_error_is_not_replaced_by_a_swallowed_breach():
    with pytest.raises(ZeroDivisionError), step("s", max_tokens=100):
        try:
            spend()
        except StepBudgetExceeded:
            raise ZeroDivisionError from None


def test_recording_by_hand_is_always_added_also_when_exhausted():
    with pytest.raises(StepBudgetExceeded), step("s", max_tokens=100) as active:
        for _ in range(3):
            with pytest.raises(StepBudgetExceeded):
                spend()
    assert active.llm_calls == 3


def test_a_tree_budget_covers_nested_steps():
    with pytest.raises(StepBudgetExceeded) as caught, step("parent", max_tokens=100, scope="tree"):
        spend(60)
        with step("child"):
            spend(60)
    assert (caught.value.step, caught.value.consumed_tokens) == ("parent", 120)


def test_a_step_budget_does_not_cover_nested_steps_and_says_so_once(caplog):
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        for _ in range(2):
            with step("parent", max_tokens=100), step("child"):
                spend()
    warnings = [record.getMessage() for record in caplog.records if "covered" in record.getMessage()]
    assert len(warnings) == 1
    assert "'parent'" in warnings[0]
    assert 'scope="tree"' in warnings[0]


@pytest.mark.parametrize(
    "field", ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"]
)
def test_a_negative_count_becomes_0_in_its_own_field_only(field):
    counts = dict.fromkeys(
        ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"), 5
    )
    with step("s"):
        record_llm_usage("m", cost_usd=0, **counts | {field: -7})
    record = harn.drain_completed_steps()[0]
    assert {name: getattr(record, name) for name in counts} == counts | {field: 0}


@pytest.mark.parametrize("usd", [math.nan, math.inf, -math.inf, -0.01, Decimal("NaN"), Decimal(-1)])
def test_a_cost_that_is_no_amount_is_unknown_and_counted(usd):
    with step("s", max_usd=1) as active:
        spend(10, 0.5)
        spend(10, usd)
    assert (active.cost_usd, active.unpriced_calls, active.llm_calls, active.unmetered_calls) == (0.5, 1, 2, 0)


def test_unknown_usage_is_counted_and_not_zero():
    with step("s") as active:
        record_llm_usage("gpt-4o-mini", None, None)
        record_llm_usage("gpt-4o-mini", 10, None)
    assert (active.llm_calls, active.unmetered_calls, active.unpriced_calls, active.input_tokens) == (2, 2, 0, 10)
    assert active.cost_usd == 10 * 0.15e-6


def test_a_cost_that_is_given_counts_also_where_the_tokens_are_unknown():
    with pytest.raises(StepBudgetExceeded), step("s", max_usd=0.1) as active:
        record_llm_usage("m", None, None, cost_usd=0.5)
    assert (active.cost_usd, active.unmetered_calls, active.unpriced_calls) == (0.5, 1, 0)


def test_a_call_without_a_cost_is_priced():
    with step("s") as active:
        record_llm_usage("gpt-4o-mini", 1000, 500)
    assert active.cost_usd == 0.00045


def test_a_model_without_a_price_is_unpriced_with_one_warning(caplog):
    harn.instrument()
    with caplog.at_level(logging.WARNING, "otel_harn_steps"), step("s", max_usd=0.01) as active:
        record_llm_usage("nobody-knows-it", 10, 5, provider="openai")
        record_llm_usage("nobody-knows-it", 10, 5, provider="openai")
    assert (active.unpriced_calls, active.cost_usd, active.input_tokens) == (2, 0.0, 20)
    warnings = [record for record in caplog.records if "nobody-knows-it" in record.getMessage()]
    assert len(warnings) == 1
    assert "prices=" in warnings[0].getMessage()


def test_an_unknown_price_may_count_as_a_breach():
    harn.instrument(unpriced="refuse")
    with step("no dollars", max_tokens=100):
        record_llm_usage("nobody-knows-it", 10, 5)
    with pytest.raises(StepBudgetExceeded, match="price of model `nobody-knows-it` is unknown") as caught:
        with step("s", max_usd=1):
            record_llm_usage("nobody-knows-it", 10, 5)
    assert caught.value.limit == "max_usd"


def test_a_price_may_be_assumed_for_what_nobody_knows():
    harn.instrument(unpriced={"input_mtok": 1, "output_mtok": 2})
    with step("s") as active:
        record_llm_usage("nobody-knows-it", 1_000_000, 1_000_000)
        record_llm_usage("gpt-4o-mini", 1000, 500)
    assert (active.cost_usd, active.unpriced_calls) == (3.00045, 0)


@pytest.mark.parametrize(
    ("prices", "usd"),
    [
        ({"gpt-4o-mini": {"input_mtok": 1, "output_mtok": "2.5"}}, 3.5),
        ({"openai:gpt-4o-mini": {"input_mtok": 7}, "gpt-4o-mini": {"input_mtok": 1}}, None),
        ({"openai:*": {"input_mtok": 0, "output_mtok": 0}}, 0.0),
        ({"other:*": {"input_mtok": 0, "output_mtok": 0}}, 0.75),
    ],
)
def test_the_users_prices_come_first(prices, usd):
    harn.instrument(prices=prices)
    with step("s") as active:
        record_llm_usage("gpt-4o-mini", 1_000_000, 1_000_000, provider="openai")
    assert (active.cost_usd, active.unpriced_calls) == ((usd, 0) if usd is not None else (0.0, 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"prices": {"m": {"input": 1}}},
        {"prices": {"m": {"input_mtok": -1}}},
        {"prices": {"m": {"input_mtok": "much"}}},
        {"prices": {"m": 3}},
        {"unpriced": "warn"},
        {"call_spans": "always"},
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings):
    with pytest.raises((TypeError, ValueError)) as caught:
        harn.instrument(**settings)
    assert next(iter(settings)) in str(caught.value)


def test_errors_survive_pickling():
    with pytest.raises(StepBudgetExceeded) as caught, step("plan", max_tokens=100):
        spend()
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.as_dict() == caught.value.as_dict()
    escalated = StepEscalated(caught.value)
    copy = pickle.loads(pickle.dumps(escalated))
    assert (copy.as_dict(), type(copy.error)) == (escalated.as_dict(), StepBudgetExceeded)


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        ({"kind": "budget_exhausted", "reason": "step_budget_exhausted"}, True),
        ({"category": "budget_exceeded"}, True),
        ({"kind": "budget_exhausted"}, False),
        ({"reason": "step_budget_exhausted"}, False),
        ({"category": "handoff_escalation"}, False),
        ({}, False),
        (ValueError("budget_exceeded"), False),
        (None, False),
        ("budget_exceeded", False),
    ],
)
def test_exhaustion_is_recognised_by_content(error, exhausted):
    assert harn.is_step_budget_exhausted(error) is exhausted


def test_our_errors_are_recognised():
    with pytest.raises(StepBudgetExceeded) as caught, step("plan", max_tokens=100):
        spend()
    for error in (
        caught.value,
        caught.value.as_dict(),
        StepEscalated(caught.value),
        StepEscalated(caught.value).as_dict(),
    ):
        assert harn.is_step_budget_exhausted(error)


def test_marking_copies_and_fills_in_only_what_is_absent():
    facts = {"kind": "budget_exhausted", "step": "inner"}
    marked = harn.mark_escalated(facts, "outer", "outer_function")
    assert marked == {
        "kind": "budget_exhausted",
        "step": "inner",
        "function": "outer_function",
        "escalated": True,
        "category": "handoff_escalation",
    }
    assert facts == {"kind": "budget_exhausted", "step": "inner"}


amounts = st.integers(min_value=0, max_value=10**15).map(lambda pico: Decimal(pico).scaleb(-12))
calls = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), amounts), max_size=3)
trees = calls.map(lambda own: (own, []))
for _ in range(3):
    trees = st.tuples(calls, st.lists(trees, max_size=3))


@given(trees)
def test_sums_over_own_spend_are_exact_and_equal_the_subtree_of_the_root(tree):
    harn.reset_steps()

    def run(node):
        calls, below = node
        with step("s") as active:
            for tokens_in, tokens_out, usd in calls:
                record_llm_usage("m", tokens_in, tokens_out, usd)
            for each in below:
                run(each)
        return active

    def flat(node):
        yield from node[0]
        for each in node[1]:
            yield from flat(each)

    root = run(tree)
    records = harn.drain_completed_steps()
    calls = list(flat(tree))
    assert sum(record.input_tokens for record in records) == root.total_input_tokens == sum(call[0] for call in calls)
    assert sum(record.output_tokens for record in records) == root.total_output_tokens == sum(call[1] for call in calls)
    assert sum(record.llm_calls for record in records) == root.total_llm_calls == len(calls)
    exact = sum((Fraction(call[2]) for call in calls), Fraction(0))
    assert root.total_cost_usd == float(exact)


@given(st.lists(amounts, min_size=1, max_size=30))
def test_a_budget_of_exactly_the_sum_holds_and_a_pico_dollar_less_does_not(costs):
    limit = sum(costs)
    with step("exact", max_usd=limit):
        for usd in costs:
            record_llm_usage("m", 1, 1, usd)
    if limit > 0:
        with pytest.raises(StepBudgetExceeded), step("less", max_usd=limit - Decimal("1e-12")):
            for usd in costs:
                record_llm_usage("m", 1, 1, usd)
