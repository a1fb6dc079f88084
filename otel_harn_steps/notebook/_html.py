"""Tables as HTML for a notebook: no script, nothing that is fetched, and colours for a light page and a dark one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from otel_harn_steps.notebook._tables import Cell, Line, Table
from otel_harn_steps.store._numbers import counted

# The page's own colours: what is lighter is transparent, and what is behind a number is a grey that is seen on both.
_TABLE: Final = "color:inherit;border-collapse:collapse;margin:0 0 .8em 0;font-variant-numeric:tabular-nums"
_HEADING: Final = "text-align:{};padding:.15em .6em;font-weight:600;border-bottom:1px solid rgba(128,128,128,.5)"
_NAME: Final = (
    "text-align:left;padding:.15em .6em .15em {}em;font-weight:400;max-width:28em;overflow:hidden;"
    "text-overflow:ellipsis;white-space:nowrap"
)
_NUMBER: Final = "text-align:right;padding:.15em .6em;white-space:nowrap"
_BAR: Final = ";background:linear-gradient(to left,rgba(128,128,128,.22) {:.1f}%,transparent {:.1f}%)"
_SMALL: Final = "margin:.1em 0;opacity:.75;font-size:90%"


def html_of(headline: str, tables: Iterable[tuple[str, Table]], remarks: Iterable[str]) -> str:
    """The headline, the tables with their captions, and the remarks, as one element."""
    spent, dot, about = escape(headline).partition(" · ")
    return "".join(
        [
            '<div style="overflow-x:auto">',
            f'<p style="margin:.2em 0 .6em 0"><strong>{spent}</strong>{dot}{about}</p>',
            *(_table(caption, table) for caption, table in tables),
            *(f'<p style="{_SMALL}">{escape(each)}</p>' for each in remarks),
            "</div>",
        ]
    )


def _table(caption: str, table: Table) -> str:
    first, *others = (escape(each) for each in table.headings)
    headings = [f'<th scope="col" style="{_HEADING.format("left")}">{first}</th>']
    headings += [f'<th scope="col" style="{_HEADING.format("right")}">{each}</th>' for each in others]
    more = f'<p style="{_SMALL}">and {counted(table.more, "more row")}</p>' if table.more else ""
    return (
        f'<table style="{_TABLE}"><caption style="{_SMALL};text-align:left">{escape(caption)}</caption>'
        f"<thead><tr>{''.join(headings)}</tr></thead>"
        f"<tbody>{''.join(map(''.join, map(_line, table.lines)))}</tbody></table>{more}"
    )


def _line(line: Line) -> Iterator[str]:
    name = escape(line.name)
    yield '<tr style="background:transparent">'
    yield f'<th scope="row" style="{_NAME.format(0.6 + 1.2 * line.depth)}" title="{name}"><bdi>{name}</bdi></th>'
    yield from map(_cell, line.cells)
    yield "</tr>"


def _cell(cell: Cell) -> str:
    share = 100 * min(max(cell.share or 0, 0), 1)
    bar = _BAR.format(share, share) if share else ""
    estimate = ";opacity:.75" if cell.is_estimate else ""
    return f'<td style="{_NUMBER}{bar}{estimate}">{escape(cell.text)}</td>'
