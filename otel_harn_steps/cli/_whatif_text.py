"""The ledger priced again, in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from otel_harn_steps.cli._text_table import Cell, Column, Line, folded, label, spread, table
from otel_harn_steps.store._numbers import counted, dollars, percent, signed_dollars
from otel_harn_steps.store._whatif import Change, WhatIf, WhatIfRow

_MOST_ROWS: Final = 15
_MOST_REASONS: Final = 3


def whatif_lines(found: WhatIf, change: Change, width: int, *, has_all: bool = False) -> list[Line]:
    """The lines: what is changed, the table by step, and what must be known about the numbers."""
    rows = found.rows if has_all else found.rows[:_MOST_ROWS]
    lines = _table(found, rows, width) if rows else []
    more = len(found.rows) - len(rows)
    below = [*([f"and {more} more: --all"] if more else []), *notes_of(found, change)]
    right_edge = min(max((line.width for line in lines), default=width), width)
    total = found.total
    change_text = signed_dollars(total.after_picousd - total.before_picousd)
    cost = f"{dollars(total.before_picousd)} to {dollars(total.after_picousd)}, {change_text}" if rows else ""
    return [
        spread(Line.of(f"what if: {changed(change)}", "bold"), cost, right_edge, "bold"),
        *lines,
        *(Line.of(text, "dim") for each in below for text in folded(each, width)),
    ]


def changed(change: Change) -> str:
    """What is changed: `model gpt-5-nano, tier batch`."""
    parts = []
    if change.model is not None:
        parts.append(f"model {label(change.model)}")
    if change.tier is not None:
        parts.append(f"tier {change.tier}")
    if change.own.prices:
        parts.append(f"prices of {counted(len(change.own.prices), 'model')}")
    if change.cached_share is not None:
        share = change.cached_share
        what = f"{percent(share.numerator, share.denominator)} of the input" if share else "nothing"
        parts.append(f"{what} from a cache")
    return ", ".join(parts)


def notes_of(found: WhatIf, change: Change) -> Iterator[str]:
    """What must be known about the numbers."""
    total = found.total
    if not found.repriced_calls:
        yield "there is no call that this would change"
    elif found.repriced_calls < total.calls:
        yield f"the change is for {counted(found.repriced_calls, 'call')} of {total.calls:,}"
    if total.low_picousd != total.high_picousd:
        low, high = dollars(total.low_picousd), dollars(total.high_picousd)
        yield f"{low} to {high}: the other model may count the same text as fewer or more tokens, and cache less"
    if change.model is not None and (found.repriced_calls or found.other_kind_calls):
        yield "the same answers are assumed: another model may write, think, and call tools more or less"
        yield from _another_model(found)
    yield from _left_out(found)
    if found.scaled_calls:
        yield f"{counted(found.scaled_calls, 'call')} at no list price: changed as the list price changes"
    if found.books:
        yield f"prices: {', '.join(label(book) for book in found.books)}"


def _another_model(found: WhatIf) -> Iterator[str]:
    if found.reasoning_tokens:
        yield f"{percent(found.reasoning_tokens, found.output_tokens)} of the output tokens were thoughts"
    if found.other_kind_calls:
        yield f"left as it was, because the model is of another kind: {counted(found.other_kind_calls, 'call')}"
    if found.too_long_calls:
        yield f"{counted(found.too_long_calls, 'call')} with more input than the other model takes"


def _left_out(found: WhatIf) -> Iterator[str]:
    if found.gone_calls:
        why = ", ".join(label(each) for each in list(found.gone_why)[:_MOST_REASONS])
        yield (
            f"? {counted(found.gone_calls, 'call')} for {dollars(found.gone_picousd)} left out on both sides: "
            f"no price is known for {why}"
        )
    if found.newly_priced_calls:
        cost = dollars(found.newly_priced_picousd)
        yield f"{counted(found.newly_priced_calls, 'call')} without a price so far would cost {cost}, in no number here"
    if found.unpriced_calls:
        yield f"? without a price before and after, and in no number here: {counted(found.unpriced_calls, 'call')}"
    if found.estimated_calls:
        yield f"~ {dollars(found.estimated_picousd)} of estimates stays as it is, and is in no number here"


def _table(found: WhatIf, rows: list[WhatIfRow], width: int) -> list[Line]:
    def numbers(heading: str, text: Callable[[WhatIfRow], str], leaves: int | None) -> Column:
        cells = [Cell(text(row)) for row in rows]
        return Column(heading=heading, cells=[*cells, Cell(text(found.total), style="bold")], leaves=leaves)

    names = [*(Cell(row.step) for row in rows), Cell("all", style="bold")]
    has_range = found.total.low_picousd != found.total.high_picousd
    ranges = [numbers("range", _range, 2)] if has_range else []
    return table(
        [
            Column(heading="step", cells=names, is_name=True, leaves=None),
            numbers("calls", lambda row: f"{row.calls:,}", 0),
            numbers("before", lambda row: dollars(row.before_picousd), 1),
            numbers("after", lambda row: dollars(row.after_picousd), None),
            *ranges,
            numbers("change", lambda row: signed_dollars(row.after_picousd - row.before_picousd), 3),
        ],
        width,
    )


def _range(row: WhatIfRow) -> str:
    return f"{dollars(row.low_picousd)} to {dollars(row.high_picousd)}"
