"""Records of steps: what their calls have spent together, as rows with equal shares. Every sum is that of the records."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps import Journal, JsonLinesSink, record_llm_usage, step
from otel_harn_steps.store import JournalReader, RunSummary, Store
from otel_harn_steps.store.imports import import_files
from otel_harn_steps.store.imports._shares import Sum, rows_of
from tests.instrumented import instrumented
from tests.provider import PRICES, provider
from tests.store.imports.sources import imported, indexed, paths_and_calls, write_lines
from tests.store.rows import ended, settled

COUNTED = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_picousd", "unpriced_calls", "unmetered_calls", "estimated_tokens", "estimated_cost_picousd",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "steps.jsonl"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def llm(replay, file, journal):
    """A provider. Its calls are journaled, and counted in records."""
    with instrumented(prices=PRICES, sinks=[JsonLinesSink(file), Journal(journal)]), provider(replay) as made:
        yield made


def counts(spend):
    return {name: getattr(spend, name) for name in COUNTED}


def journaled(journal):
    return RunSummary(JournalReader(journal).poll())


def spend_in_all_ways(llm):
    with step("plan", max_tokens=10**6, agent="librarian"):
        llm.ask(100, 20)
        llm.ask(201, 21)
        llm.ask(7, 1)
        record_llm_usage("no such model", 10, 1)
        record_llm_usage("gpt-5", 3, None)
        record_llm_usage(None, None, None)
        with step("research"):
            record_llm_usage("gpt-5", 1000, 90, cache_read_tokens=401, reasoning_tokens=33)
            record_llm_usage("gpt-5", 1001, 90, cache_read_tokens=400, reasoning_tokens=34)
        with step("nothing"):
            pass


def test_every_sum_is_that_of_the_calls_themselves(llm, file, records, journal):
    spend_in_all_ways(llm)

    report, summary = imported("records", file, records)

    expected = journaled(journal)
    assert (report.calls, report.steps) == (8, 3)
    assert counts(summary.total) == counts(expected.total)
    for path, known in expected.steps.items():
        assert counts(summary.steps[path].own) == counts(known.own)
        assert summary.steps[path].statuses == known.statuses
    for model, known in expected.models.items():
        assert counts(summary.models[model]) == counts(known)
    assert indexed(records).to_dict() == summary.total.to_dict()


def test_no_row_says_what_its_call_has_spent(llm, file, records):
    with step("plan"):
        llm.ask(100, 20)
        llm.ask(201, 21)

    imported("records", file, records)

    with Store(records) as store:
        store.update()
        calls = list(store.calls())
        (run,) = store.step_runs()
    assert sorted((call.operation, call.input_tokens, call.step, call.duration_ns) for call in calls) == [
        ("unknown", 150, "plan", None),
        ("unknown", 151, "plan", None),
    ]
    assert run.own.calls == 2


def test_an_amendment_is_added_to_what_it_amends(llm, file, records, journal):
    async def main():
        with step("outer"):
            with step("inner"):
                task = asyncio.create_task(llm.ask_async(100, 20))
                await asyncio.sleep(0)
                llm.ask(7, 1)
            await task

    asyncio.run(main())
    assert any(json.loads(line)["amends"] for line in file.read_text().splitlines())

    _, summary = imported("records", file, records)

    assert counts(summary.total) == counts(journaled(journal).total)
    assert paths_and_calls(summary) == [("outer", 0), ("outer/inner", 2)]


def test_what_an_amendment_takes_back_is_not_counted(file, records):
    whole = {"provider": "openai", "llm_calls": 1, "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5}
    back = {"provider": "openai", "llm_calls": -1, "input_tokens": -10, "output_tokens": -5, "cost_usd": -0.5}
    sums = {"llm_calls": 1, "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5}
    own = ended().to_dict() | sums | {"by_model": [whole | {"model": "a"}]}
    amendment = ended(amends="id of plan").to_dict() | {"by_model": [whole | {"model": "b"}, back | {"model": "a"}]}
    write_lines(file, [amendment, own])

    report, summary = imported("records", file, records)

    assert report.damaged_lines == 0
    assert {model: spend.calls for (_, model), spend in summary.models.items()} == {"b": 1}
    assert summary.total.cost_picousd == 5 * 10**11


def test_an_amendment_without_the_record_that_it_takes_back_from_is_named(file, records):
    back = {"provider": "openai", "model": "a", "llm_calls": -1, "input_tokens": -10}
    write_lines(file, [ended(amends="id of plan", llm_calls=-1, input_tokens=-10).to_dict() | {"by_model": [back]}])

    report, summary = imported("records", file, records)

    assert "no calls can have spent what its records and their amendments add up to" in report.damaged[0].reason
    assert summary.total.calls == 0


def test_a_file_that_has_grown_adds_its_new_records(llm, file, records, journal):
    with step("first"):
        llm.ask(100, 20)
    import_files("records", [file], records)
    with step("second"):
        llm.ask(7, 1)

    report, summary = imported("records", file, records)

    assert (report.changed, report.new) == (1, 0)
    assert counts(summary.total) == counts(journaled(journal).total)
    assert import_files("records", [file], records).same == 1


def test_files_of_one_run_are_added_up(llm, file, records, journal, tmp_path):
    spend_in_all_ways(llm)
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines):
        import_files("records", [write_lines(tmp_path / f"{number}.jsonl", [line])], records)

    summary = RunSummary(JournalReader(records).poll())

    assert len(list(records.glob("*.jsonl"))) == 1
    assert counts(summary.total) == counts(journaled(journal).total)


def test_a_run_that_has_written_journals_here_is_left_out(llm, file, journal):
    with step("plan"):
        llm.ask(100, 20)

    report, summary = imported("records", file, journal)

    assert (len(report.journaled), report.new, summary.total.calls) == (1, 0, 1)


def test_records_of_older_versions_do_not_tell_models_apart(file, records):
    old = {
        "name": "plan", "function": "plan", "model": "gpt-5", "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5,
        "llm_calls": 2, "status": "completed", "error": None, "start_time": 7, "end_time": 9,
    }  # fmt: skip
    write_lines(file, [old, old | {"name": "draft"}])

    _, summary = imported("records", file, records)

    assert paths_and_calls(summary) == [("draft", 2), ("plan", 2)]
    assert summary.models.keys() == {("unknown", "gpt-5")}
    assert summary.total.cost_picousd == 10**12


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": 1.5}, {"cost_usd": "1"}, {"llm_calls": True}, {"by_model": 5}, {"by_model": [{"model": "x"}]},
        {"labels": ["a"]}, {"name": None}, {"start_time": -1}, {"cost_usd": float("nan")},
    ],
)  # fmt: skip
def test_a_record_with_a_wrong_value_is_named_and_the_rest_is_read(file, records, wrong):
    write_lines(file, [ended("one").to_dict() | wrong, ended("two").to_dict()])

    report, summary = imported("records", file, records)

    assert [(each.path, each.line) for each in report.damaged] == [(file, 1)]
    assert list(summary.steps) == ["two"]


COUNTS = st.integers(0, 40)


@st.composite
def sums(draw):
    calls = draw(st.integers(1, 12))
    spent = Sum(
        calls,
        *(draw(st.integers(0, 10**6)) for _ in range(5)),
        cost_picousd=draw(st.integers(0, 10**13)),
        unpriced_calls=draw(st.integers(0, calls)),
        unmetered_calls=draw(st.integers(0, calls)),
        observed_calls=draw(st.integers(0, calls)),
        estimated_tokens=draw(st.integers(0, 10**6)),
        estimated_cost_picousd=draw(st.integers(0, 10**13)),
    )
    if spent.unpriced_calls == calls:
        spent = replace(spent, cost_picousd=0)
    if calls == spent.unmetered_calls == 1:
        spent = replace(spent, output_tokens=0)
    return spent


@given(sums())
def test_the_shares_of_a_sum_are_the_sum(spent):
    assert spent.is_possible
    summary = RunSummary()
    rows = list(rows_of(spent, settled("like", price_book="a book"), "source"))
    for row in rows:
        summary._settle(row)

    total = summary.total
    assert counts(total) == {
        "calls": spent.llm_calls,
        **{name: getattr(spent, name) for name in COUNTED[1:]},
    }
    assert len({row.call_id for row in rows}) == spent.llm_calls
    assert min([row.input_tokens or 0 for row in rows] + [row.cost_picousd or 0 for row in rows]) >= 0


def test_a_surrogate_in_a_name_is_written_as_its_escape(file, records):
    name = os.fsdecode(b"caf\xe9")
    write_lines(file, [json.dumps(ended(name).to_dict())])

    report, summary = imported("records", file, records)

    assert report.new == 1
    assert list(summary.steps) == ["caf\\udce9"]
    with Store(records) as store:
        store.update()
        assert (store.damaged, [each.name for each in store.step_runs()]) == ([], ["caf\\udce9"])
