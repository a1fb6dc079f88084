"""What is exported and imported again is what it was."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps import Journal
from otel_harn_steps.store import JournalReader, RunSummary, Store
from otel_harn_steps.store.imports import import_files
from tests.store.imports.sources import imported, write_lines
from tests.store.rows import sent, settled

NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
COUNTS = st.integers(0, 10**9)


@st.composite
def rows(draw):
    """Rows of calls of any outcome, in a few runs and steps."""
    outcome = draw(st.sampled_from(["open", "answered", "answered", "answered", "cut", "failed", "refused", "void"]))
    path = draw(st.sampled_from(["", "plan", "plan/a", "plan/b"]))
    begun = sent(
        f"{draw(st.integers(0, 2**64 - 1)):016x}",
        path,
        run_id=draw(st.sampled_from([f"{number:016x}" for number in range(3)])),
        labels=draw(st.dictionaries(NAMES, NAMES, max_size=2)),
        provider=draw(NAMES),
        requested_model=draw(st.none() | NAMES),
        agent=draw(st.none() | NAMES),
        sent_at=draw(st.integers(10**18, 2 * 10**18)),
    )
    if outcome == "open":
        return begun
    return replace(
        begun,
        outcome=outcome,
        certainty=draw(st.sampled_from(["measured", "reported", "observed", "estimated", "unknown"])),
        duration_ns=draw(st.none() | COUNTS),
        model=draw(st.none() | NAMES),
        input_tokens=draw(st.none() | COUNTS),
        output_tokens=draw(st.none() | COUNTS),
        cache_read_tokens=draw(COUNTS),
        cost_picousd=draw(st.none() | COUNTS),
        price_book=draw(st.none() | NAMES),
        estimated_tokens=draw(st.just(0) | COUNTS),
        estimated_cost_picousd=draw(st.just(0) | COUNTS),
        details=draw(st.dictionaries(st.sampled_from(["web_searches", "input_audio_tokens"]), COUNTS, max_size=2)),
        terms=draw(st.dictionaries(st.just("service_tier"), NAMES, max_size=1)),
        late=draw(st.booleans()),
    )


def exported(folder):
    with Store(folder) as store:
        store.update()
        return [call.to_dict() for call in store.calls()], store.report().total.to_dict()


@given(st.lists(rows(), max_size=12, unique_by=lambda row: row.call_id))
def test_calls_that_are_exported_and_imported_are_what_they_were(made):
    with tempfile.TemporaryDirectory() as folder:
        first, second, file = (Path(folder, name) for name in ("first", "second", "calls.jsonl"))
        journal = Journal(first)
        for row in made:
            (journal.call_sent if row.outcome == "open" else journal.call_settled)(row)
        journal.close()
        calls, total = exported(first)
        write_lines(file, [json.dumps(call) for call in calls])

        report = import_files("auto", [file], second)

        again, total_again = exported(second)
        assert report.damaged_lines == 0
        assert total_again == total
        assert sorted(map(str, again)) == sorted(map(str, calls))
        assert import_files("calls", [file], second).changed == 0


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


def test_exports_of_parts_are_added_up(tmp_path, records):
    rows = [settled("1"), settled("2"), sent("3")]
    for row in rows:
        import_files("calls", [write_lines(tmp_path / "part.jsonl", [row.to_dict()])], records)
    import_files("calls", [write_lines(tmp_path / "part.jsonl", [settled("3").to_dict()])], records)

    summary = RunSummary(JournalReader(records).poll())

    assert (summary.total.calls, summary.total.open_calls) == (3, 0)


def test_a_call_with_a_wrong_value_is_named_and_the_rest_is_read(tmp_path, records):
    wrong = [{"input_tokens": -1}, {"outcome": "won"}, {"labels": 5}, {"call_id": None}]
    file = write_lines(
        tmp_path / "calls.jsonl", [*(settled("1").to_dict() | each for each in wrong), settled("2").to_dict()]
    )

    report, summary = imported("calls", file, records)

    assert [each.line for each in report.damaged] == [1, 2, 3, 4]
    assert summary.total.calls == 1
