"""The index: read once, exactly, whatever becomes of the files."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps import Journal
from otel_harn_steps.store import IndexVersionError, JournalVersionError, Store
from tests.store.rows import RUN, ended, sent, settled, started

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


@pytest.fixture
def store(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    with Store(tmp_path) as store:
        yield store


def ids(store):
    store.update()
    return [row.call_id for row in store.calls()]


def test_only_what_is_new_is_read(journal, store, monkeypatch):
    from otel_harn_steps.store import _lines

    read = []
    decode_all = _lines.decode_all
    monkeypatch.setattr(_lines, "decode_all", lambda lines: read.extend(lines.splitlines()) or decode_all(lines))
    journal.call_settled(settled(1))
    assert store.update()
    first = len(read)
    journal.call_settled(settled(2))

    assert store.update()
    assert len(read) == first + 1
    assert not store.update()
    assert store.report().total.calls == 2


def test_a_file_is_read_in_pieces_that_may_be_shorter_than_a_line(journal, store, monkeypatch):
    from otel_harn_steps.store import _index

    monkeypatch.setattr(_index, "_BYTES_AT_ONCE", 100)
    monkeypatch.setattr(_index, "_LINES_IN_A_BATCH", 3)
    monkeypatch.setattr(_index, "_BATCHES_AT_ONCE", 2)
    rows = [settled(number, "a/b", parent_id="id of a") for number in range(40)]
    for row in rows:
        journal.call_sent(row)
        journal.call_settled(row)
    store.update()

    assert {row.call_id: row for row in store.calls()} == {row.call_id: row for row in rows}
    assert store.report().total.calls == 40
    assert not store.damaged


def test_the_newest_breaches_come_first(journal, store):
    for number in range(6):
        breach = "max_usd" if number % 2 else None
        journal.step_ended(ended(f"a/{number}", step_id=f"{number}", breach=breach, start_time=1000 + number))
    store.update()

    assert [each.name for each in store.breaches()] == ["5", "3", "1"]
    assert [each.name for each in store.breaches(limit=2)] == ["5", "3"]


def test_a_row_comes_back_as_it_was_written(journal, store):
    rows = [
        settled(1, "a/b", parent_id="id of a", agent="writer", labels={"tenant": "acme"}, details={"web_searches": 2}),
        settled(2, "", cost_picousd=None, input_tokens=None, output_tokens=None, certainty="unknown", model=None),
        settled(3, "a/b", parent_id="id of a", terms={"service_tier": "flex"}, late=True, estimated_tokens=7,
                estimated_cost_picousd=9, price_book="genai-prices 0.2.3"),
        settled("0123456789abcdef", outcome="refused", cost_picousd=None, input_tokens=None, output_tokens=None),
        sent("fedcba9876543210", "a/b", parent_id="id of a"),
    ]  # fmt: skip
    for row in rows[:-1]:
        journal.call_settled(row)
    journal.call_sent(rows[-1])
    store.update()

    assert {row.call_id: row for row in store.calls()} == {row.call_id: row for row in rows}


def test_a_call_in_flight_is_open_until_it_is_settled(journal, store):
    journal.call_sent(sent(1))
    store.update()
    assert (store.report().total.open_calls, store.report().total.calls) == (1, 0)

    journal.call_settled(settled(1))
    store.update()
    assert (store.report().total.open_calls, store.report().total.calls) == (0, 1)


def test_a_call_in_two_journals_is_counted_once(tmp_path, store):
    for _ in range(2):
        journal = Journal(tmp_path)
        journal.call_sent(sent(1))
        journal.call_settled(settled(1))
        journal.close()
        store.update()

    assert store.report().total.cost_picousd == 10**9


def test_a_step_below_may_be_read_before_the_step_around_it(tmp_path, store):
    child, parent = Journal(tmp_path), Journal(tmp_path)
    child.step_started(started("a/b/c", parent_id="id of a/b", start_time=3))
    child.call_settled(settled(1, "a/b/c", parent_id="id of a/b"))
    store.update()
    parent.step_started(started("a/b", parent_id="id of a", start_time=2))
    store.update()
    parent.step_started(started("a", start_time=1))
    parent.step_ended(ended("a", start_time=1, end_time=9))
    parent.step_ended(ended("a/b", parent_id="id of a", start_time=2, end_time=8))
    child.step_ended(ended("a/b/c", parent_id="id of a/b", start_time=3, end_time=7))
    store.update()

    assert [(step.path, step.own.calls, step.total.calls) for step in store.run(RUN).steps] == [
        ("a", 0, 1), ("a/b", 0, 1), ("a/b/c", 1, 1),
    ]  # fmt: skip
    costs = {row.key: row.costs.p95_picousd for row in store.report("path").rows}
    assert costs == {"a": 10**9, "a/b": 10**9, "a/b/c": 10**9}


def test_an_index_that_is_deleted_is_made_again(journal, tmp_path):
    journal.call_settled(settled(1))
    with Store(tmp_path) as store:
        store.update()
        before = store.report()
    (tmp_path / "index.sqlite").unlink()

    with Store(tmp_path) as store:
        store.update()
        assert store.report() == before


@pytest.mark.parametrize("damage", [b"no database", b"SQLite format 3\x00" + b"\xff" * 4096, b""])
def test_an_index_that_is_damaged_is_made_again(journal, tmp_path, damage):
    journal.call_settled(settled(1))
    with Store(tmp_path) as store:
        store.update()
    for each in tmp_path.glob("index.sqlite*"):
        each.unlink()
    (tmp_path / "index.sqlite").write_bytes(damage)

    with Store(tmp_path) as store:
        store.update()
        assert store.report().total.calls == 1


def test_pages_that_are_damaged_while_it_is_open_are_made_again(journal, tmp_path):
    for number in range(2000):
        journal.call_settled(settled(number))
    with Store(tmp_path) as store:
        store.update()
        store._index.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file = tmp_path / "index.sqlite"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    journal.call_settled(settled("one more"))

    with Store(tmp_path) as store:
        store.update()
        assert store.report().total.calls == 2001


def test_a_name_with_half_of_a_character_is_shown_with_its_escape(journal, store):
    journal.call_settled(settled(1, os.fsdecode(b"caf\xe9")))
    journal.call_settled(settled(2, "emoji \N{GRINNING FACE}"))
    store.update()

    assert store.damaged == []
    assert sorted(row.name for row in store.report().rows) == ["caf\\udce9", "emoji \N{GRINNING FACE}"]


def test_an_index_of_a_newer_version_is_refused_and_stays(journal, tmp_path):
    journal.call_settled(settled(1))
    with Store(tmp_path) as store:
        store.update()
    with sqlite3.connect(tmp_path / "index.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(
        IndexVersionError,
        match=r"index\.sqlite was made by a newer otel-harn-steps \(tables 99; .*upgrade it, or delete",
    ):
        Store(tmp_path)
    assert (tmp_path / "index.sqlite").exists()


def test_an_index_of_an_older_version_is_made_anew(journal, tmp_path):
    journal.call_settled(settled(1))
    with Store(tmp_path) as store:
        store.update()
    with sqlite3.connect(tmp_path / "index.sqlite") as database:
        database.execute("DROP VIEW ledger")
        database.execute("PRAGMA user_version = 0")
    database.close()

    with Store(tmp_path) as store:
        store.update()
        assert store.report().total.calls == 1
        assert store._index.database.execute("SELECT COUNT(*) FROM ledger").fetchone() == (1,)


def test_a_journal_of_a_newer_version_is_refused_and_nothing_is_half_read(journal, store, tmp_path):
    journal.call_settled(settled(1))
    (tmp_path / f"{RUN}-1-newer.jsonl").write_text(
        '{"event":"journal","version":99,"run_id":"r","program":"p","process_id":1,"started_at":1}\n'
    )

    with pytest.raises(JournalVersionError, match=r"newer\.jsonl is a journal of version 99"):
        store.update()
    assert store.report().total.calls == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no line of a journal"),
        ('{"event": 1}', "is no line of a journal"),
        ('{"event": "call_settled"}', "call_settled: Object missing required field `call_id`"),
        (json.dumps({"event": "call_settled", **settled(9).to_dict(), "cost_picousd": -1}), "cost_picousd"),
        (json.dumps({"event": "call_settled", **settled(9).to_dict(), "input_tokens": 1.5}), "input_tokens"),
        (json.dumps({"event": "call_settled", **settled(9).to_dict(), "cost_picousd": 10**30}), "out of range|cost_picousd"),
        (json.dumps({"event": "call_settled", **settled(9).to_dict(), "labels": 1}), "labels"),
        ('{"event": "step_started", "name": 1, "path": "x"}', "name"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_told_and_the_rest_is_read(journal, store, tmp_path, line, reason):
    journal.call_settled(settled(1))
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("a") as lines:
        lines.write(f"{line}\n")
    journal.call_settled(settled(2))
    store.update()

    (damaged,) = store.damaged
    assert (damaged.path, damaged.line) == (file, 3)
    assert pytest.importorskip("re").search(reason, damaged.reason)
    assert (store.report().total.calls, store.report().damaged) == (2, 1)


def test_a_line_that_is_not_whole_is_read_when_it_is(journal, store, tmp_path):
    journal.call_settled(settled(1))
    (file,) = tmp_path.glob("*.jsonl")
    whole = json.dumps({"event": "call_settled", **settled(2).to_dict()})
    with file.open("a") as lines:
        lines.write(whole[:50])
    assert ids(store) == ["1"]
    with file.open("a") as lines:
        lines.write(whole[50:] + "\n")

    assert ids(store) == ["1", "2"]
    assert store.damaged == []


@pytest.mark.parametrize("gone", [["run_a-0"], ["run_a-0", "run_a-1"], ["run_b-2"], ["run_a-1", "run_b-2"]])
def test_what_files_held_goes_with_them_and_sums_stay_right(tmp_path, store, gone):
    for number, run in enumerate(("run a", "run a", "run b")):
        journal = Journal(tmp_path, run_id=run)
        journal.step_started(started(f"s{number}", run_id=run, step_id=f"step {number}"))
        journal.call_settled(settled(number, f"s{number}", run_id=run, step_id=f"step {number}"))
        journal.close()
        (new,) = (each for each in tmp_path.glob("run_*.jsonl") if each.name.count("-") == 2)
        new.rename(tmp_path / f"run_{run[-1]}-{number}.jsonl")
    store.update()
    assert store.report().total.calls == 3

    for name in gone:
        (tmp_path / f"{name}.jsonl").unlink()
    assert store.update()

    with Store(tmp_path / "elsewhere") as anew:
        for each in tmp_path.glob("*.jsonl"):
            anew.folder.mkdir(exist_ok=True)
            (anew.folder / each.name).write_bytes(each.read_bytes())
    with Store(tmp_path / "elsewhere") as anew:
        anew.update()
        assert store.report() == anew.report()
        assert {(run.run_id, run.spend.calls) for run in store.runs()} == {
            (run.run_id, run.spend.calls) for run in anew.runs()
        }
        assert store.report().total.calls == 3 - len(gone)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path, store):
    journal = Journal(tmp_path)
    for number in range(5):
        journal.call_settled(settled(number))
    store.update()
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))

    assert ids(store) == ["0"]


def test_the_index_is_for_its_owner_alone(journal, tmp_path):
    journal.call_settled(settled(1))
    with Store(tmp_path) as store:
        store.update()
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("index.sqlite*")}

    assert set(modes.values()) == {0o600}


def test_a_folder_that_cannot_be_written_is_read_in_memory(journal, tmp_path, monkeypatch):
    journal.call_settled(settled(1))

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("otel_harn_steps.store._index.Index._connect", refuse)  # root may write everywhere
    with Store(tmp_path) as store:
        store.update()
        assert store.report().total.calls == 1
    assert not (tmp_path / "index.sqlite").exists()


def test_a_folder_that_is_not_there_is_an_empty_store(tmp_path):
    with Store(tmp_path / "nowhere") as store:
        assert not store.update()
        assert store.report().rows == ()
        assert store.runs() == []
        with pytest.raises(LookupError, match="there is no run yet"):
            store.run("last")
    assert not (tmp_path / "nowhere").exists()


def _write_and_read(folder, name, calls, found):
    journal = Journal(folder)
    with Store(folder) as store:
        for number in range(calls):
            journal.call_sent(sent(f"{name}-{number}"))
            journal.call_settled(settled(f"{name}-{number}"))
            if number % 50 == 0:
                store.update()
        store.update()
        found.put(store.report().total.calls)


def test_eight_processes_write_while_their_reports_run_and_nothing_is_lost(tmp_path):
    context = get_context("spawn")
    found = context.Queue()
    processes = [context.Process(target=_write_and_read, args=(tmp_path, name, 200, found)) for name in range(8)]
    for each in processes:
        each.start()
    seen = [found.get() for _ in processes]
    for each in processes:
        each.join()

    assert [each.exitcode for each in processes] == [0] * 8
    assert min(seen) >= 200
    with Store(tmp_path) as store:
        store.update()
        assert (store.report().total.calls, store.report().total.cost_picousd, store.damaged) == (
            1600,
            1600 * 10**9,
            [],
        )


READ_UNTIL_KILLED = """
import sys
from otel_harn_steps.store import Store
while True:
    for each in __import__("pathlib").Path(sys.argv[1]).glob("index.sqlite*"):
        each.unlink(missing_ok=True)
    with Store(sys.argv[1]) as store:
        print("reading", flush=True)
        store.update()
        store.report()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_a_reader_that_is_killed_leaves_an_index_that_is_right(journal, tmp_path):
    for number in range(3000):
        journal.call_settled(settled(number))
    for delay_lines in range(20):
        reader = subprocess.Popen(
            [sys.executable, "-c", READ_UNTIL_KILLED, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        )  # fmt: skip
        for _ in range(1 + delay_lines % 3):
            reader.stdout.readline()
        reader.kill()
        reader.wait()
        reader.stdout.close()
        with Store(tmp_path) as store:
            store.update()
            assert store.report().total.calls == 3000
            assert store._index.database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_name_that_no_encoding_can_write_loses_nothing(tmp_path):
    name = "caf\udce9 \\u0041"
    Journal(tmp_path, run_id=RUN).call_settled(settled(1, name, model=name))

    with Store(tmp_path) as store:
        store.update()
        assert store.damaged == []
        (row,) = store.report("model").rows

    assert (row.name, row.spend.calls) == ("caf\\udce9 \\u0041", 1)
