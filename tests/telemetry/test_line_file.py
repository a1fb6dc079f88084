"""Lines of several writers in one file: whole, none lost, whatever becomes of the file."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from otel_harn_steps._telemetry.line_file import LineFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


def test_a_line_is_there_when_append_returns(path):
    file = LineFile(path)
    file.append("one")
    assert path.read_text() == "one\n"
    file.append("two")
    assert path.read_text() == "one\ntwo\n"


def test_the_file_is_there_from_the_first_line_on_and_for_its_owner_alone(path):
    file = LineFile(path)
    assert not path.exists()
    file.append("one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lone_surrogate_is_escaped(path):
    LineFile(path).append('"caf\udc80é"')
    assert path.read_bytes() == '"caf\\udc80é"\n'.encode()


def test_a_closed_file_is_opened_again(path):
    file = LineFile(path)
    file.append("one")
    file.close()
    file.close()
    file.append("two")
    assert path.read_text() == "one\ntwo\n"


def test_a_torn_end_that_another_process_left_does_not_stick_to_the_next_line(path):
    path.write_text("whole\nto")
    LineFile(path).append("next")
    assert path.read_text() == "whole\nto\nnext\n"


def test_a_line_that_another_process_is_writing_at_this_moment_is_no_torn_end(path, monkeypatch):
    path.write_text("whole\nin the mid")

    def other_goes_on(_seconds):
        path.write_text("whole\nin the middle\n")

    monkeypatch.setattr("otel_harn_steps._telemetry.line_file.sleep", other_goes_on)
    LineFile(path).append("next")
    assert path.read_text() == "whole\nin the middle\nnext\n"


def cut_writes(monkeypatch, *limits):
    """The next writes take so many bytes each; None fails with a full disk."""
    real, waiting = os.write, list(limits)

    def write(descriptor, data):
        limit = waiting.pop(0) if waiting else len(data)
        if limit is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:limit])

    monkeypatch.setattr(os, "write", write)


def test_a_short_write_is_completed(path, monkeypatch):
    file = LineFile(path)
    cut_writes(monkeypatch, 2, 1)
    file.append("one")
    file.append("two")
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("written", range(4))
def test_after_a_line_that_was_cut_the_next_begins_a_new_one(path, monkeypatch, written):
    file = LineFile(path)
    cut_writes(monkeypatch, *([written] if written else []), None)
    with pytest.raises(OSError, match="No space"):
        file.append("one")
    file.append("two")
    file.append("three")
    assert path.read_text().splitlines() == ["one"[:written], "two", "three"][not written :]


def test_a_line_that_fails_again_and_again_is_followed_by_a_whole_one(path, monkeypatch):
    file = LineFile(path)
    cut_writes(monkeypatch, 2, None, 1, None, None)
    for _ in range(3):
        with pytest.raises(OSError):
            file.append("one")
    file.append("two")
    assert path.read_text().splitlines()[-1] == "two"


@pytest.mark.parametrize("gone", [os.remove, lambda path: path.rename(f"{path}.1")], ids=["removed", "renamed"])
def test_a_file_that_was_rotated_away_is_begun_anew(path, gone):
    file = LineFile(path, look_every_s=0)
    file.append("one")
    gone(path)
    file.append("two")
    assert path.read_text() == "two\n"


def test_whether_the_file_is_still_there_is_not_asked_at_each_line(path, monkeypatch):
    file = LineFile(path, look_every_s=1000)
    asked = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: (asked.append(args), real(*args, **kwargs))[1])
    for _ in range(100):
        file.append("line")
    assert asked == []


def test_a_descriptor_that_somebody_closed_is_not_used_for_what_has_its_number_now(path, tmp_path):
    file = LineFile(path, look_every_s=0)
    file.append("one")
    descriptor = file._file._descriptor
    os.close(descriptor)  # as a program does that becomes a daemon
    others = os.open(tmp_path / "others", os.O_CREAT | os.O_WRONLY)
    assert others == descriptor
    file.append("two")
    assert path.read_text() == "one\ntwo\n"
    assert (tmp_path / "others").read_text() == ""
    os.close(others)  # is still open


def test_the_descriptor_is_closed_when_its_file_is(path):
    file = LineFile(path)
    file.append("one")
    descriptor = file._file._descriptor
    file.close()
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_threads_that_write_first_at_the_same_time_open_one_descriptor(path, monkeypatch):
    opened, real = [], os.open

    def count(name, flags, *mode):
        opened.append(flags)
        return real(name, flags, *mode)

    file = LineFile(path)
    monkeypatch.setattr(os, "open", count)
    barrier = threading.Barrier(8)

    def write():
        barrier.wait()
        file.append("line")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert path.read_text() == "line\n" * 8
    assert len(opened) == 1


def test_no_line_is_lost_where_threads_write_while_the_file_is_closed_and_rotated(tmp_path):
    path = tmp_path / "lines"
    file = LineFile(path, look_every_s=0)
    done = threading.Event()

    def write(thread):
        for number in range(2000):
            file.append(f"{thread}-{number}")

    def meddle():
        rotated = 0
        while not done.is_set():
            file.close()
            if path.exists():
                path.rename(tmp_path / f"lines.{rotated}")
                rotated += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    meddler = threading.Thread(target=meddle)
    for each in (*threads, meddler):
        each.start()
    for each in threads:
        each.join()
    done.set()
    meddler.join()
    lines = [line for each in tmp_path.iterdir() for line in each.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(2000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_the_lock_was_held_writes_on(path):
    file = LineFile(path)
    with file._lock:
        child = os.fork()
        if child == 0:
            file.append("child")
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert (status, path.read_text()) == (0, "child\n")


def test_a_new_file_begins_with_the_header(path):
    file = LineFile(path, header="head", look_every_s=0)
    file.append("one")
    file.close()
    file.append("two")
    assert path.read_text() == "head\none\ntwo\n"
    path.unlink()
    file.append("three")
    assert path.read_text() == "head\nthree\n"


def test_a_header_that_was_cut_is_written_again(path, monkeypatch):
    file = LineFile(path, header="head")
    cut_writes(monkeypatch, 2, None)
    with pytest.raises(OSError):
        file.append("one")
    file.append("two")
    assert path.read_text() == "head\ntwo\n"
