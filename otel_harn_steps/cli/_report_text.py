"""A report as it stands in a terminal: a headline, a table, and a line of advice."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from otel_harn_steps.cli._bars import sparkline
from otel_harn_steps.cli._spend_text import (
    cached_share_cell,
    calls_cell,
    cost_cell,
    spent_picousd,
    tokens_cell,
    unknown_remarks,
)
from otel_harn_steps.cli._terminal import DEFAULT_WIDTH
from otel_harn_steps.cli._text_table import Cell, Column, Line, cut, flowed, folded, label, spread, table
from otel_harn_steps.store import Report, Row, Spend
from otel_harn_steps.store._numbers import counted, dollars, percent, shown, tokens

_MOST_ROWS: Final = 15
_LONGEST_WORD: Final = 200
_SHORT_ID: Final = 8
_NARROWEST_NAME: Final = 24
_NARROWEST_MODEL: Final = 32
_STEPS: Final = ("step", "path")
_MODELS: Final = ("model", "provider")
_ONE_RUN: Final = ("step", "path", "agent", "program", "day", "status")
"""Where the cost of one run says something: a row of the others is one run, or what runs have in common."""
_WHOLE_PERIOD: Final = "all that is recorded"


def report_lines(
    report: Report, *, period: str = _WHOLE_PERIOD, width: int = DEFAULT_WIDTH, has_all: bool = False
) -> list[Line]:
    """The lines of a report: of its first 15 rows, unless it `has_all`. `period` says what it is of: "last 7 days"."""
    if not report.rows and not report.total.calls and not report.total.open_calls:
        return _nothing(report, period, width)
    rows = report.rows if has_all else report.rows[:_MOST_ROWS]
    more = len(report.rows) - len(rows)
    lines = table(_columns(report, rows), width)
    right_edge = min(max(line.width for line in lines), width)
    return [
        _head(report, period, right_edge),
        *(Line.of(line, "dim") for line in flowed(_headlines(report), width)),
        *lines,
        *([Line.of(f"  and {more:,} more: --all", "dim")] if more else []),
        *(Line.of(line, "dim") for remark in _remarks(report) for line in folded(remark, width)),
        *(Line.of(line, "yellow") for line in flowed(_advice(report), width, " ")),
    ]


def _nothing(report: Report, period: str, width: int) -> list[Line]:
    if report.filter != type(report.filter)():
        said = f"nothing matches ({period}): leave out an option to see more"
    else:
        said = "nothing is recorded yet: otel-harn-steps run -- python app.py"
    remarks = [line for remark in _damage(report) for line in folded(remark, width)]
    return [Line.of(line) for line in (*folded(said, width, ""), *remarks)]


# -- above the table ---------------------------------------------------------------------------------------------------


def _head(report: Report, period: str, right_edge: int) -> Line:
    total = report.total
    cell = cost_cell(total)
    about = " · ".join((period, counted(report.runs, "run"), counted(total.calls, "call")))
    return spread(Line.of(about, "bold"), cell.text + cell.mark, right_edge, "bold")


def _headlines(report: Report) -> Iterator[str]:
    total = report.total
    spent = spent_picousd(total)
    costs = report.costs
    if costs.p50_picousd is not None and costs.p95_picousd is not None and report.runs > 1:
        yield f"a run {dollars(costs.p50_picousd)} p50, {dollars(costs.p95_picousd)} p95"
    before = None if report.before is None else spent_picousd(report.before)
    if before:
        yield f"{_change(spent, before)} than in the period before ({dollars(before)})"
    if report.wasted_picousd:
        failed = f", {dollars(report.failed_picousd)} in failed steps" if report.failed_picousd else ""
        yield f"{percent(report.wasted_picousd, spent)} wasted ({dollars(report.wasted_picousd)}{failed})"
    if report.breached:
        breaches = f"{report.breached:,} breach{'' if report.breached == 1 else 'es'}"
        yield f"{breaches} in {counted(report.breached_steps, 'step')}"
    if total.input_tokens or total.output_tokens:
        cached = percent(total.cache_read_tokens, total.input_tokens)
        cached = f" ({cached} cached)" if total.cache_read_tokens else ""
        yield f"{tokens(total.input_tokens)} tokens in{cached}, {tokens(total.output_tokens)} out"
    trend = sparkline(report.trend)
    if trend:
        yield trend


def _change(spent: int, before: int) -> str:
    if spent == before:
        return "no more"
    return f"{percent(abs(spent - before), before)} {'more' if spent > before else 'less'}"


# -- the table ---------------------------------------------------------------------------------------------------------

_Numbers = tuple[str, Callable[[Row], Cell], int | None]
"""A column: its heading, its cells, and when it goes in a terminal that is too narrow."""


def _columns(report: Report, rows: Sequence[Row]) -> list[Column]:
    names = Column(
        heading=report.by.removeprefix("label:"),
        cells=[Cell(_name(report.by, row), style="" if row.key else "dim") for row in rows],
        is_name=True,
        leaves=None,
        narrowest=_NARROWEST_MODEL if report.by in _MODELS else _NARROWEST_NAME,
    )
    numbers = [
        Column(heading=heading, cells=[cell(row) for row in rows], leaves=leaves)
        for heading, cell, leaves in _numbers(report)
    ]
    # A column that has nothing to say says so by not being there.
    return [names, *(column for column in numbers if any(cell.text or cell.mark for cell in column.cells))]


def _name(by: str, row: Row) -> str:
    if by == "run":
        return f"{row.key[:_SHORT_ID]} {row.name}"
    return row.key if by == "path" and row.key else row.name


def _numbers(report: Report) -> Iterator[_Numbers]:
    by = report.by
    is_step = by in _STEPS
    if by not in ("run", *_MODELS):
        yield "runs", lambda row: _runs_cell(row.entered if is_step else row.runs), 4
    yield "calls", lambda row: calls_cell(row.spend), 4
    yield "input", lambda row: tokens_cell(row.spend, row.spend.input_tokens), 2
    if report.total.cache_read_tokens:
        yield "cached", lambda row: cached_share_cell(row.spend), 2
    yield "output", lambda row: tokens_cell(row.spend, row.spend.output_tokens), 0
    if is_step:
        yield "own", lambda row: cost_cell(row.spend), 6
        yield "total", lambda row: cost_cell(row.spend if row.total is None else row.total), None
    else:
        yield "cost", lambda row: cost_cell(row.spend), None
    if by in _ONE_RUN or by.startswith("label:"):
        yield "run p50", lambda row: _one_run_cell(row, row.costs.p50_picousd), 1
        yield "run p95", lambda row: _one_run_cell(row, row.costs.p95_picousd), 5
    if by in _MODELS:
        yield "1k calls", lambda row: _per_thousand(row.spend), 5
    yield "over" if is_step else "breaches", _breached_cell, 3
    yield "wasted", lambda row: Cell(dollars(row.wasted_picousd) if row.wasted_picousd else ""), 0
    if by not in ("day", "run"):
        yield "trend", lambda row: Cell(sparkline(row.trend, most=8), style="cyan"), 0


def _runs_cell(runs: int | None) -> Cell:
    return Cell(f"{runs:,}" if runs else "")


def _one_run_cell(row: Row, picousd: int | None) -> Cell:
    if picousd is not None:
        return Cell(dollars(picousd))
    return Cell("?" if (row.total or row.spend).unknown_calls else "")


def _per_thousand(spend: Spend) -> Cell:
    priced = spend.priced_calls
    return Cell(dollars(spend.cost_picousd * 1000 // priced) if priced else "?")


def _breached_cell(row: Row) -> Cell:
    """Which share of a step's runs has crossed a limit; of what is no step, how many have."""
    if not row.breached:
        return Cell("")
    return Cell(percent(row.breached, row.entered) if row.entered else f"{row.breached:,}", style="red")


# -- below the table ---------------------------------------------------------------------------------------------------


def _remarks(report: Report) -> Iterator[str]:
    yield from unknown_remarks(report.total)
    if report.total.open_calls:
        yield f"… {counted(report.total.open_calls, 'call')} in flight, or left by processes that are gone"
    if report.refused:
        yield f"{counted(report.refused, 'call')} refused by a budget, and billed to nobody"
    if report.failed:
        yield f"{counted(report.failed, 'call')} rejected by the provider, and billed to nobody"
    yield from _damage(report)


def _damage(report: Report) -> Iterator[str]:
    if report.damaged:
        yield f"! {counted(report.damaged, 'line')} of the journals left out, which could not be read"


def _advice(report: Report) -> tuple[str, str] | tuple[()]:
    """One thing that can be done about it, the first that there is: why, and the command."""
    steps = [row for row in report.rows if row.breached and row.entered] if report.by == "step" else []
    if steps:
        worst = max(steps, key=lambda row: row.breached)
        why = f"`{label(worst.name)}` breached {worst.breached:,} of {counted(worst.entered or 0, 'run')}:"
        return why, f"otel-harn-steps budget suggest {shlex.quote(cut(shown(worst.key), _LONGEST_WORD))}"
    if report.total.unpriced_calls and report.by != "model":
        return "which models have no price:", "otel-harn-steps report --by model"
    if report.wasted_picousd * 10 > spent_picousd(report.total) and report.by != "status":
        return "what steps spent that failed:", "otel-harn-steps report --by status"
    return ()
