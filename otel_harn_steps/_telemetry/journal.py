"""The journal: every call and every step in a file, as it happens."""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._arguments import above_zero, text_or_none
from otel_harn_steps._arguments import path as checked_path
from otel_harn_steps._telemetry.journal_lines import (
    call_sent_line,
    call_settled_line,
    file_prefix,
    header_line,
    new_header,
    note_line,
    step_ended_line,
    step_started_line,
)
from otel_harn_steps._telemetry.line_file import LineFile, begin_anew_after_fork

if TYPE_CHECKING:
    from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
    from otel_harn_steps._telemetry.record import CompletedStep

DEFAULT_MAX_BYTES: Final = 64 * 2**20
DEFAULT_MAX_AGE_S: Final = 24 * 60 * 60.0
_MOST_WAITING: Final = 1000


class Journal:
    """A sink that writes a line when a call is sent, when it has ended, and when a step starts and ends.

    What was written survives a killed process, and a call that was in flight can be seen: it has the first line and not
    the second. Each process writes files of its own into the folder, named `{run_id}-{process id}-{random}.jsonl`; a
    forked child begins its own. `docs/journal.md` describes the lines.

    Its methods raise OSError where nothing can be written (disk full, read-only folder), and try again at the next
    line. As a sink of `instrument()` such an error is logged once, and the app goes on.

    Args:
        folder: where the files are. Made when it is needed, for its owner alone.
        max_bytes: about how large a file may grow before the next is begun.
        max_age_s: how old a file may be before the next is begun, in seconds.
        run_id: the run that this process is part of. None: that of the first row.
        run_name: that run's name.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age_s: float = DEFAULT_MAX_AGE_S,
        run_id: str | None = None,
        run_name: str | None = None,
    ) -> None:
        checked_path("folder", folder)
        if isinstance(max_age_s, bool) or not isinstance(max_age_s, (int, float)):
            raise TypeError(f"max_age_s must be a number of seconds above 0, not {max_age_s!r}")
        if not max_age_s > 0:
            raise ValueError(f"max_age_s must be a number of seconds above 0, not {max_age_s!r}")
        above_zero("max_bytes", max_bytes)
        text_or_none("run_id", run_id)
        text_or_none("run_name", run_name)
        self._folder = os.path.abspath(folder)  # noqa: PTH100 -- pathlib costs 3 ms to import
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._run_id = run_id
        self._run_name = run_name
        self._part: _Part | None = None
        self._waiting = deque[str](maxlen=_MOST_WAITING)
        self._lock = threading.RLock()  # held while a file is begun, and not while a line is written
        begin_anew_after_fork(self)

    def __repr__(self) -> str:
        return f"Journal({self._folder!r})"

    def call_sent(self, row: CallRow) -> None:
        """Note a call that was sent."""
        self._write(call_sent_line(row), row.run_id)

    def call_settled(self, row: CallRow) -> None:
        """Note a call that has ended."""
        self._write(call_settled_line(row), row.run_id)

    def step_started(self, started: StartedStep) -> None:
        """Note a step that was entered."""
        self._write(step_started_line(started), started.run_id)

    def step_ended(self, record: CompletedStep) -> None:
        """Note a step that has ended, or an amendment to one."""
        self._write(step_ended_line(record), record.run_id)

    def note(self, event: str, **facts: Any) -> None:
        """Note another fact, in JSON values and without content: `note("client_patched", client="openai")`.

        Raises:
            ValueError: `event` is the name of a line of the journal.
            TypeError: a fact is no JSON value.
        """
        self._write(note_line(event, time_ns(), facts), None)

    def close(self) -> None:
        """Close the file. A later line opens it again."""
        part = self._part
        if part is not None:
            part.file.close()

    def after_fork(self) -> None:
        """Begin a file of its own in a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()
        self._part = None
        self._waiting.clear()

    def _write(self, line: str, run_id: str | None) -> None:
        part = self._part
        if part is None or part.is_full():
            run_id = self._run_id or run_id
            if run_id is None:
                # What is noted before the first row waits for it: a file is named after its run.
                self._waiting.append(line)
                return
            part = self._next_part(part, run_id)
        part.append(line)

    def _next_part(self, before: _Part | None, run_id: str) -> _Part:
        with self._lock:
            if self._part is not before and self._part is not None:  # another thread has begun it
                return self._part
            part = _Part(self._folder, before, (run_id, self._run_name), self._max_bytes, self._max_age_s)
            try:
                part.open()
                while self._waiting:
                    part.append(self._waiting[0])
                    self._waiting.popleft()
            except OSError:
                if before is None:
                    raise
                before.last_longer(self._max_bytes, self._max_age_s)
                return before
            self._run_id = run_id
            self._part = part
        if before is not None:
            before.file.close()
        return part


class _Part:
    """One file of the journal."""

    __slots__ = ("_bytes_left", "_ends_at_s", "_folder", "file", "name")

    def __init__(
        self, folder: str, before: _Part | None, run: tuple[str, str | None], max_bytes: int, max_age_s: float
    ) -> None:
        run_id, run_name = run
        self._folder = folder
        self.name = f"{file_prefix(run_id)}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        header = new_header(run_id, run_name, time_ns(), None if before is None else before.name)
        self.file = LineFile(os.path.join(folder, self.name), header=header_line(header))  # noqa: PTH118 -- as above
        self._bytes_left = max_bytes
        self._ends_at_s = monotonic() + max_age_s

    def is_full(self) -> bool:
        """Whether the next one is due."""
        return self._bytes_left <= 0 or monotonic() >= self._ends_at_s

    def last_longer(self, more_bytes: int, more_s: float) -> None:
        """Do without a next one for now."""
        self._bytes_left = more_bytes
        self._ends_at_s = monotonic() + more_s

    def open(self) -> None:
        """Begin the file, in a folder that is made if it is not there.

        Raises:
            OSError: it cannot be begun.
        """
        try:
            self.file.open()
        except FileNotFoundError:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103 -- as above
            self.file.open()

    def append(self, line: str) -> None:
        """Write a line."""
        self._bytes_left -= len(line)
        try:
            self.file.append(line)
        except FileNotFoundError:  # somebody has removed the folder
            self.open()
            self.file.append(line)
