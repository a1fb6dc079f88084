"""A report as tables of text: the same for a page of HTML and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from otel_harn_steps._telemetry.call_row import NO_STEP
from otel_harn_steps.store import Report, Row, RunSummary, Spend, StepSpend
from otel_harn_steps.store._numbers import cost, cost_remarks, counted, dollars, percent, shown, tokens

_LONGEST_NAME: Final = 200
_COUNTS: Final = {
    "calls": "calls",
    "input": "input_tokens",
    "cached": "cache_read_tokens",
    "output": "output_tokens",
}
_NONE: Final = {"step": NO_STEP, "path": NO_STEP}


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text.

    Attributes:
        share: of the whole, for a bar behind it. None: no bar.
        is_estimate: whether a part of it is estimated.
    """

    text: str
    share: float | None = None
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table. `depth`: how many steps are around it."""

    name: str
    cells: tuple[Cell, ...]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings. `more`: how many rows were left out."""

    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    more: int = 0


def headline(report: Report, where: str) -> str:
    """What was spent in all, in one line."""
    total = report.total
    parts = [cost(total), counted(total.calls, "call")]
    if total.input_tokens or total.output_tokens:
        cached = f" ({percent(total.cache_read_tokens, total.input_tokens)} cached)" if total.cache_read_tokens else ""
        parts.append(f"{tokens(total.input_tokens)} tokens in{cached}, {tokens(total.output_tokens)} out")
    if report.entered:
        parts.append(f"{counted(report.entered, 'run')} of steps")
    if report.breached:
        parts.append(f"{report.breached:,} over budget")
    if report.wasted_picousd:
        parts.append(f"{dollars(report.wasted_picousd)} in steps that failed or were skipped")
    return " · ".join([*parts, shown(where)])


def remarks(report: Report) -> Iterator[str]:
    """What the marks at numbers mean, and what is left out."""
    total = report.total
    yield from cost_remarks(total)
    if total.open_calls:
        yield f"… {counted(total.open_calls, 'call')} in flight"
    if report.damaged:
        yield f"{counted(report.damaged, 'damaged line')} of the journals left out"


def table_of(report: Report, most: int) -> Table:
    """The rows of a report, the most expensive first."""
    rows = report.rows[:most]
    of_steps = any(row.total is not None for row in report.rows)
    whole = _amount(report.total)
    columns = _columns(report, of_steps=of_steps)
    lines = tuple(
        Line(
            _cut(row.name or _NONE.get(report.by, "(none)")),
            _cells(columns, row, row.spend, row.total or row.spend, whole),
        )
        for row in rows
    )
    return Table((report.by, *columns), lines, len(report.rows) - len(rows))


def tree_of(by_path: Report, most: int) -> Table | None:
    """The steps below each other. None: none is below another."""
    summary = RunSummary()
    paths = {row.key: row for row in by_path.rows}
    for path, row in paths.items():
        summary.steps[path] = StepSpend(row.name, path, own=row.spend)
    found = list(summary.tree())
    if not any(depth for depth, _, _ in found):
        return None
    whole = _amount(by_path.total)
    columns = _columns(by_path, of_steps=True)
    lines = tuple(
        Line(_cut(step.name or NO_STEP), _cells(columns, paths[step.path], step.own, total, whole), depth)
        for depth, step, total in found[:most]
    )
    return Table(("step", *columns), lines, len(found) - len(lines))


def _columns(report: Report, *, of_steps: bool) -> tuple[str, ...]:
    if not of_steps:
        return ("runs", *_COUNTS, "cost")
    return ("runs", *_COUNTS, "own", "total", *(("breached",) if report.breached else ()))


def _cells(columns: tuple[str, ...], row: Row, own: Spend, total: Spend, whole: int) -> tuple[Cell, ...]:
    runs = row.runs if row.entered is None else row.entered
    cells = {
        "runs": Cell(f"{runs:,}" if runs else ""),
        "calls": Cell(f"{own.calls:,}"),
        "own": _cost(own),
        "cost": _cost(own, whole),
        "total": _cost(total, whole),
        "breached": Cell(f"{row.breached:,}" if row.breached else ""),
    }
    return tuple(cells.get(column) or _count(own, _COUNTS[column]) for column in columns)


def _count(spend: Spend, name: str) -> Cell:
    count: int = getattr(spend, name)
    is_unknown = not count and spend.calls > 0 and spend.unmetered_calls == spend.calls
    return Cell("?" if is_unknown else f"{count:,}" if spend.calls else "")


def _cost(spend: Spend, whole: int | None = None) -> Cell:
    share = _amount(spend) / whole if whole else None
    return Cell(cost(spend), share, bool(spend.estimated_cost_picousd))


def _amount(spend: Spend) -> int:
    return spend.cost_picousd + spend.estimated_cost_picousd


def _cut(name: str) -> str:
    text = shown(name[: _LONGEST_NAME + 1])
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
