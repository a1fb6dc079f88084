"""A comparison of two sides in a terminal: sentences, and the table behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

from otel_harn_steps.cli._text_table import Cell, Column, Line, folded, label, spread, table
from otel_harn_steps.store._diff import PARTS, Diff, DiffRow, Part
from otel_harn_steps.store._diff_words import notes_of, sentence
from otel_harn_steps.store._numbers import counted, dollars, percent, signed_dollars

MOST_ROWS: Final = 15
_MOST_SENTENCES: Final = 5


def diff_lines(found: Diff, width: int, *, has_all: bool = False) -> list[Line]:
    """The lines of a comparison."""
    rows = [row for row in found.rows if row.change_picousd or has_all]
    shown_rows = rows if has_all else rows[:MOST_ROWS]
    lines = _table(found, shown_rows, width) if shown_rows else []
    more = len(rows) - len(shown_rows)
    below = [*([f"and {more} more: --all"] if more else []), *_unchanged(found, rows), *notes_of(found)]
    said = [sentence(row, found) for row in rows[:_MOST_SENTENCES]]
    return [
        _head(found, min(max((line.width for line in lines), default=width), width)),
        *(Line.of(text) for each in said for text in folded(each, width)),
        *([Line.of("")] if lines else []),
        *lines,
        *(Line.of(text, "dim") for each in below for text in folded(each, width)),
    ]


def _unchanged(found: Diff, rows: list[DiffRow]) -> Iterator[str]:
    same = sum(not row.change_picousd for row in found.rows)
    if same and len(rows) < len(found.rows):
        yield f"{counted(same, found.by)} without a change"


def _head(found: Diff, right_edge: int) -> Line:
    left = f"{label(found.base_name, 24)} to {label(found.head_name, 24)}"
    before, after = (dollars(amount) for amount in costs(found, found.total))
    return spread(Line.of(left, "bold"), f"{before} to {after}, {growth(found)}", right_edge, "bold")


def growth(found: Diff) -> str:
    """`+$0.4100 (+100 %)`."""
    change = found.total.change_picousd
    share = found.change_share
    if share is None or not change:
        return signed_dollars(change)
    return f"{signed_dollars(change)} ({'+' if change > 0 else '-'}{percent(round(abs(share) * 10**6), 10**6)})"


def costs(found: Diff, row: DiffRow) -> tuple[int, int]:
    """What a row has cost before and after, in pico-dollars; of one run where the comparison is by run."""
    runs = (found.base_runs, found.head_runs) if found.is_by_run else (1, 1)
    return round(Fraction(row.base.cost_picousd, runs[0])), round(Fraction(row.head.cost_picousd, runs[1]))


def parts_shown(found: Diff) -> list[Part]:
    """The parts that are not nothing in all rows."""
    return [part for part in PARTS if any(row.parts[part] for row in found.rows)]


def _table(found: Diff, rows: list[DiffRow], width: int) -> list[Line]:
    def numbers(heading: str, text: Callable[[DiffRow], str], leaves: int | None) -> Column:
        cells = [Cell(text(row)) for row in rows]
        return Column(heading=heading, cells=[*cells, Cell(text(found.total), style="bold")], leaves=leaves)

    def of_part(part: Part) -> Callable[[DiffRow], str]:
        return lambda row: signed_dollars(row.parts[part]) if row.parts[part] else ""

    names = [Cell(row.key) for row in rows]
    before, after, change = (_before(found), _after(found), lambda row: signed_dollars(row.change_picousd))
    return table(
        [
            Column(
                heading=found.by, cells=[*names, Cell("all", style="bold")], is_name=True, leaves=None, narrowest=12
            ),
            numbers("before", before, 1),
            numbers("after", after, 2),
            numbers("change", change, None),
            *(numbers(part, of_part(part), 0) for part in parts_shown(found)),
        ],
        width,
    )


def _before(found: Diff) -> Callable[[DiffRow], str]:
    return lambda row: dollars(costs(found, row)[0]) if row.base.calls else ""


def _after(found: Diff) -> Callable[[DiffRow], str]:
    return lambda row: dollars(costs(found, row)[1]) if row.head.calls else ""
