"""Reading journals: live, of several processes, with torn and damaged lines."""

from __future__ import annotations

import json

import pytest

from otel_harn_steps import Journal
from otel_harn_steps._telemetry.journal_lines import VERSION
from otel_harn_steps.store import JournalReader, JournalVersionError
from tests.store.rows import ended, sent, settled, started


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def only_file(folder):
    (path,) = folder.glob("*.jsonl")
    return path


def calls(events):
    return [event.row.call_id for event in events if event.row is not None]


def test_a_folder_that_is_not_there_yet_has_no_events(tmp_path):
    reader = JournalReader(tmp_path / "journal")
    assert list(reader.poll()) == []
    Journal(tmp_path / "journal").call_sent(sent(1))
    assert calls(reader.poll()) == ["1"]


def test_events_have_what_was_written_and_where(tmp_path, journal):
    journal.step_started(started())
    journal.call_settled(settled(1))
    journal.step_ended(ended(breach="max_usd"))
    journal.note("unseen_call", host="h")
    header, begin, call, end, note = JournalReader(tmp_path).poll()
    assert [each.event for each in (header, begin, call, end, note)] == [
        "journal", "step_started", "call_settled", "step_ended", "unseen_call"
    ]  # fmt: skip
    assert begin.values == started().to_dict()
    assert call.row == settled(1)
    assert end.values["breach"] == "max_usd"
    assert note.values["host"] == "h"
    assert [each.line for each in (header, begin, call, end, note)] == [1, 2, 3, 4, 5]
    assert {each.file for each in (header, begin, call, end, note)} == {only_file(tmp_path).name}
    assert header.header == note.header
    assert header.header.run_id == settled(1).run_id


def test_a_poll_gives_what_is_new_since_the_last(tmp_path, journal):
    reader = JournalReader(tmp_path)
    other = Journal(tmp_path)
    journal.call_sent(sent(1))
    assert calls(reader.poll()) == ["1"]
    assert calls(reader.poll()) == []
    journal.call_sent(sent(2))
    other.call_sent(sent(3))
    assert sorted(calls(reader.poll())) == ["2", "3"]


def test_files_that_continue_one_another_are_read_in_their_order(tmp_path):
    journal = Journal(tmp_path, max_bytes=1000)
    for number in range(30):
        journal.call_settled(settled(number))
    assert calls(JournalReader(tmp_path).poll()) == [str(number) for number in range(30)]


def test_a_poll_that_is_left_early_is_taken_up_where_it_was_left(tmp_path, journal):
    for number in range(5):
        journal.call_sent(sent(number))
    reader = JournalReader(tmp_path)
    events = reader.poll()
    assert [next(events).event for _ in range(3)] == ["journal", "call_sent", "call_sent"]
    events.close()
    assert calls(reader.poll()) == ["2", "3", "4"]


def test_a_torn_last_line_is_kept_back_until_it_is_whole_wherever_it_is_torn(tmp_path, journal):
    journal.call_sent(sent(1))
    journal.call_settled(settled(1))
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        reader = JournalReader(tmp_path)
        before = [event.event for event in reader.poll()]
        assert len(before) == whole[:end].count(b"\n")
        path.write_bytes(whole)
        assert [*before, *(event.event for event in reader.poll())] == ["journal", "call_sent", "call_settled"]
        assert reader.damaged_lines == 0


def test_a_torn_line_that_another_follows_is_counted_wherever_it_is_torn(tmp_path, journal):
    journal.call_sent(sent(1))
    journal.call_settled(settled(1))
    journal.call_settled(settled(2))
    path = only_file(tmp_path)
    header, *lines = path.read_bytes().splitlines(keepends=True)
    for end in range(1, len(lines[1]) - 1):
        path.write_bytes(header + lines[0] + lines[1][:end] + b"\n" + lines[2])
        reader = JournalReader(tmp_path)
        assert calls(reader.poll()) == ["1", "2"]
        assert (reader.damaged_lines, reader.damaged[0].path, reader.damaged[0].line) == (1, path, 3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[1]", "is no line of a journal"),
        (b'{"event": 3}', "is no line of a journal"),
        (b'{"event": "call_settled", "call_id": "1"}', "missing"),
        (
            json.dumps({"event": "call_settled", **settled(1).to_dict(), "cost_picousd": "much"}).encode(),
            "cost_picousd",
        ),
        (json.dumps({"event": "call_settled", **settled(1).to_dict(), "path": None}).encode(), "path is None"),
        (b'{"event": "step_started", "step_id": "x", "name": "n"}', "step_started without path"),
        (b'{"event": "journal"}', "a header without a version"),
    ],
)
def test_a_damaged_line_is_named_and_the_rest_is_read(tmp_path, journal, line, reason):
    journal.call_sent(sent(1))
    path = only_file(tmp_path)
    with path.open("ab") as file:
        file.write(line + b"\n")
    journal.call_sent(sent(2))
    reader = JournalReader(tmp_path)
    assert calls(reader.poll()) == ["1", "2"]
    assert reader.damaged_lines == 1
    assert str(reader.damaged[0]).startswith(f"{path}:3: ")
    assert reason in str(reader.damaged[0])


def test_where_the_header_is_damaged_the_rest_is_read(tmp_path, journal):
    journal.call_sent(sent(1))
    path = only_file(tmp_path)
    path.write_bytes(b"{\n" + path.read_bytes().partition(b"\n")[2])
    (event,) = JournalReader(tmp_path).poll()
    assert (event.row, event.header, event.line) == (sent(1), None, 2)


def test_a_newer_version_is_refused_with_what_to_do(tmp_path, journal):
    journal.call_sent(sent(1))
    path = only_file(tmp_path)
    path.write_text(path.read_text().replace('"version":1', f'"version":{VERSION + 1}'))
    reader = JournalReader(tmp_path)
    for _ in range(2):
        with pytest.raises(JournalVersionError) as caught:
            list(reader.poll())
        assert str(path) in str(caught.value)
        assert f"version {VERSION + 1};" in str(caught.value)
        assert f"reads versions up to {VERSION}" in str(caught.value)


def test_fields_and_events_that_are_not_known_here_are_no_damage(tmp_path, journal):
    journal.call_sent(sent(1))
    with only_file(tmp_path).open("a") as file:
        file.write(json.dumps({"event": "call_settled", **settled(1).to_dict(), "colour": "red"}) + "\n")
        file.write('{"event":"tide","height":3}\n')
    reader = JournalReader(tmp_path)
    assert [event.event for event in reader.poll()] == ["journal", "call_sent", "call_settled", "tide"]
    assert reader.damaged_lines == 0


def test_of_several_runs_in_a_folder_one_can_be_read(tmp_path):
    for run_id in ("aa", "aa-1", "bb"):
        Journal(tmp_path, run_id=run_id).note("started", run=run_id)
    (tmp_path / "notes.txt").write_text("something else")
    notes = [event.values["run"] for event in JournalReader(tmp_path, run_id="aa").poll() if event.event == "started"]
    assert notes == ["aa"]
    everything = JournalReader(tmp_path).poll()
    assert sorted(event.values["run"] for event in everything if event.event == "started") == ["aa", "aa-1", "bb"]
