"""Two sides compared: which step has become more expensive and why, in parts that add up exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps import Journal, drain_completed_steps, instrument, record_llm_usage, step, uninstrument
from otel_harn_steps._cost.price_book import cost_picousd
from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.store._billed import billed_calls, read_billed
from otel_harn_steps.store._diff import PARTS, diff
from otel_harn_steps.store._diff_words import notes_of, sentence
from otel_harn_steps.store._repricing import OwnPrices, sent_at_s, terms_of, usage_of
from tests.store.rows import ended, settled


def priced(call_id, path="plan", *, model="gpt-5", **fields):
    """A row at its list price."""
    row = settled(call_id, path, model=model, requested_model=model, price_book="genai-prices 0.2.3", **fields)
    return replace(row, cost_picousd=cost_picousd(row.provider, model, usage_of(row), terms_of(row), sent_at_s(row)))


def compared(base, head, **options):
    return diff(billed_calls(base), billed_calls(head), **options)


def parts(row):
    return {part: amount for part, amount in row.parts.items() if amount}


def said(base, head, **options):
    found = compared(base, head, **options)
    return [sentence(row, found) for row in found.rows if row.change_picousd]


def test_more_calls_of_the_same_kind_are_more_calls_and_nothing_else():
    base = [priced(n, input_tokens=1000, output_tokens=500) for n in range(2)]
    head = [priced(n, input_tokens=1000, output_tokens=500) for n in range(5)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"calls": row.change_picousd} == {"calls": 3 * base[0].cost_picousd}
    assert said(base, head) == ["`plan` +$0.0188: 3 more calls"]


def test_a_longer_input_costs_its_tokens_at_the_rate_that_they_had():
    base = [priced(1, input_tokens=10_000, output_tokens=500)]
    head = [priced(1, input_tokens=21_000, output_tokens=500)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"input": 11_000 * 1_250_000}
    assert said(base, head) == ["`plan` +$0.0138: input 2.1x longer"]


def test_a_shorter_output_is_named_with_its_share():
    base, head = [priced(1, output_tokens=1000)], [priced(1, output_tokens=600)]
    assert said(base, head) == ["`plan` -$0.0040: output 40 % shorter"]


def test_less_of_the_input_from_a_cache_is_told_from_a_longer_input():
    base = [priced(1, input_tokens=10_000, cache_read_tokens=8000)]
    head = [priced(1, input_tokens=10_000, cache_read_tokens=1000)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"cache": 7000 * (1_250_000 - 125_000)}
    assert said(base, head) == ["`plan` +$0.0079: less cache (80 % to 10 % of the input)"]


def test_another_model_is_the_old_tokens_at_the_new_rates():
    base = [priced(1, input_tokens=10_000, output_tokens=1000)]
    head = [priced(1, model="gpt-5-nano", input_tokens=10_000, output_tokens=1000)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"model": row.change_picousd}
    assert said(base, head) == ["`plan` -$0.0216: another model (gpt-5 to gpt-5-nano)"]


def test_a_longer_input_for_another_model_is_told_apart_from_the_model():
    base = [priced(1, input_tokens=10_000, output_tokens=0)]
    head = [priced(1, model="gpt-5-nano", input_tokens=20_000, output_tokens=0)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"model": 10_000 * (50_000 - 1_250_000), "input": 10_000 * 50_000}


def test_a_model_that_takes_over_a_part_of_the_calls_is_named_with_its_share():
    base = [priced(n, model="gpt-5") for n in range(4)]
    head = [*(priced(n, model="gpt-5") for n in range(3)), priced(3, model="gpt-5-nano")]
    assert said(base, head) == ["`plan` -$0.0003: other models (gpt-5: 100 % to 75 % of the calls)"]


def test_another_service_tier_is_no_other_model():
    november = 1_795_000_000_000_000_000
    base = [priced(1, output_tokens=1000, sent_at=november)]
    head = [priced(1, output_tokens=1000, sent_at=november, terms={"service_tier": "priority"})]
    (row,) = compared(base, head).rows
    assert parts(row) == {"terms": base[0].cost_picousd}


def test_another_price_book_is_named_with_both_versions():
    base = [priced(1, input_tokens=1000, output_tokens=1000)]
    head = [replace(base[0], cost_picousd=base[0].cost_picousd * 2, price_book="genai-prices 0.2.4")]
    (row,) = compared(base, head).rows
    assert parts(row) == {"prices": row.change_picousd}
    assert said(base, head) == ["`plan` +$0.0113: another price book (genai-prices 0.2.3 to genai-prices 0.2.4)"]


def test_searches_are_fees():
    base, head = [priced(1)], [priced(1, details={"web_searches": 3})]
    (row,) = compared(base, head).rows
    assert parts(row) == {"fees": 3 * 10**10}


def test_a_new_step_and_one_that_is_gone_are_named_so():
    assert said([priced(1, "a")], [priced(1, "b"), priced(2, "b")]) == [
        "`b` +$0.0007: new, 2 calls",
        "`a` -$0.0003: gone, with 1 call",
    ]


def test_calls_whose_cost_has_become_known_are_no_more_calls():
    base = [priced(1), settled(2, cost_picousd=None)]
    head = [priced(1), priced(2)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"unknown": row.change_picousd}
    assert said(base, head) == ["`plan` +$0.0003: fewer calls of unknown cost (1 to 0)"]
    assert list(notes_of(compared(base, head))) == ["? base: 1 call of unknown cost, which no number here holds"]


def test_rates_that_are_not_known_are_not_guessed():
    base = [settled(1, price_book="prices", cost_picousd=10**10)]
    head = [settled(1, price_book="prices", cost_picousd=3 * 10**10, input_tokens=300)]
    (row,) = compared(base, head).rows
    assert parts(row) == {"unknown": 2 * 10**10}


def test_rates_of_your_own_explain_what_they_priced():
    own = OwnPrices(prices={"gpt-5": {"input_mtok": 100, "output_mtok": 0}}, models={"deployment": "gpt-5"})
    base = [settled(1, price_book="prices", cost_picousd=10**10)]
    head = [settled(1, price_book="prices", cost_picousd=3 * 10**10, input_tokens=300)]
    (row,) = compared(base, head, own=own).rows
    assert parts(row) == {"input": 2 * 10**10}
    renamed = [replace(priced(1, input_tokens=tokens), model="deployment") for tokens in (100, 300)]
    (row,) = compared(renamed[:1], renamed[1:], own=OwnPrices(models={"deployment": "gpt-5"})).rows
    assert parts(row) == {"input": 200 * 1_250_000}


def test_sides_of_different_numbers_of_runs_are_compared_by_run():
    base = [priced(n, run_id=f"run {n}") for n in range(2)]
    head = [priced(n, run_id=f"run {n % 3}") for n in range(6)]
    found = compared(base, head)
    assert (found.is_by_run, found.total.change_picousd) == (True, base[0].cost_picousd)
    assert said(base, head) == ["`plan` +$0.0003: 1 more call a run"]
    assert list(notes_of(found)) == ["changes are of one run: base has 2 runs, head has 3 runs"]


def test_estimates_count_and_are_said():
    head = [settled(1, cost_picousd=None, estimated_cost_picousd=10**12, certainty="estimated", outcome="cut")]
    found = compared([priced(1)], head)
    assert found.total.head.estimated_picousd == 10**12
    assert list(notes_of(found)) == ["~ head: $1.00 of it is estimated"]


def test_what_words_say_when_averages_say_the_opposite():
    none = [priced(1, output_tokens=0)]
    assert said(none, [priced(1, output_tokens=100)]) == ["`plan` +$0.0010: output where there was none"]
    base = [priced(n, input_tokens=1000) for n in range(9)] + [priced(9, model="gpt-5-nano", input_tokens=100)]
    head = [priced(n, input_tokens=1200) for n in range(5)] + [
        priced(9 + n, model="gpt-5-nano", input_tokens=100) for n in range(5)
    ]
    (words,) = said(base, head)
    assert "input longer for some models" in words
    written = [
        priced(1, model="claude-sonnet-4-5", provider="anthropic", input_tokens=5000, cache_write_tokens=tokens)
        for tokens in (0, 4000)
    ]
    assert said(written[:1], written[1:]) == ["`plan` +$0.0030: more written to caches"]
    assert said(written[1:], written[:1]) == ["`plan` -$0.0030: less written to caches"]
    long = [priced(1, model="gpt-5.4", input_tokens=tokens, output_tokens=0) for tokens in (200_000, 300_000)]
    assert said(long[:1], long[1:]) == [
        "`plan` +$1.00: other rates (long requests, or a change of prices), input 1.5x longer"
    ]


MODELS = st.sampled_from(["gpt-5", "gpt-5-nano", "gpt-4o", "claude-sonnet-4-5", "model-of-tomorrow", None])
COUNTS = st.integers(0, 300_000)


@st.composite
def rows(draw):
    reads, writes = draw(COUNTS), draw(COUNTS)
    made = settled(
        draw(st.integers()), draw(st.sampled_from(["", "plan", "plan/search", "answer"])),
        run_id=draw(st.sampled_from(["a", "b", "c"])), model=draw(MODELS), outcome=draw(st.sampled_from(["answered", "cut", "failed", "refused"])),
        input_tokens=draw(st.none() | st.integers(reads + writes, 700_000)), output_tokens=draw(st.none() | COUNTS),
        cache_read_tokens=reads, cache_write_tokens=writes,
        details=draw(st.sampled_from([{}, {"web_searches": 2}])), terms=draw(st.sampled_from([{}, {"service_tier": "flex"}])),
        price_book=draw(st.sampled_from(["genai-prices 0.2.3", "provider", "prices", "local", None])),
        estimated_cost_picousd=draw(st.sampled_from([0, 0, 12_345])),
    )  # fmt: skip
    usage = usage_of(made)
    cost = None
    if usage is not None and made.model is not None:
        cost = cost_picousd(made.provider, made.model, usage, terms_of(made), sent_at_s(made))
    return replace(made, cost_picousd=draw(st.sampled_from([cost, None, draw(COUNTS)])))


SIDES = st.lists(rows(), max_size=6)


@given(SIDES, SIDES, st.sampled_from(["step", "path", "agent"]))
def test_the_parts_add_up_to_the_change_and_the_changes_to_that_of_the_ledger(base, head, by):
    found = compared(base, head, by=by)
    for row in (*found.rows, found.total):
        assert sum(row.parts.values()) == row.change_picousd
        assert tuple(row.parts) == PARTS
    assert sum(row.change_picousd for row in found.rows) == found.total.change_picousd
    cost = [
        sum((row.cost_picousd or 0) + row.estimated_cost_picousd for row in side if row.outcome in BILLED)
        for side in (base, head)
    ]
    assert [found.total.base.cost_picousd, found.total.head.cost_picousd] == cost
    if not found.is_by_run:
        assert found.total.change_picousd == cost[1] - cost[0]
    for row in found.rows:
        assert sentence(row, found)


@given(SIDES)
def test_a_side_compared_with_itself_has_not_changed(side):
    found = compared(side, side)
    assert [row.parts for row in found.rows] == [dict.fromkeys(PARTS, 0)] * len(found.rows)


@given(SIDES, SIDES)
def test_the_way_back_is_as_long(base, head):
    there, back = compared(base, head).total, compared(head, base).total
    assert abs(there.change_picousd + back.change_picousd) <= 1


@pytest.fixture
def recorded(tmp_path):
    """The same two calls as a journal, as rows, and as records."""
    instrument(sinks=[Journal(tmp_path / "journal")])
    with step("plan"):
        record_llm_usage("gpt-5", 1000, 200, provider="openai", cache_read_tokens=500)
        record_llm_usage("gpt-5", 3000, 100, provider="openai")
    (record,) = drain_completed_steps()
    uninstrument()
    (journal,) = (tmp_path / "journal").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    calls = tmp_path / "calls.jsonl"
    calls.write_text(
        "".join(
            json.dumps({k: v for k, v in each.items() if k != "event"}) + "\n"
            for each in lines
            if each["event"] == "call_settled"
        )
    )
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps(record.to_dict()) + "\n")
    return journal, calls, records


def test_journals_rows_and_records_are_the_same_side(recorded):
    journal, calls, records = map(read_billed, recorded)
    assert journal == calls
    found = diff(journal, records)
    assert (found.rows[0].change_picousd, found.rows[0].base.calls, found.rows[0].head.calls) == (0, 2, 2)
    assert parts(found.rows[0]) == {}


def test_a_record_with_calls_of_unknown_cost_keeps_them_apart(tmp_path):
    file = tmp_path / "records.jsonl"
    spend = {
        "provider": "openai",
        "model": "gpt-5",
        "llm_calls": 3,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": 0.5,
        "unpriced_calls": 1,
    }
    file.write_text(json.dumps(ended().to_dict() | {"by_model": [spend]}))
    (row,) = diff([], read_billed(file)).rows
    assert (row.head.calls, row.head.unknown_calls, row.head.cost_picousd) == (3, 1, 5 * 10**11)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "is no object"),
        ("{}", "is neither a call nor the record of a step"),
        ('{"call_id": "1"}', "missing"),
        (json.dumps(settled(1).to_dict() | {"cost_picousd": "free"}), "cost_picousd is 'free'"),
    ],
)
def test_a_line_that_is_neither_is_named_with_its_number(tmp_path, line, reason):
    file = tmp_path / "side.jsonl"
    file.write_text(f'{{"event":"a note"}}\n\n{line}\n')
    with pytest.raises(ValueError, match=rf"side\.jsonl:3: .*{reason}"):
        read_billed(file)
