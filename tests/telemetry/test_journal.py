"""The journal: a line for each call that is sent, each that has ended, and each step."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_harn_steps import Journal
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps._telemetry.journal_lines import FIELDS_AT_SEND, call_sent_line, call_settled_line
from otel_harn_steps.store import JournalReader, RunSummary
from tests.store.rows import RUN, ended, sent, settled, started

ROOT = Path(__file__).parent.parent.parent


def lines_of(folder):
    """The lines of every file, without headers."""
    return [
        line for path in sorted(Path(folder).iterdir()) for line in map(json.loads, path.read_text().splitlines()[1:])
    ]


def headers_of(folder):
    return {path.name: json.loads(path.read_text().splitlines()[0]) for path in Path(folder).iterdir()}


texts = st.text(st.characters(codec=None), max_size=10)
counts = st.integers(0, 2**70)
labels = st.dictionaries(texts, texts, max_size=3)
rows = st.builds(
    CallRow,
    call_id=texts, run_id=texts, step_id=st.none() | texts, parent_id=st.none() | texts, step=texts, path=texts,
    agent=st.none() | texts, labels=labels, sent_at=counts, provider=texts, operation=texts,
    requested_model=st.none() | texts, outcome=st.sampled_from(["answered", "cut"]), duration_ns=st.none() | counts,
    model=st.none() | texts, input_tokens=st.none() | counts, output_tokens=st.none() | counts,
    cache_read_tokens=counts, cache_write_tokens=counts, reasoning_tokens=counts,
    details=st.dictionaries(texts, counts, max_size=3), terms=labels, cost_picousd=st.none() | counts,
    certainty=st.sampled_from(["measured", "estimated"]), price_book=st.none() | texts, estimated_tokens=counts,
    estimated_cost_picousd=counts, late=st.booleans(),
)  # fmt: skip


@given(rows)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_settled_line_holds_the_whole_row_and_a_sent_one_what_is_known_then(row):
    assert json.loads(call_settled_line(row)) == {"event": "call_settled", **row.to_dict()}
    known = {name: value for name, value in row.to_dict().items() if name in FIELDS_AT_SEND}
    assert json.loads(call_sent_line(row)) == {"event": "call_sent", **known}


@pytest.mark.parametrize("line", [call_sent_line(sent(1)), call_settled_line(settled(1))])
def test_the_event_comes_first_and_nothing_but_json_is_needed(line):
    assert line.startswith('{"event":"call_')
    assert "\n" not in line


def test_calls_and_steps_are_written_as_they_happen(tmp_path):
    journal = Journal(tmp_path / "journal", run_name="nightly")
    journal.step_started(started())
    journal.call_sent(sent(1))
    assert [line["event"] for line in lines_of(tmp_path / "journal")] == ["step_started", "call_sent"]
    journal.call_settled(settled(1))
    journal.step_ended(ended())
    journal.note("unseen_call", host="api.example.com")
    written = lines_of(tmp_path / "journal")
    assert [line["event"] for line in written[2:]] == ["call_settled", "step_ended", "unseen_call"]
    assert written[0] == {"event": "step_started", **started().to_dict()}
    assert written[3]["step_id"] == "id of plan"
    assert written[4]["host"] == "api.example.com"


def test_the_folder_and_the_file_are_for_their_owner_alone(tmp_path):
    Journal(tmp_path / "a" / "journal").call_sent(sent(1))
    (path,) = (tmp_path / "a" / "journal").iterdir()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_first_line_says_which_process_wrote_the_file(tmp_path):
    Journal(tmp_path, run_name="nightly").call_sent(sent(1))
    ((name, header),) = headers_of(tmp_path).items()
    assert name.startswith(f"{RUN}-{os.getpid()}-")
    assert header.pop("started_at") > 0
    assert header.pop("package_version")
    assert header == {
        "event": "journal",
        "version": 1,
        "run_id": RUN,
        "run_name": "nightly",
        "process_id": os.getpid(),
        "parent_process_id": os.getppid(),
        "program": Path(sys.argv[0]).name,
        "python_version": "{}.{}.{}".format(*sys.version_info),
        "previous": None,
    }


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (("app.py", "--key", "secret"), "app.py"),
        (("-m", "app", "secret"), "app.py"),
        (("-c", "import app", "secret"), "-c"),
    ],
)
def test_the_header_names_the_program_and_none_of_its_arguments(tmp_path, command, program):
    (tmp_path / "app.py").write_text(
        "from otel_harn_steps import Journal\nJournal('journal', run_id='r').note('started')\n"
    )
    subprocess.run([sys.executable, *command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    ((_, header),) = headers_of(tmp_path / "journal").items()
    assert header["program"] == program
    assert "secret" not in json.dumps(header)


def test_a_run_id_that_no_file_could_be_named_after_is_no_path(tmp_path):
    Journal(tmp_path / "journal").call_sent(replace(sent(1), run_id="../../x\n"))
    (path,) = (tmp_path / "journal").iterdir()
    assert path.name.startswith(".._.._x_-")
    assert [each.row.run_id for each in JournalReader(tmp_path / "journal").poll() if each.row] == ["../../x\n"]


def test_what_is_noted_before_the_first_row_waits_for_the_run(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.note("client_patched", client="openai")
    assert not (tmp_path / "journal").exists()
    journal.call_sent(sent(1))
    assert [line["event"] for line in lines_of(tmp_path / "journal")] == ["client_patched", "call_sent"]


@pytest.mark.parametrize("event", ["journal", "call_sent", "call_settled", "step_started", "step_ended"])
def test_a_note_cannot_pass_for_a_line_of_the_ledger(tmp_path, event):
    with pytest.raises(ValueError, match="no name for a note"):
        Journal(tmp_path).note(event)


# -- the next file -----------------------------------------------------------------------------------------------------


def test_a_file_that_has_grown_is_continued_by_another_which_names_it(tmp_path):
    journal = Journal(tmp_path, max_bytes=2000)
    for number in range(20):
        journal.call_settled(settled(number))
    headers = headers_of(tmp_path)
    chain = [name for name in headers if name not in {header["previous"] for header in headers.values()}]
    while headers[chain[-1]]["previous"] is not None:
        chain.append(headers[chain[-1]]["previous"])
    assert sorted(chain) == sorted(headers)
    assert len(chain) == 5
    assert sorted(int(line["call_id"]) for line in lines_of(tmp_path)) == list(range(20))


def test_a_file_that_is_old_is_continued_by_another(tmp_path):
    journal = Journal(tmp_path, max_age_s=1e-9)
    for number in range(3):
        journal.call_settled(settled(number))
    assert len(headers_of(tmp_path)) == 3


def test_where_no_next_file_can_be_begun_the_one_before_goes_on(tmp_path, monkeypatch):
    journal = Journal(tmp_path, max_bytes=2000)
    journal.call_settled(settled(0))
    real = os.open

    def no_new_files(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError("too many open files")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", no_new_files)
    for number in range(1, 20):
        journal.call_settled(settled(number))
    monkeypatch.undo()
    for number in range(20, 30):
        journal.call_settled(settled(number))
    assert sorted(int(line["call_id"]) for line in lines_of(tmp_path)) == list(range(30))
    assert len(headers_of(tmp_path)) > 1


def test_no_line_is_lost_where_threads_write_while_files_end_and_the_journal_is_closed(tmp_path):
    journal = Journal(tmp_path, max_bytes=5000)

    def write(thread):
        for number in range(300):
            journal.call_sent(sent(f"{thread}-{number}"))
            journal.call_settled(settled(f"{thread}-{number}"))
            if number % 10 == 0:
                journal.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    reader = JournalReader(tmp_path)
    summary = RunSummary(reader.poll())
    assert (reader.damaged_lines, summary.total.calls, summary.total.open_calls) == (0, 1200, 0)
    assert summary.total.cost_picousd == 1200 * 10**9


# -- what may go wrong -------------------------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
from otel_harn_steps import Journal
from tests.store.rows import settled

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
journal, failed = Journal("journal"), 0
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, unlimited[1]))
for number in range(20):
    try:
        journal.call_settled(settled(number))
    except OSError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
journal.call_settled(settled("after"))
print(failed)
"""


def test_on_a_full_disk_lines_fail_and_writing_goes_on_when_there_is_room(tmp_path):
    pytest.importorskip("resource")
    ran = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    reader = JournalReader(tmp_path / "journal")
    calls = [event.row.call_id for event in reader.poll() if event.row]
    failed = int(ran.stdout)
    assert failed > 10
    assert calls == [*map(str, range(20 - failed)), "after"]
    assert reader.damaged_lines == 1  # the line that was cut
    assert reader.damaged[0].line == 20 - failed + 2


def test_in_a_folder_that_cannot_be_made_each_line_fails_until_it_can(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal")
    for _ in range(2):
        with pytest.raises(OSError, match="Not a directory"):
            journal.call_sent(sent(1))
    (tmp_path / "file").unlink()
    journal.call_sent(sent(2))
    assert [line["call_id"] for line in lines_of(tmp_path / "file" / "journal")] == ["2"]


def test_a_folder_that_was_removed_is_made_again_with_a_whole_file(tmp_path):
    folder = tmp_path / "journal"
    journal = Journal(folder)
    journal.call_sent(sent(1))
    (path,) = folder.iterdir()
    path.unlink()
    folder.rmdir()
    journal.close()
    journal.call_sent(sent(2))
    assert [line["call_id"] for line in lines_of(folder)] == ["2"]
    assert len(headers_of(folder)) == 1


# -- forks -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("is_locked", [False, True])
def test_a_forked_child_begins_a_file_of_its_own(tmp_path, is_locked):
    journal = Journal(tmp_path)
    journal.call_sent(sent(1))
    if is_locked:
        journal._lock.acquire()  # by a thread that the child does not have
    child = os.fork()
    if child == 0:
        journal.call_settled(settled(1))
        os._exit(0)
    if is_locked:
        journal._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    journal.call_sent(sent(2))
    of_child, of_parent = (
        next(header for header in headers_of(tmp_path).values() if header["process_id"] == process)
        for process in (child, os.getpid())
    )
    assert (of_child["parent_process_id"], of_child["previous"]) == (os.getpid(), None)
    assert of_parent["parent_process_id"] == os.getppid()
    summary = RunSummary(JournalReader(tmp_path).poll())
    assert (summary.total.calls, summary.total.open_calls) == (1, 1)
