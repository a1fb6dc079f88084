"""Reading journals, also while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps._telemetry.journal_lines import (
    CALL_SENT,
    CALL_SETTLED,
    HEADER,
    STEP_ENDED,
    STEP_STARTED,
    VERSION,
    JournalHeader,
    file_prefix,
)
from otel_harn_steps._version import __version__

_MOST_DAMAGED: Final = 100


class JournalVersionError(ValueError):
    """A file was written by a newer version of the package than this one, in a format that this one cannot read."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One line of a journal.

    Attributes:
        event: what it is: "journal" (a file's header), "call_sent", "call_settled", "step_started", "step_ended", or
            the name of a note.
        values: the line's other values.
        row: the call. Only with "call_sent" and "call_settled".
        header: that of the line's file. None: it is damaged.
        file: the file's name in the folder.
        line: the line's number in the file, from 1.
    """

    event: str
    values: Mapping[str, Any]
    row: CallRow | None
    header: JournalHeader | None
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that cannot be read, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


class JournalReader:
    """Reads the journals in a folder: those of several processes, and those of each process one after the other.

    Args:
        folder: where the files are. It may not be there yet.
        run_id: only the files of this run. None: all.

    Attributes:
        damaged: the first hundred lines that could not be read.
        damaged_lines: how many there are.
    """

    def __init__(self, folder: str | os.PathLike[str], *, run_id: str | None = None) -> None:
        self._folder = Path(folder)
        self._prefix = None if run_id is None else file_prefix(run_id)
        self._files: dict[str, _File] = {}
        self.damaged: list[DamagedLine] = []
        self.damaged_lines = 0

    def poll(self) -> Iterator[JournalEvent]:
        """What is new since the last time, file by file and in the order of lines.

        The last line of a file is kept back until it is whole. A damaged line is counted, and the rest is read.

        Raises:
            JournalVersionError: a file has a newer version than this package can read.
            OSError: a file cannot be read.
        """
        for name, size in self._found():
            file = self._files.setdefault(name, _File(self._folder / name))
            if size > file.offset:
                yield from self._read(file)

    def _found(self) -> list[tuple[str, int]]:
        """The files and their sizes, the oldest first: a file that continues another comes after it."""
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for each in entries:
                    if self._is_wanted(each.name) and each.is_file():
                        status = each.stat()
                        found.append((status.st_mtime_ns, each.name, status.st_size))
        except FileNotFoundError:
            return []
        return [(name, size) for _, name, size in sorted(found)]

    def _is_wanted(self, name: str) -> bool:
        return name.endswith(".jsonl") and (self._prefix is None or name.rsplit("-", 2)[0] == self._prefix)

    def _read(self, file: _File) -> Iterator[JournalEvent]:
        try:
            with file.path.open("rb") as lines:
                lines.seek(file.offset)
                for line in lines:
                    if not line.endswith(b"\n"):  # not whole yet
                        return
                    file.offset += len(line)
                    file.line += 1
                    if len(line) > 1:  # an empty line ends a torn one
                        yield from self._event(file, line)
        except FileNotFoundError:  # removed meanwhile
            return

    def _event(self, file: _File, line: bytes) -> Iterator[JournalEvent]:
        try:
            yield file.event(line)
        except JournalVersionError:
            file.offset -= len(line)  # so that it is raised again at the next poll
            file.line -= 1
            raise
        except (ValueError, TypeError, RecursionError) as error:  # the last: it is nested too deeply for `json`
            self.damaged_lines += 1
            if len(self.damaged) < _MOST_DAMAGED:
                reason = str(error) if isinstance(error, TypeError) else "is no JSON"
                self.damaged.append(DamagedLine(file.path, file.line, reason))


class _File:
    """How far a file has been read."""

    __slots__ = ("header", "line", "offset", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.line = 0
        self.header: JournalHeader | None = None

    def event(self, line: bytes) -> JournalEvent:
        """The event of a line.

        Raises:
            ValueError: it is no JSON.
            TypeError: it is no line of a journal.
        """
        values = json.loads(line)
        if not isinstance(values, dict) or not isinstance(values.get("event"), str):
            raise TypeError("is no line of a journal")
        event = values.pop("event")
        if event == HEADER:
            self.header = self._header(values)
        row = checked_row(values) if event in (CALL_SENT, CALL_SETTLED) else None
        for names, kinds in _OF_STEPS.get(event, ()):
            _check(event, values, names, kinds)
        return JournalEvent(event, values, row, self.header, self.path.name, self.line)

    def _header(self, values: Mapping[str, Any]) -> JournalHeader:
        version = values.get("version")
        if not isinstance(version, int):
            raise TypeError("a header without a version")
        if version > VERSION:
            raise JournalVersionError(
                f"{self.path} is a journal of version {version}; otel-harn-steps {__version__} reads versions up to "
                f"{VERSION}: upgrade it"
            )
        for names, kinds in _OF_HEADER:
            _check("a header", values, names, kinds)
        return JournalHeader(**{each.name: values[each.name] for each in fields(JournalHeader) if each.name in values})


_TEXT, _TEXT_OR_NULL, _COUNT, _COUNT_OR_NULL = (str,), (str, type(None)), (int,), (int, type(None))
_MOST: Final = 10**30  # far above what a call can use or cost, and what a float holds
_OF_HEADER: Final = (
    (("run_id", "program"), _TEXT),
    (("run_name", "previous"), _TEXT_OR_NULL),
    (("process_id", "started_at"), _COUNT),
)
_ENDED_OR_AMENDED: Final = ("step_id", "amends", "breach")
_OF_STEPS: Final = {
    STEP_STARTED: ((("step_id", "name", "path"), _TEXT),),
    STEP_ENDED: ((("name", "path", "status"), _TEXT), (_ENDED_OR_AMENDED, _TEXT_OR_NULL)),
}
_TEXTS: Final = ("call_id", "run_id", "step", "path", "provider", "outcome", "certainty")
_TEXTS_OR_NULL: Final = ("step_id", "parent_id", "agent", "requested_model", "model", "price_book")
_COUNTS: Final = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "estimated_tokens")
_COUNTS_OR_NULL: Final = ("input_tokens", "output_tokens", "cost_picousd", "duration_ns")


def checked_row(values: Mapping[str, Any]) -> CallRow:
    """The row that `CallRow.to_dict` wrote.

    Raises:
        TypeError: it is none; the message says why.
    """
    row = CallRow.from_dict(values)
    facts = row.to_dict()
    for names, kinds in (
        (_TEXTS, _TEXT),
        (_TEXTS_OR_NULL, _TEXT_OR_NULL),
        ((*_COUNTS, "estimated_cost_picousd", "sent_at"), _COUNT),
        (_COUNTS_OR_NULL, _COUNT_OR_NULL),
        (("labels", "details", "terms"), (dict,)),
    ):
        _check("a call", facts, names, kinds)
    return row


def _check(what: str, values: Mapping[str, Any], names: Iterable[str], kinds: tuple[type, ...]) -> None:
    """Raise TypeError where one of the values is of another kind, or a number that no call can have."""
    for name in names:
        value = values.get(name)
        if not isinstance(value, kinds) or (isinstance(value, int) and not 0 <= value <= _MOST):
            is_there = f"whose {name} is {value!r:.100}" if name in values else f"without {name}"
            raise TypeError(f"{what} {is_there}")
