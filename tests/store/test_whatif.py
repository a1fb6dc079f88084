"""The ledger priced again: by the price functions that priced it, and what cannot be priced stays unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.price_book import cost_picousd, forget_prices
from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.store._repricing import OwnPrices, recorded_price, sent_at_s, terms_of, usage_of
from otel_harn_steps.store._whatif import TIERS, Change, reprice, what_if
from tests.replay.cases import CASES
from tests.store.rows import settled

NOVEMBER = 1_795_000_000_000_000_000


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget_prices()
    yield
    forget_prices()


def priced(call_id="1", path="plan", *, model="gpt-5", **fields):
    """A row at its list price."""
    known = {"requested_model": model, "price_book": "genai-prices 0.2.3", "sent_at": NOVEMBER} | fields
    row = settled(call_id, path, model=model, **known)
    return replace(row, cost_picousd=cost_picousd(row.provider, model, usage_of(row), terms_of(row), sent_at_s(row)))


NOT_IN_ROWS = {
    "cache_write_5m_tokens",
    "input_text_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_reasoning_tokens",
}


def case_row(case):
    """A worked price case as a row of the ledger."""
    used = case["normalised"]
    terms = dict(case["context"] or {})
    terms |= {"inference_geo": "us"} if case["raw"].get("usage", {}).get("inference_geo") == "us" else {}
    return settled(
        case["id"], provider=case["provider"], model=case["response_model"] or case["request_model"], requested_model=case["request_model"],
        sent_at=int(datetime.fromisoformat(case["timestamp"]).timestamp()) * 10**9, price_book="genai-prices 0.2.3",
        input_tokens=used["input_tokens"], output_tokens=used["output_tokens"], reasoning_tokens=used.get("output_reasoning_tokens", 0),
        cache_read_tokens=used.get("cache_read_tokens", 0), cache_write_tokens=used.get("cache_write_tokens", 0),
        details={name: count for name, count in used.items() if count and name not in NOT_IN_ROWS},
        terms=terms, cost_picousd=to_picousd(Decimal(case["usd_expected"])),
    )  # fmt: skip


WORKED = [case_row(case) for case in json.loads((CASES / "pricing" / "cases.json").read_text())]
worked = pytest.mark.parametrize("row", WORKED, ids=lambda row: row.call_id)


@worked
def test_the_rates_of_a_recorded_cost_are_found_again(row):
    found = recorded_price(
        row.provider, row.model, terms_of(row), sent_at_s(row), usage=usage_of(row), cost=row.cost_picousd, book=row.price_book
    )  # fmt: skip
    assert found.is_exact
    assert found.card.cost_picousd(usage_of(row)) == row.cost_picousd


@worked
@pytest.mark.parametrize(
    "change", [Change(), Change(tokens=(Fraction(1), Fraction(1)))], ids=["nothing", "same tokens"]
)
def test_the_same_model_costs_what_the_ledger_says(row, change):
    again = reprice(row, replace(change, model=row.model))
    assert (again.cost, again.low, again.high) == (row.cost_picousd,) * 3


@worked
def test_a_call_of_another_model_costs_what_a_call_of_this_model_does(row):
    """Through the price functions, and not by the recorded cost."""
    other = replace(row, model="another", requested_model=None, cost_picousd=1)
    again = reprice(
        other, Change(model=row.model, provider=row.provider, tokens=(Fraction(1), Fraction(1)), cached_share=None)
    )
    assert again.cost == row.cost_picousd


def test_the_whole_ledger_with_nothing_changed_is_the_ledger():
    found = what_if(WORKED, Change(model=None))
    total = sum(row.cost_picousd for row in WORKED)
    assert (found.total.before_picousd, found.total.after_picousd, found.total.calls) == (total, total, len(WORKED))


def test_another_model_is_priced_at_its_rates_for_the_same_tokens():
    row = priced(input_tokens=10_000, output_tokens=1000)
    again = reprice(row, Change(model="gpt-5-nano"))
    assert (again.cost, again.low, again.high) == (10_000 * 50_000 + 1000 * 400_000,) * 3  # one tokenizer for both


def test_another_vendors_tokens_make_a_range():
    row = priced(input_tokens=10_000, output_tokens=1000, cache_read_tokens=5000)
    again = reprice(row, Change(model="claude-haiku-4-5"))
    assert again.cost == 5000 * 1_000_000 + 5000 * 100_000 + 1000 * 5_000_000
    assert again.low == round(again.cost * 0.7)
    assert again.high == 14_000 * 1_000_000 + 1400 * 5_000_000  # and it may cache nothing


def test_the_range_of_tokens_can_be_given():
    again = reprice(priced(), Change(model="claude-haiku-4-5", tokens=(Fraction(1), Fraction(2))))
    assert (again.low, again.high) == (again.cost, 2 * again.cost)


def test_a_tier_is_priced_where_the_book_has_it():
    rows = [priced(1), priced(2, "plan", model="claude-sonnet-4-5", provider="anthropic")]
    batch = what_if(rows, Change(tier="batch"))
    assert batch.total.after_picousd * 2 == batch.total.before_picousd
    flex = what_if(rows, Change(tier="flex"))
    assert (flex.gone_calls, flex.gone_picousd, flex.gone_why) == (
        1,
        rows[1].cost_picousd,
        {"claude-sonnet-4-5 (flex)": 1},
    )
    assert flex.total.before_picousd == rows[0].cost_picousd


def test_standard_takes_a_tier_away():
    row = priced(terms={"service_tier": "flex", "processing_region": "regional"})
    assert reprice(row, Change(tier="standard")).cost == 2 * row.cost_picousd


def test_prices_of_your_own_hold_for_the_models_that_they_name():
    change = Change(own=OwnPrices(prices={"openai:gpt-5": {"input_mtok": 1, "output_mtok": 2}}))
    assert reprice(priced(input_tokens=100, output_tokens=20), change).cost == 140 * 10**6
    nano = priced(model="gpt-5-nano")
    assert reprice(nano, change).cost == nano.cost_picousd


def test_a_wrong_rate_is_named():
    with pytest.raises(ValueError, match="has no rate 'input'"):
        what_if([priced()], Change(own=OwnPrices(prices={"gpt-5": {"input": 1}})))


@pytest.mark.parametrize(
    ("share", "cost"), [(0, 10_000 * 1_250_000), (Fraction(4, 5), 2000 * 1_250_000 + 8000 * 125_000)]
)
def test_the_cached_share_is_changed_and_nothing_is_written(share, cost):
    row = priced(input_tokens=10_000, output_tokens=0, cache_read_tokens=5000, cache_write_tokens=100)
    assert reprice(row, Change(cached_share=Fraction(share))).cost == cost


def test_a_cost_that_the_provider_reported_changes_as_the_list_price_does():
    row = replace(
        priced(input_tokens=10_000, output_tokens=0, cache_read_tokens=10_000),
        price_book="provider",
        certainty="reported",
    )
    row = replace(row, cost_picousd=row.cost_picousd * 2)
    found = what_if([row], Change(cached_share=Fraction(0)))
    assert (found.total.after_picousd, found.scaled_calls) == (row.cost_picousd * 10, 1)
    assert reprice(row, Change()).cost == row.cost_picousd


def test_rates_that_are_not_known_leave_the_cost_unknown():
    found = what_if([settled(1, price_book="prices")], Change(tier="batch"))
    assert (found.gone_calls, found.gone_picousd, found.total.calls) == (1, 10**9, 0)


def test_what_runs_on_a_machine_of_your_own_is_free_under_any_tier_and_paid_elsewhere():
    row = settled(1, model="llama3", provider="ollama", price_book="local", cost_picousd=0)
    assert reprice(row, Change(tier="batch")).cost == 0
    assert reprice(row, Change(model="gpt-5-nano")).cost == 100 * 50_000 + 20 * 400_000


def test_calls_without_a_price_are_counted_apart_and_in_no_total():
    rows = [
        settled(1, model="model-of-tomorrow", cost_picousd=None),
        settled(2, cost_picousd=None, input_tokens=None, output_tokens=None),
    ]
    assert what_if(rows, Change(tier="batch")).unpriced_calls == 2
    found = what_if(rows, Change(own=OwnPrices(prices={"model-of-tomorrow": {"input_mtok": 1, "output_mtok": 1}})))
    assert (found.unpriced_calls, found.newly_priced_calls, found.newly_priced_picousd, found.total.calls) == (
        1,
        1,
        120 * 10**6,
        0,
    )


def test_estimates_stay_as_they_are_and_apart():
    row = settled(1, cost_picousd=None, input_tokens=None, output_tokens=None, estimated_cost_picousd=7, outcome="cut")
    found = what_if([row], Change(model="gpt-5-nano"))
    assert (found.estimated_calls, found.estimated_picousd, found.unpriced_calls) == (1, 7, 1)


def test_a_model_that_nobody_knows_has_no_price():
    found = what_if([priced()], Change(model="model-of-tomorrow"))
    assert (found.gone_calls, found.gone_why) == (1, {"model-of-tomorrow": 1})


def test_embeddings_are_for_models_of_their_kind():
    rows = [priced(1), priced(2, model="text-embedding-3-small", operation="embeddings", output_tokens=0)]
    found = what_if(rows, Change(model="gpt-5-nano"))
    assert (found.repriced_calls, found.other_kind_calls, found.total.calls) == (1, 1, 2)
    found = what_if(rows, Change(model="text-embedding-3-large"))
    assert (found.repriced_calls, found.other_kind_calls) == (1, 1)
    assert found.total.after_picousd == rows[0].cost_picousd + 100 * 130_000


def test_other_calls_count_as_they_are():
    rows = [priced(1, "plan"), priced(2, "answer")]
    ledger = [*rows, replace(rows[1], outcome="failed")]
    found = what_if(ledger, Change(model="gpt-5-nano"), is_meant=lambda row: row.step == "plan")
    assert [(row.step, row.after_picousd == row.before_picousd) for row in found.rows] == [
        ("plan", False),
        ("answer", True),
    ]
    assert (found.total.calls, found.repriced_calls) == (2, 1)


def test_calls_that_the_other_model_cannot_take_and_thoughts_are_counted():
    rows = [priced(1, input_tokens=300_000, output_tokens=100, reasoning_tokens=60)]
    found = what_if(rows, Change(model="claude-haiku-4-5"))
    assert (found.too_long_calls, found.reasoning_tokens, found.output_tokens) == (1, 60, 100)


MODELS = st.sampled_from(
    ["gpt-5", "gpt-4o", "gpt-5.4", "claude-sonnet-4-5", "gemini-2.5-pro", "model-of-tomorrow", None]
)
COUNTS = st.integers(0, 300_000)
CHANGES = st.builds(
    Change, model=MODELS, tier=st.none() | st.sampled_from(TIERS), cached_share=st.none() | st.fractions(0, 1),
    own=st.builds(OwnPrices, prices=st.sampled_from([{}, {"gpt-5": {"input_mtok": 3, "output_mtok": "1.5"}}])),
)  # fmt: skip


@st.composite
def rows(draw):
    reads, writes = draw(COUNTS), draw(COUNTS)
    outputs = draw(COUNTS)
    made = settled(
        draw(st.integers()), draw(st.sampled_from(["", "plan", "answer"])), model=draw(MODELS), sent_at=draw(st.integers(17 * 10**17, 18 * 10**17)),
        provider=draw(st.sampled_from(["openai", "anthropic", "gcp.gemini", "unknown"])), outcome=draw(st.sampled_from(["answered", "cut", "failed"])),
        input_tokens=draw(st.none() | st.integers(reads + writes, 700_000)), output_tokens=draw(st.none() | st.just(outputs)),
        cache_read_tokens=reads, cache_write_tokens=writes, reasoning_tokens=draw(st.integers(0, outputs)),
        details=draw(st.sampled_from([{}, {"web_searches": 2}])), terms=draw(st.sampled_from([{}, {"service_tier": "flex"}])),
        price_book=draw(st.sampled_from(["genai-prices 0.2.3", "provider", "prices", "local", None])),
    )  # fmt: skip
    usage = usage_of(made)
    cost = None if usage is None else cost_picousd(made.provider, made.model, usage, terms_of(made), sent_at_s(made))
    return replace(made, cost_picousd=draw(st.sampled_from([cost, None, draw(COUNTS)])))


@given(st.lists(rows(), max_size=5), CHANGES)
def test_every_billed_call_is_counted_once_and_the_totals_are_the_ledgers(ledger, change):
    found = what_if(ledger, change)
    billed = [row for row in ledger if row.outcome in BILLED]
    assert found.total.calls + found.gone_calls + found.unpriced_calls + found.newly_priced_calls == len(billed)
    assert found.total.before_picousd + found.gone_picousd == sum(row.cost_picousd or 0 for row in billed)
    assert found.total.low_picousd <= found.total.after_picousd <= found.total.high_picousd
    assert sum(row.after_picousd for row in found.rows) == found.total.after_picousd


@given(st.lists(rows(), max_size=5))
def test_nothing_changed_gives_the_ledger(ledger):
    found = what_if(ledger, Change())
    assert found.total.after_picousd == sum(row.cost_picousd or 0 for row in ledger if row.outcome in BILLED)
    assert (found.gone_calls, found.newly_priced_calls, found.scaled_calls) == (0, 0, 0)
