"""Calls as JSON lines: what `otel-harn-steps export` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from otel_harn_steps._telemetry.call_row import CallRow, Outcome
from otel_harn_steps._telemetry.journal_lines import CALL_SENT, CALL_SETTLED, call_sent_line, call_settled_line
from otel_harn_steps.store._lines import decode
from otel_harn_steps.store._reading import checked_row
from otel_harn_steps.store.imports._lines import Problems, json_lines
from otel_harn_steps.store.imports._runs import ImportedRun
from otel_harn_steps.store.imports._writing import RecordsFolder

KIND: Final = "calls"
_KEYS: Final = frozenset({"call_id", "run_id", "outcome", "sent_at", "cost_picousd"})
_OPEN: Final = "open"


def is_line(values: Mapping[str, Any]) -> bool:
    """Whether a line is of this kind."""
    return values.keys() >= _KEYS and "event" not in values


def runs_in(files: Iterable[Path], folder: RecordsFolder, problems: Problems) -> Iterator[ImportedRun]:
    """The runs whose calls are in the files, with those of their calls that were imported before.

    Raises:
        OSError: a file cannot be read.
    """
    runs: dict[str, dict[str, CallRow]] = {}
    for path in files:
        for number, values in json_lines(path, problems):
            try:
                row = _row(values)
            except (TypeError, ValueError) as error:
                problems.add(path, number, str(error))
                continue
            runs.setdefault(row.run_id, {})[row.call_id] = row
    for run_id, rows in runs.items():
        for path in folder.imported(KIND, run_id):
            for _, values in json_lines(path, Problems()):
                if values.pop("event", None) in (CALL_SENT, CALL_SETTLED):
                    rows.setdefault(values["call_id"], checked_row(values))
        yield _run(run_id, sorted(rows.values(), key=lambda row: (row.sent_at, row.call_id)))


def _row(values: Mapping[str, Any]) -> CallRow:
    if not is_line(values):
        raise TypeError("is no call")
    row = checked_row(values)
    if row.outcome not in get_args(Outcome):
        raise TypeError(f"a call whose outcome is {row.outcome!r:.100}")
    decode(_line(row).encode(errors="backslashreplace"))
    return row


def _line(row: CallRow) -> str:
    return call_sent_line(row) if row.outcome == _OPEN else call_settled_line(row)


def _run(run_id: str, rows: list[CallRow]) -> ImportedRun:
    run = ImportedRun(
        kind=KIND,
        source=run_id,
        run_id=run_id,
        name=run_id,
        program=KIND,
        started_at=rows[0].sent_at,
        ended_at=max(row.sent_at + (row.duration_ns or 0) for row in rows),
    )
    for row in rows:
        if row.outcome == _OPEN:
            run.lines.append(_line(row))
        else:
            run.add_call(row)
    return run
