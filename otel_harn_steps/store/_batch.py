"""A batch of lines on its way into the index: gathered in memory, and put into the tables at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import NO_STEP
from otel_harn_steps._telemetry.journal_lines import VERSION
from otel_harn_steps.store import _lines
from otel_harn_steps.store._into_tables import (
    ADD_UP_NEW_CALLS,
    INSERT_CALL,
    INSERT_FILE,
    INSERT_OPEN_CALL,
    INSERT_STEP,
    SPEND_UP_THE_TREE,
    STEP_COLUMNS,
    STEPS_INTO_TABLES,
    STEPS_OF_THE_BATCH,
)

_LONGEST_ERROR: Final = 1000
_RUNS: Final = "runs (id, run_id)"
_PLACES: Final = "places (id, path, name, agent)"
_KINDS: Final = "kinds (id, provider, operation, requested_model, model, outcome, certainty, price_book, terms)"
_LABEL_SETS: Final = "label_sets (id, labels)"
_NAMED: Final = (_RUNS, _PLACES, _KINDS, _LABEL_SETS)
_HEX: Final = "0123456789abcdef"
_TWO_TO_63: Final = 1 << 63
_TWO_TO_64: Final = 1 << 64


class NewerFormatError(ValueError):
    """A header names a version that this package cannot read."""


def key_of(text: str) -> int:
    """An id as an integer: its 16 hex digits, as ours have them, or else a hash."""
    if len(text) == 16 and not text.strip(_HEX):
        number = int(text, 16)
    else:
        number = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return number - _TWO_TO_64 if number >= _TWO_TO_63 else number


@dataclass(slots=True)
class FileState:
    """How far a file is read, and whose it is."""

    id: int
    name: str
    offset: int = 0
    line: int = 0
    run: int | None = None
    process_id: int | None = None
    parent_process_id: int | None = None
    program: str | None = None
    started_at: int | None = None
    previous: str | None = None


class Names:
    """What many rows share, and its number in the tables: runs, places, kinds, sets of labels.

    Numbers are given here, and written with the next batch: the tables may be busy with the last one meanwhile.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._runs: dict[str, int] = dict(database.execute("SELECT run_id, id FROM runs"))
        self._places: dict[tuple[str, str, str | None], int] = {
            (path, name, agent): number
            for number, path, name, agent in database.execute("SELECT id, path, name, agent FROM places")
        }
        self._above: dict[tuple[str, str], int] = {}
        self._kinds: dict[tuple[object, ...], int] = {
            (*texts, tuple(json.loads(terms).items())): number
            for number, *texts, terms in database.execute("SELECT * FROM kinds")
        }
        self._labels: dict[str, int] = dict(database.execute("SELECT labels, id FROM label_sets"))
        self._new: dict[str, list[tuple[object, ...]]] = {into: [] for into in _NAMED}
        self._last: dict[str, int] = {
            into: database.execute(f"SELECT COALESCE(MAX(id), 0) FROM {into.partition(' ')[0]}").fetchone()[0]
            for into in _NAMED
        }

    def write(self, database: sqlite3.Connection) -> None:
        """Put what is new into the tables."""
        for into, rows in self._new.items():
            database.executemany(f"INSERT INTO {into} VALUES (?{', ?' * into.count(',')})", rows)
            rows.clear()

    def run(self, run_id: str) -> int:
        """The number of a run."""
        number = self._runs.get(run_id)
        if number is None:
            number = self._runs[run_id] = self._number(_RUNS, run_id)
        return number

    def place(self, path: str, name: str, agent: str | None) -> int:
        """The number of a step's place in the tree, in an agent."""
        place = (path, name, agent)
        number = self._places.get(place)
        if number is None:
            number = self._places[place] = self._number(_PLACES, *place)
        return number

    def place_above(self, path: str, name: str) -> int:
        """The number of the place around that of a step, where nothing else is known of it."""
        number = self._above.get((path, name))
        if number is None:
            above = path.removesuffix(f"/{name}") if path.endswith(f"/{name}") else ""
            number = self._above[path, name] = self.place(above, above.rpartition("/")[2] or name, None)
        return number

    def kind(self, line: _lines.Sent) -> int:
        """The number of a kind of call."""
        asked = (line.provider, line.operation, line.requested_model)
        if type(line) is _lines.Settled:
            terms = tuple(line.terms.items()) if line.terms else ()
            kind = (*asked, line.model, line.outcome, line.certainty, line.price_book, terms)
        else:
            kind = (*asked, None, "open", "unknown", None, ())
        number = self._kinds.get(kind)
        if number is None:
            *texts, terms = kind
            number = self._kinds[kind] = self._number(_KINDS, *texts, json.dumps(dict(terms)))
        return number

    def labels(self, labels: Mapping[str, str]) -> int:
        """The number of a set of labels."""
        text = json.dumps(labels, sort_keys=True, ensure_ascii=False)
        number = self._labels.get(text)
        if number is None:
            number = self._labels[text] = self._number(_LABEL_SETS, text)
        return number

    def _number(self, into: str, *values: object) -> int:
        number = self._last[into] = self._last[into] + 1
        self._new[into].append((number, *values))
        return number


_CallOfStep = tuple[int | None, tuple[object, ...]]
"""The key of the step that a call is billed to, and the call's other columns."""


@lru_cache
def _limits_text(max_tokens: int | None, max_usd: float | None) -> str:
    limits = {"max_tokens": max_tokens, "max_usd": max_usd}
    return json.dumps({name: limit for name, limit in limits.items() if limit is not None})


class Batch:
    """Lines that are not in the tables yet."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._calls: list[_CallOfStep] = []
        self._sent: dict[str, tuple[_lines.Sent, FileState]] = {}
        self._owners: dict[tuple[str | None, ...], tuple[int | None, int, int]] = {}
        self._steps: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, str] = {}
        self._headers: list[tuple[str | None, str, int]] = []
        self._files: dict[int, FileState] = {}
        self._damaged: list[tuple[str, int, str]] = []
        self._last_call_before = 0
        self._notes: dict[tuple[int, str, str], int] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        """When a run is known to have been there, beside its calls: first and last, in nanoseconds."""

    def add(self, line: _lines.Line, file: FileState) -> None:
        """Add a line of a file.

        Raises:
            NewerFormatError: the file is of a newer version.
        """
        # The two that are most of the lines come first.
        if type(line) is _lines.Settled:
            self._settle(line, file)
        elif type(line) is _lines.Sent:
            self._sent[line.call_id] = (line, file)
        elif isinstance(line, _lines.Started):
            self._start(line, file)
        elif isinstance(line, _lines.Ended):
            self._end(line, file)
        elif isinstance(line, _lines.Header):
            self._open(line, file)
        elif isinstance(line, _lines.Note) and file.run is not None:
            note = (file.run, line.event, json.dumps(line.facts, sort_keys=True))
            self._notes[note] = self._notes.get(note, 0) + 1

    def keep(self, file: FileState) -> None:
        """Keep how far a file is read."""
        self._files[file.id] = file

    def is_damaged(self, file: FileState, reason: str) -> None:
        """The file's last line could not be read."""
        self._damaged.append((file.name, file.line, reason))

    def _open(self, header: _lines.Header, file: FileState) -> None:
        if header.version > VERSION:
            raise NewerFormatError(header.version)
        file.run = self._names.run(header.run_id)
        file.process_id, file.parent_process_id = header.process_id, header.parent_process_id
        file.program, file.started_at, file.previous = header.program, header.started_at, header.previous
        self._headers.append((header.run_name, header.program, file.run))
        self._happened(file.run, header.started_at, header.started_at)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _settle(self, row: _lines.Settled, file: FileState) -> None:
        self._sent.pop(row.call_id, None)
        labels = self._names.labels(row.labels) if row.labels else 0
        step, run, place = self._whose(row, labels, file)
        call = (
            self._key(row.call_id), run, place, self._names.kind(row), labels, file.id, row.sent_at, row.duration_ns,
            row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_tokens, row.reasoning_tokens,
            row.cost_picousd, row.estimated_tokens, row.estimated_cost_picousd, row.late,
            json.dumps(row.details) if row.details else None,
        )  # fmt: skip
        self._calls.append((step, call))

    def _whose(self, row: _lines.Sent, labels: int, file: FileState) -> tuple[int | None, int, int]:
        """The key of the step that a call is billed to, the number of its run, and that of its place."""
        asked = (row.step_id, row.run_id, row.path, row.agent)
        found = self._owners.get(asked)
        if found is not None:
            return found
        run = self._names.run(row.run_id)
        if row.step_id is None:
            found = (None, run, self._names.place("", NO_STEP, row.agent))
        else:
            place = self._names.place(row.path, row.step, row.agent)
            found = (self._key(row.step_id), run, place)
            if found[0] not in self._steps:
                self._steps[found[0]] = {
                    "key": found[0], "run": run, "place": place, "labels": labels, "file": file.id,
                    **self._parent(row.parent_id, row.path, row.step),
                }  # fmt: skip
        self._owners[asked] = found
        return found

    def _parent(self, parent_id: str | None, path: str, name: str) -> dict[str, Any]:
        if not parent_id:
            return {}
        return {"parent_key": self._key(parent_id), "parent_place": self._names.place_above(path, name)}

    def _key(self, text: str) -> int:
        # `key_of`, in one piece: this runs three times for each call.
        if len(text) == 16 and not text.strip(_HEX):
            number = int(text, 16)
            return number - _TWO_TO_64 if number >= _TWO_TO_63 else number
        key = key_of(text)
        self._texts[key] = text
        return key

    def _happened(self, run: int, first: int, last: int) -> None:
        known = self._spans.get(run)
        self._spans[run] = (first, last) if known is None else (min(known[0], first), max(known[1], last))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _start(self, line: _lines.Started, file: FileState) -> None:
        step = self._step(line.step_id, line, file)
        if line.start_time:
            step["started_at"] = line.start_time
            self._happened(step["run"], line.start_time, line.start_time)

    def _end(self, line: _lines.Ended, file: FileState) -> None:
        if line.amends:
            step = self._step(line.amends, line, file)
        else:
            step = self._step(line.step_id or f"{file.name}:{file.line}", line, file)
            step["status"] = line.status
            if line.end_time:
                step["ended_at"] = line.end_time
                self._happened(step["run"], line.start_time or line.end_time, line.end_time)
            if line.start_time:
                step.setdefault("started_at", line.start_time)
            if line.error:
                step["error"] = line.error[:_LONGEST_ERROR]
            if line.budget_events:
                step["budget_events"] = json.dumps(line.budget_events)
        if line.breach:
            step["breach"] = line.breach

    def _step(self, step_id: str, line: _lines.Started | _lines.Ended, file: FileState) -> dict[str, Any]:
        key = self._key(step_id)
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = {"key": key}
        elif "is_named" in step:  # by the line of its start
            return step
        run = self._names.run(line.run_id) if line.run_id else file.run
        step["run"] = self._names.run(f"file {file.name}") if run is None else run
        step["place"] = self._names.place(line.path, line.name, line.agent)
        step["labels"] = self._names.labels(line.labels) if line.labels else 0
        step["file"], step["is_named"] = file.id, True
        if line.parent_id:
            step.update(self._parent(line.parent_id, line.path, line.name))
        if line.max_tokens is not None or line.max_usd is not None:
            step["limits"] = _limits_text(line.max_tokens, line.max_usd)
        if line.error_boundary is not None:
            step["error_boundary"] = line.error_boundary
        if line.detail is not None:
            step["detail"] = line.detail
        if line.trace_id and len(line.trace_id) == 32 and not line.trace_id.strip(_HEX):
            step["trace_id"] = bytes.fromhex(line.trace_id)
        return step

    # -- into the tables -----------------------------------------------------------------------------------------------

    def put(self, database: sqlite3.Connection) -> None:
        """Put all of it into the tables, within the transaction that is open. `add_up` is to follow."""
        open_calls = self._open_calls()
        self._names.write(database)
        (self._last_call_before,) = database.execute("SELECT COALESCE(MAX(id), 0) FROM calls").fetchone()
        for table in ("incoming_steps", "added", "joined", "moved"):
            database.execute(f"DELETE FROM temp.{table}")
        database.executemany(INSERT_STEP, (tuple(map(step.get, STEP_COLUMNS)) for step in self._steps.values()))
        for statement in STEPS_INTO_TABLES:
            database.execute(statement)
        numbers: dict[int | None, int | None] = {None: None, **dict(database.execute(STEPS_OF_THE_BATCH))}
        database.executemany(INSERT_CALL, ((numbers[step], *call) for step, call in self._calls))
        database.executemany(INSERT_OPEN_CALL, ((numbers[step], *call) for step, call in open_calls))
        database.executemany(INSERT_FILE, map(astuple, self._files.values()))
        database.executemany("INSERT INTO damaged VALUES (?, ?, ?)", self._damaged)
        database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", self._texts.items())
        database.executemany(
            "INSERT INTO notes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            ((*note, count) for note, count in self._notes.items()),
        )
        database.executemany(
            "UPDATE runs SET name = COALESCE(name, ?), program = COALESCE(program, ?) WHERE id = ?", self._headers
        )
        database.executemany(
            "UPDATE runs SET started_at = MIN(COALESCE(started_at, ?1), ?1), last_at = MAX(COALESCE(last_at, ?2), ?2)"
            " WHERE id = ?3",
            ((first, last, run) for run, (first, last) in self._spans.items()),
        )

    def add_up(self, database: sqlite3.Connection) -> None:
        """Add what was put into the tables to their sums: a few long statements, in which no Python runs."""
        for statement in ADD_UP_NEW_CALLS:
            database.execute(statement, (self._last_call_before,) if "?1" in statement else ())
        for statement in SPEND_UP_THE_TREE:
            database.execute(statement)

    def _open_calls(self) -> list[_CallOfStep]:
        calls: list[_CallOfStep] = []
        for row, file in self._sent.values():
            labels = self._names.labels(row.labels) if row.labels else 0
            step, run, place = self._whose(row, labels, file)
            kind = self._names.kind(row)
            calls.append((step, (self._key(row.call_id), run, place, kind, labels, file.id, row.sent_at)))
            self._happened(run, row.sent_at, row.sent_at)
        return calls
