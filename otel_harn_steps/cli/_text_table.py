"""Tables of names and numbers that fit a terminal: the one engine of every command.

A column of names is aligned to the left, made safe, and cut with an ellipsis; one of numbers is aligned to the right.
In a terminal that is too narrow, columns are left out from the right.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_harn_steps.store._numbers import shown

ELLIPSIS: Final = "…"
MARGIN: Final = "  "
_NARROWEST_NAME: Final = 24
_NARROWEST_OF_ALL: Final = 8
_NARROWEST_SENTENCE: Final = 40
_GAP: Final = 2
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a terminal, in parts: each a text and its style, as Rich calls it ("dim", "bold red", "")."""

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str, style: str = "") -> Line:
        """A line in one style."""
        return cls(((text, style),))

    @property
    def text(self) -> str:
        """The line without colour."""
        return "".join(text for text, _ in self.parts)

    @property
    def width(self) -> int:
        """How many columns of a terminal it takes."""
        return width_of(self.text)

    def then(self, text: str, style: str = "") -> Line:
        """The line with more behind it."""
        return Line((*self.parts, (text, style)))


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a row of a column.

    Attributes:
        text: a name as it was given (it is made safe here), or a number as text.
        mark: what follows a number outside of its alignment, such as `?`.
        style: as Rich calls it.
        depth: how far a name is indented: its depth in a tree.
    """

    text: str
    mark: str = ""
    style: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        heading: what stands above it.
        cells: one for each row.
        is_name: whether it holds names, and not numbers.
        leaves: when it goes in a terminal that is too narrow: all columns with 0 before any with 1, and so on; of the
            same number, the one furthest to the right. None: never.
        narrowest: to how many columns of the terminal names may be cut before a column of the table goes.
    """

    heading: str
    cells: Sequence[Cell]
    is_name: bool = False
    leaves: int | None = 0
    narrowest: int = _NARROWEST_NAME


def table(columns: Sequence[Column], width: int, *, gap: int = _GAP, margin: str = MARGIN) -> list[Line]:
    """The lines of a table, the headings first. None is wider than `width`, unless what never leaves is."""
    kept = [_Texts.of(column) for column in columns]
    room = width - len(margin)
    while sum(each.least for each in kept) + gap * (len(kept) - 1) > room:
        rounds = [each.column.leaves for each in kept if each.column.leaves is not None]
        if not rounds:
            break
        kept.remove([each for each in kept if each.column.leaves == min(rounds)][-1])
    widths = _widths(kept, room - gap * (len(kept) - 1))
    return [
        _line([each.part(row, width) for each, width in zip(kept, widths, strict=True)], margin, " " * gap)
        for row in range(len(columns[0].cells) + 1)
    ]


def beside(lines: Sequence[Line], notes: Sequence[str], width: int) -> list[Line] | None:
    """The lines with a note behind each that has one. None: they would be wider than `width`."""
    widest = max((line.width for line in lines), default=0)
    noted = [
        line.then(" " * (widest - line.width) + f"   {note}", "yellow") if note else line
        for line, note in zip(lines, notes, strict=True)
    ]
    return noted if all(line.width <= width for line in noted) else None


def spread(left: Line, right: str, right_edge: int, style: str = "") -> Line:
    """A line with something at its right edge, and at least two columns before it."""
    if not right:
        return left
    return left.then(" " * max(right_edge - left.width - width_of(right), 2)).then(right, style)


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    """A column with the texts of its rows; the first is the heading. `natural` is the width of the widest."""

    column: Column
    texts: Sequence[str]
    natural: int

    @classmethod
    def of(cls, column: Column) -> _Texts:
        texts = _texts(column)
        return cls(column, texts, max(map(width_of, texts)))

    @property
    def least(self) -> int:
        return min(self.natural, self.column.narrowest) if self.column.is_name else self.natural

    def part(self, row: int, width: int) -> tuple[str, str]:
        text = self.texts[row]
        if self.column.is_name:
            text = padded(isolated(cut(text, width)), width)
        return text, self.column.cells[row - 1].style if row else "dim"


def _texts(column: Column) -> list[str]:
    if column.is_name:
        return [column.heading, *("  " * cell.depth + shown(cell.text) for cell in column.cells)]
    cells = (Cell(column.heading), *column.cells)
    numbers, marks = max(width_of(cell.text) for cell in cells), max(width_of(cell.mark) for cell in cells)
    return [" " * (numbers - width_of(cell.text)) + cell.text + padded(cell.mark, marks) for cell in cells]


def _widths(kept: Sequence[_Texts], room: int) -> list[int]:
    """How wide each column is: names give way, those furthest above their narrowest first."""
    widths = [min(each.natural, max(room, _NARROWEST_OF_ALL)) if each.column.is_name else each.natural for each in kept]
    while sum(widths) > room:
        giving = [n for n, each in enumerate(kept) if each.column.is_name and widths[n] > _NARROWEST_OF_ALL]
        if not giving:
            break
        widths[max(giving, key=lambda n: widths[n] - kept[n].column.narrowest)] -= 1
    return widths


def _line(parts: Sequence[tuple[str, str]], margin: str, gap: str) -> Line:
    kept = [((gap if n else margin) + text, style) for n, (text, style) in enumerate(parts)]
    while kept and not kept[-1][0].strip():
        kept.pop()
    if kept:
        kept[-1] = (kept[-1][0].rstrip(), kept[-1][1])
    return Line(tuple(kept))


# -- text in cells -----------------------------------------------------------------------------------------------------


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def padded(text: str, width: int) -> str:
    """The text with spaces behind it, up to `width`."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, room = [], width - 1
    for each in text:
        room -= _width_of_character(each)
        if room < 0:
            break
        kept.append(each)
    return "".join(kept) + ELLIPSIS


def isolated(text: str) -> str:
    """The text so that its direction is its own: where it is written from right to left, the numbers behind it stay.

    Terminals that know about directions obey the two signs (Unicode's bidirectional algorithm, FSI and PDI) and show
    neither; those that do not take no room for them. A name cannot bring such signs along: `shown` escapes them.
    """
    if text.isascii() or not any(unicodedata.bidirectional(each) in _RIGHT_TO_LEFT for each in text):
        return text
    return f"{_ISOLATE}{text}{_END_OF_ISOLATE}"


def label(text: str, width: int = 60) -> str:
    """A name as it can stand in a sentence: safe, cut, and with a direction of its own."""
    return isolated(cut(shown(text), width))


def flowed(parts: Iterable[str], width: int, separator: str = " · ", margin: str = MARGIN) -> list[str]:
    """The parts in as few lines as they fit into. No part is folded, unless it is wider than a line by itself."""
    lines: list[str] = []
    for part in parts:
        if lines and width_of(lines[-1] + separator + part) <= width:
            lines[-1] += separator + part
        elif width_of(margin + part) <= width:
            lines.append(margin + part)
        else:
            lines += folded(part, width, margin)
    return lines


def folded(text: str, width: int, margin: str = MARGIN) -> list[str]:
    """A sentence in lines of at least 40 columns, all but the first further indented."""
    return textwrap.wrap(
        text,
        max(width, _NARROWEST_SENTENCE),
        initial_indent=margin,
        subsequent_indent=margin + MARGIN,
        break_on_hyphens=False,
    )
