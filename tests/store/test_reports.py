"""What a store answers: every view adds up to the ledger, exactly."""

from __future__ import annotations

import json
import tempfile
import time
from fnmatch import fnmatchcase
from itertools import pairwise

import pytest

pytest.importorskip("msgspec")

from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps import Journal
from otel_harn_steps.store import (
    DIMENSIONS,
    Filter,
    JournalReader,
    RunFile,
    RunSummary,
    Spend,
    Store,
    to_json,
)
from tests.store.rows import RUN, ended, sent, settled, started

HOUR = 3600 * 10**9
DAY = 24 * HOUR
NOW = 1_790_000_000_000_000_000
COUNTS = st.integers(0, 10**9)
TEXTS = st.one_of(
    st.sampled_from(["plan", "réve", "a/b", "\u202eevil", "\x1b[31mred", "<script>", "🦜", "n" * 300]),
    st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8),
)


@st.composite
def calls(draw):
    """The rows of some runs: any outcome, unknown and estimated ones, in steps of a small tree."""
    rows = []
    for number in range(draw(st.integers(0, 12))):
        run = draw(st.sampled_from(["run-aaaa", "run-bbbb"]))
        path = draw(st.sampled_from(["", "a", "a/b", "a/b/a", "c"]))
        known = draw(st.booleans())
        estimated = draw(st.booleans())
        rows.append(
            settled(
                f"{number}", path,
                run_id=run,
                step_id=f"{run} {path}" if path else None,
                parent_id=f"{run} {path.rpartition('/')[0]}" if "/" in path else None,
                agent=draw(st.sampled_from([None, "writer"])),
                labels=draw(st.sampled_from([{}, {"tenant": "acme"}, {"tenant": "ö", "x": "1"}])),
                sent_at=NOW + draw(st.integers(0, 5 * DAY)),
                provider=draw(st.sampled_from(["openai", "anthropic"])),
                model=draw(st.one_of(st.none(), TEXTS)),
                outcome=draw(st.sampled_from(["answered", "answered", "cut", "failed", "refused", "void"])),
                input_tokens=draw(COUNTS) if known else None,
                output_tokens=draw(COUNTS) if known else None,
                cost_picousd=draw(st.one_of(st.none(), st.integers(0, 10**14))),
                estimated_tokens=draw(COUNTS) if estimated else 0,
                estimated_cost_picousd=draw(COUNTS) if estimated else 0,
            )
        )  # fmt: skip
    return rows


def write(folder, rows):
    journal = Journal(folder)
    for path in ("a", "a/b", "a/b/a", "c"):
        for run in {row.run_id for row in rows if row.path.startswith(path)}:
            parent = path.rpartition("/")[0]
            journal.step_started(
                started(
                    path,
                    run_id=run,
                    step_id=f"{run} {path}",
                    parent_id=f"{run} {parent}" if parent else None,
                    start_time=NOW,
                )
            )
    for row in rows:
        journal.call_sent(sent(row.call_id, row.path, run_id=row.run_id, step_id=row.step_id, sent_at=row.sent_at))
        journal.call_settled(row)
    journal.close()


def add_up(rows):
    total = Spend()
    for row in rows:
        if row.outcome in ("answered", "cut"):
            total.bill(row)
    return total


@given(rows=calls(), by=st.sampled_from([*DIMENSIONS, "label:tenant"]))
def test_every_view_adds_up_to_the_ledger(rows, by):
    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        write(folder, rows)
        store.update()
        report = store.report(by)
        assert report.total == add_up(rows)
        assert add_up(store.calls()) == add_up(rows)
        assert sum(report.trend) == report.total.cost_picousd + report.total.estimated_cost_picousd
        assert sum(sum(row.trend) for row in report.rows) == sum(report.trend)
        runs = store.runs(limit=None)
        assert sum(run.spend.cost_picousd for run in runs) == report.total.cost_picousd
        details = [store.run(run.run_id) for run in runs]
        assert sum(add_up(detail.calls).cost_picousd for detail in details) == report.total.cost_picousd
        in_steps = add_up(row for row in rows if row.path)
        assert sum(step.own.cost_picousd for detail in details for step in detail.steps) == in_steps.cost_picousd
        outermost = [step for detail in details for step in detail.steps if step.parent_id is None]
        assert sum(step.total.cost_picousd for step in outermost) == in_steps.cost_picousd
        assert sum(map(sum, store.series(by, most=2).values)) == sum(report.trend)
        summary = RunSummary(JournalReader(folder).poll())
        assert summary.total == report.total
        json.dumps(to_json(report), allow_nan=False)
        json.dumps(to_json(details), allow_nan=False)


@given(rows=calls(), since=st.integers(0, 5 * 96), length=st.integers(1, 96))
def test_a_period_and_the_one_before_it_are_what_was_sent_in_them(rows, since, length):
    quarter = 15 * 60 * 10**9
    begin = NOW // quarter + since
    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        write(folder, rows)
        store.update()
        report = store.report("model", Filter(since=begin * quarter, until=(begin + length) * quarter))
        assert report.total == add_up(row for row in rows if begin <= row.sent_at // quarter < begin + length)
        assert report.before == add_up(row for row in rows if begin - length <= row.sent_at // quarter < begin)


@given(rows=calls(), patterns=st.lists(st.sampled_from(["a", "b", "a/*", "?", "nothing"]), min_size=1))
def test_patterns_of_steps_choose_by_name_or_path(rows, patterns):
    def matches(row):
        return any(fnmatchcase(text, each) for each in patterns for text in (row.step, row.path) if text)

    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        write(folder, rows)
        store.update()
        chosen = Filter(steps=tuple(patterns))
        assert store.report("model", chosen).total == add_up(row for row in rows if matches(row))
        assert {row.call_id for row in store.calls(chosen)} == {row.call_id for row in rows if matches(row)}


def make(tmp_path, *rows):
    journal = Journal(tmp_path)
    for row in rows:
        {"CallRow": journal.call_settled, "StartedStep": journal.step_started, "CompletedStep": journal.step_ended}[
            type(row).__name__
        ](row)
    store = Store(tmp_path)
    store.update()
    return store


def rows_of(report):
    return {row.key: row for row in report.rows}


def test_a_name_at_several_places_is_one_row_whose_total_counts_each_call_once(tmp_path):
    store = make(
        tmp_path,
        settled(1, "a", cost_picousd=1),
        settled(2, "a/b", parent_id="id of a", cost_picousd=10),
        settled(3, "a/b/a", parent_id="id of a/b", cost_picousd=100),
    )

    by_name = rows_of(store.report("step"))
    assert {key: (row.spend.cost_picousd, row.total.cost_picousd) for key, row in by_name.items()} == {
        "a": (101, 111),
        "b": (10, 110),
    }
    by_path = rows_of(store.report("path"))
    assert {key: (row.spend.cost_picousd, row.total.cost_picousd) for key, row in by_path.items()} == {
        "a": (1, 111), "a/b": (10, 110), "a/b/a": (100, 100),
    }  # fmt: skip


def test_the_cost_of_one_run_of_a_step_holds_what_is_below_it(tmp_path):
    rows = []
    for number in range(1, 21):
        rows += [
            started("a", step_id=f"a{number}", start_time=NOW),
            settled(f"{number}", "a/b", step_id=f"b{number}", parent_id=f"a{number}", cost_picousd=number),
            ended("a/b", step_id=f"b{number}", parent_id=f"a{number}", start_time=NOW, end_time=NOW + 1),
            ended("a", step_id=f"a{number}", start_time=NOW, end_time=NOW + 1),
        ]
    row = rows_of(make(tmp_path, *rows).report())["a"]

    assert (row.costs.p50_picousd, row.costs.p95_picousd, row.costs.p99_picousd, row.costs.most_picousd) == (
        10,
        19,
        20,
        20,
    )
    assert row.entered == 20


def test_wasted_is_what_was_spent_in_and_below_steps_that_failed_or_were_skipped(tmp_path):
    report = make(
        tmp_path,
        settled(1, "fails", cost_picousd=1),
        settled(2, "fails/inner", parent_id="id of fails", cost_picousd=10),
        settled(3, "skipped", cost_picousd=100),
        settled(4, "fine", cost_picousd=1000),
        ended("fails/inner", parent_id="id of fails", status="skipped"),
        ended("fails", status="failed", error="no"),
        ended("skipped", status="skipped"),
        ended("fine"),
    ).report()

    assert (report.wasted_picousd, report.failed_picousd) == (111, 11)
    assert {row.key: row.wasted_picousd for row in report.rows} == {"fails": 1, "inner": 10, "skipped": 100, "fine": 0}


def test_breaches_and_headroom_are_of_the_steps_limit(tmp_path):
    report = make(
        tmp_path,
        started("plan", step_id="1", max_usd=0.002, start_time=NOW),
        settled(1, "plan", step_id="1"),
        ended("plan", step_id="1", max_usd=0.002),
        settled(2, "plan", step_id="2", cost_picousd=3 * 10**9),
        ended("plan", step_id="2", max_usd=0.002, status="failed", breach="max_usd"),
    ).report()

    (row,) = report.rows
    assert (report.breached, report.breached_steps, row.breached, row.entered) == (1, 1, 1, 2)
    assert row.headroom == pytest.approx(-0.5)


def test_unknown_is_counted_and_never_nothing(tmp_path):
    report = make(tmp_path, settled(1, cost_picousd=None), ended("plan")).report()

    assert (report.total.unknown_calls, report.total.cost_usd, report.costs.p50_picousd) == (1, None, None)
    assert report.rows[0].costs.p50_picousd is None


def test_refused_and_failed_calls_are_counted_apart(tmp_path):
    nothing = {"cost_picousd": None, "input_tokens": None, "output_tokens": None}
    report = make(
        tmp_path, settled(1, outcome="refused", **nothing), settled(2, outcome="failed", **nothing), settled(3)
    ).report()

    assert (report.refused, report.failed, report.total.calls, report.runs) == (1, 1, 1, 1)


def test_a_dimension_that_is_none_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(ValueError, match=r"by must be one of step, path, agent, .*, or label:NAME, not 'modell'"):
        make(tmp_path).report("modell")


def test_a_short_period_has_hours_and_a_long_one_weeks(tmp_path):
    store = make(tmp_path, settled(1, sent_at=NOW), settled(2, sent_at=NOW + 200 * DAY))

    def lengths(**chosen):
        begins = store.report("model", Filter(**chosen)).buckets
        return {after - before for before, after in pairwise(begins)}

    assert lengths(since=NOW, until=NOW + DAY) == {HOUR}
    assert {round(each / DAY) for each in lengths(since=NOW, until=NOW + 9 * DAY)} == {1}
    assert {round(each / DAY) for each in lengths()} == {7}


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_a_beginning_its_trace_or_as_the_last(tmp_path):
    store = make(
        tmp_path,
        started("a", trace_id="0af7651916cd43dd8448eb211c80319c", start_time=NOW),
        settled(1, "a", sent_at=NOW),
        settled(2, "", run_id="0123ffff", sent_at=NOW - DAY),
    )

    for name in (RUN, RUN[:6], "0af7651916cd43dd8448eb211c80319c", "last"):
        assert store.run(name).run.run_id == RUN
    with pytest.raises(LookupError, match=r"'0123' is the beginning of several runs: 0123456789abcdef, 0123ffff"):
        store.run("0123")
    for name in ("nope", "0", "%%%%", "____"):
        with pytest.raises(LookupError, match="no run"):
            store.run(name)


def test_a_run_that_is_described_has_its_end_and_its_budget(tmp_path):
    RunFile(run_id=RUN, name="nightly", program="agent.py", started_at=NOW, limits={"max_usd": 0.5}).write(tmp_path)
    store = make(tmp_path, settled(1, sent_at=NOW))
    (run,) = store.runs()
    assert (run.name, run.program, run.limits, run.ended_at, run.status) == (
        "nightly",
        "agent.py",
        {"max_usd": 0.5},
        None,
        "running",
    )

    RunFile(
        run_id=RUN, name="nightly", program="agent.py", started_at=NOW, ended_at=NOW + 9, exit_code=75, over="max_usd"
    ).write(tmp_path)
    store.update()
    (run,) = store.runs()
    assert (run.ended_at, run.exit_code, run.over, run.status) == (NOW + 9, 75, "max_usd", "ended")


def test_a_run_that_has_called_nothing_yet_is_there(tmp_path):
    RunFile(run_id=RUN, name="x", program="x.py", started_at=time.time_ns()).write(tmp_path)
    store = make(tmp_path)

    assert [(run.program, run.spend.calls) for run in store.runs()] == [("x.py", 0)]
    assert store.run("last").calls == ()
    assert store.runs(Filter(models=("gpt*",))) == []


def test_a_description_that_is_damaged_is_told(tmp_path):
    (tmp_path / "x.run.json").write_text("{}")
    store = make(tmp_path, settled(1))

    assert [str(each) for each in store.damaged] == [f"{tmp_path / 'x.run.json'}:1: is no description of a run"]


def test_steps_of_a_process_that_is_gone_are_left(tmp_path):
    header = {"event": "journal", "version": 1, "run_id": RUN, "run_name": None, "process_id": 2**22 + 5,
              "parent_process_id": 1, "program": "agent.py", "started_at": NOW, "package_version": "0", "python_version": "3"}  # fmt: skip
    lines = [
        header,
        {"event": "step_started", **started("a", start_time=NOW).to_dict()},
        {"event": "call_sent", **sent(1, "a").to_dict()},
    ]
    (tmp_path / f"{RUN}-1-x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    with Store(tmp_path) as store:
        store.update()
        detail = store.run("last")

    assert [(step.path, step.status) for step in detail.steps] == [("a", "left")]
    assert [process.status for process in detail.processes] == ["left"]
    assert ([row.outcome for row in detail.calls], detail.run.status) == (["open"], "left")


def test_a_circle_of_steps_in_a_damaged_journal_is_read(tmp_path):
    store = make(
        tmp_path,
        started("a", step_id="1", parent_id="2"),
        started("b", step_id="2", parent_id="1"),
        settled(1, "a", step_id="1", parent_id="2"),
    )

    assert {step.path for step in store.run("last").steps} == {"a", "b"}
    assert store.report().total.calls == 1
