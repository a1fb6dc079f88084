"""The calls of a run as they stand in a terminal: one line each, in the order in which they were sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_harn_steps._telemetry.call_row import BILLED, CallRow
from otel_harn_steps.cli._spend_text import cost_cell
from otel_harn_steps.cli._terminal import DEFAULT_WIDTH
from otel_harn_steps.cli._text_table import MARGIN, Cell, Column, Line, table
from otel_harn_steps.store import Spend
from otel_harn_steps.store._numbers import duration

_MOST_CALLS: Final = 200
_NARROWEST_MODEL: Final = 12
_NS_PER_S: Final = 10**9


def call_lines(
    calls: Sequence[CallRow], began_ns: int, *, width: int = DEFAULT_WIDTH, has_all: bool = False
) -> list[Line]:
    """The lines of calls: of the first 200, unless it `has_all`. `began_ns` is what their times are counted from."""
    kept = calls if has_all else calls[:_MOST_CALLS]
    if not kept:
        return [Line.of(f"{MARGIN}no calls", "dim")]
    columns = [
        Column(heading="at", cells=[Cell(_offset(call, began_ns)) for call in kept], leaves=2),
        Column(heading="step", cells=[Cell(call.path or call.step) for call in kept], is_name=True, leaves=None),
        Column(
            heading="model",
            cells=[Cell(call.model or call.requested_model or call.provider) for call in kept],
            is_name=True,
            narrowest=_NARROWEST_MODEL,
            leaves=3,
        ),
        Column(heading="input", cells=[_tokens(call, call.input_tokens) for call in kept], leaves=1),
        Column(heading="cached", cells=[_tokens(call, call.cache_read_tokens) for call in kept], leaves=1),
        Column(heading="output", cells=[_tokens(call, call.output_tokens) for call in kept], leaves=1),
        Column(heading="took", cells=[Cell(_took(call)) for call in kept], leaves=2),
        Column(heading="cost", cells=[_cost(call) for call in kept], leaves=None),
        Column(heading="numbers", cells=[Cell(_from(call), style="dim") for call in kept], is_name=True, leaves=0),
    ]
    more = len(calls) - len(kept)
    return [*table(columns, width), *([Line.of(f"{MARGIN}and {more:,} more: --all", "dim")] if more else [])]


def _offset(call: CallRow, began_ns: int) -> str:
    return f"+{duration(max(call.sent_at - began_ns, 0) / _NS_PER_S)}"


def _tokens(call: CallRow, tokens: int | None) -> Cell:
    if call.outcome not in BILLED:
        return Cell("")
    return Cell("?" if tokens is None else f"{tokens:,}")


def _took(call: CallRow) -> str:
    return "" if call.duration_ns is None else duration(call.duration_ns / _NS_PER_S)


def _cost(call: CallRow) -> Cell:
    spend = Spend()
    if call.outcome in BILLED:
        spend.bill(call)
    return cost_cell(spend)


def _from(call: CallRow) -> str:
    """Where the numbers are from, or why there are none."""
    if call.outcome == "open":
        return "in flight"
    return call.certainty if call.outcome == "answered" else call.outcome
