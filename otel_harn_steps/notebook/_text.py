"""Tables as plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from otel_harn_steps.notebook._tables import Table
from otel_harn_steps.store._numbers import counted

_WIDEST_NAME = 48


def text_of(table: Table) -> Iterator[str]:
    """The lines of a table: names to the left, numbers to the right."""
    names = [_cut("  " * line.depth + line.name) for line in table.lines]
    widths = [max(map(_cells, (table.headings[0], *names)))]
    columns = zip(*(line.cells for line in table.lines), strict=True)
    for heading, column in zip(table.headings[1:], columns, strict=True):
        widths.append(max(len(heading), *(len(cell.text) for cell in column)))
    yield _row(table.headings[0], table.headings[1:], widths)
    for name, line in zip(names, table.lines, strict=True):
        yield _row(name, [cell.text for cell in line.cells], widths)
    if table.more:
        yield f"and {counted(table.more, 'more row')}"


def _row(name: str, cells: list[str] | tuple[str, ...], widths: list[int]) -> str:
    numbers = [f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
    return (name + " " * (widths[0] - _cells(name)) + "".join(numbers)).rstrip()


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def _cut(text: str) -> str:
    while _cells(text) > _WIDEST_NAME:
        text = f"{text[:-2]}…"
    return text
