"""Calls and runs of steps as tables: JSON lines, CSV, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from typing import IO, Any, Final

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._json import to_json
from otel_harn_steps.store._spend import Spend
from otel_harn_steps.store._views import StepRun

_TEXT, _COUNT, _DOLLARS, _FLAG, _TIME, _TEXTS, _COUNTS, _LIST, _JSON = (
    "text", "count", "dollars", "flag", "time", "texts", "counts", "list", "json",
)  # fmt: skip
_ROWS_AT_ONCE: Final = 50_000
_NS_PER_S: Final = 10**9
_NS_PER_US: Final = 1000
# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV injection").
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

_KINDS: Final = {
    "late": _FLAG,
    "labels": _TEXTS,
    "terms": _TEXTS,
    "details": _COUNTS,
    "limits": _JSON,
    "budget_events": _LIST,
    "sent_at": _COUNT,
    "started_at": _COUNT,
    "ended_at": _COUNT,
}
_TIMES: Final = ("sent_at", "started_at", "ended_at")


def _kind(name: str) -> str:
    if name.endswith("_usd"):
        return _DOLLARS
    if name.endswith(("_tokens", "_picousd", "_calls", "_ns")):
        return _COUNT
    return _KINDS.get(name, _TEXT)


def _with_more(name: str) -> Iterator[tuple[str, str]]:
    """A column, and the one that says the same in another unit."""
    yield name, _kind(name)
    if name.endswith("_picousd"):
        yield f"{name.removesuffix('_picousd')}_usd", _DOLLARS
    if name in _TIMES:
        yield f"{name}_utc", _TIME


def _columns(names: Iterable[str]) -> dict[str, str]:
    return dict(column for name in names for column in _with_more(name))


_SPENDS: Final = ("own", "total")
_OF_SPEND: Final = tuple(each.name for each in fields(Spend) if each.name != "open_calls")
CALL_COLUMNS: Final = _columns(each.name for each in fields(CallRow))
"""The columns of calls as a table, with what they hold."""
STEP_COLUMNS: Final = _columns(
    (
        *(each.name for each in fields(StepRun) if each.name not in _SPENDS),
        *(f"{spend}_{name}" for spend in _SPENDS for name in _OF_SPEND),
    )
)
"""Those of runs of steps. What they have spent themselves is in `own_*`, with the steps below in `total_*`."""

Rows = Iterable[CallRow] | Iterable[StepRun]


def write_jsonl(rows: Rows, _: Mapping[str, str], file: IO[bytes]) -> None:
    """Write JSON lines: calls as in the journal (`CallRow.to_dict`), runs of steps as `to_json` has them."""
    for row in rows:
        values = row.to_dict() if isinstance(row, CallRow) else to_json(row)
        file.write((json.dumps(values, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def write_csv(rows: Rows, columns: Mapping[str, str], file: IO[bytes]) -> None:
    """Write CSV in UTF-8. What is unknown is empty. A text that a spreadsheet would take for a formula gets a `'`."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(columns)
        for row in rows:
            values = _flat(row)
            writer.writerow([_cell(values[name], kind) for name, kind in columns.items()])
    finally:
        text.detach()


def write_parquet(rows: Rows, columns: Mapping[str, str], file: IO[bytes]) -> None:
    """Write Parquet.

    Raises:
        ModuleNotFoundError: the `parquet` extra is not installed.
    """
    pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")  # an extra, whose types we do without
    types = {
        _TEXT: pa.string(),
        _COUNT: pa.int64(),
        _DOLLARS: pa.float64(),
        _FLAG: pa.bool_(),
        _TIME: pa.timestamp("us", tz="UTC"),
        _TEXTS: pa.map_(pa.string(), pa.string()),
        _COUNTS: pa.map_(pa.string(), pa.int64()),
        _LIST: pa.list_(pa.string()),
        _JSON: pa.string(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    left: Iterator[CallRow | StepRun] = iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(left, _ROWS_AT_ONCE)):
            values = [_flat(row) for row in some]
            arrays = [
                pa.array([_in_parquet(each[name], kind) for each in values], types[kind])
                for name, kind in columns.items()
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


WRITERS: Final[Mapping[str, Callable[[Rows, Mapping[str, str], IO[bytes]], None]]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def _flat(row: CallRow | StepRun) -> dict[str, Any]:
    """The values of a row by the names of columns."""
    if isinstance(row, CallRow):
        values = row.to_dict()
    else:
        values = {each.name: getattr(row, each.name) for each in fields(StepRun)}
        for spend in _SPENDS:
            spent = values.pop(spend)
            values |= {f"{spend}_{name}": value for name, value in spent.to_dict().items()}
    for name in [name for name in values if name.endswith("_picousd")]:
        picousd = values[name]
        values.setdefault(f"{name.removesuffix('_picousd')}_usd", None if picousd is None else to_usd(picousd))
    return values | {f"{name}_utc": values[name] for name in _TIMES if name in values}


def _cell(value: Any, kind: str) -> str | int | float | None:
    """A value in CSV."""
    if value is None or kind in (_COUNT, _DOLLARS):
        return value  # type: ignore[no-any-return]  # a number
    if kind == _TIME:
        seconds, ns = divmod(value, _NS_PER_S)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns // _NS_PER_US:06}Z"
    if kind == _FLAG:
        return "true" if value else "false"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _in_parquet(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind in (_TEXTS, _COUNTS):
        return list(value.items())
    if kind == _JSON:
        return json.dumps(value)
    if kind == _TEXT:
        return value.encode(errors="backslashreplace").decode()  # a lone surrogate
    if kind == _TIME:
        return value // _NS_PER_US  # Python has no times of nanoseconds
    return list(value) if kind == _LIST else value
