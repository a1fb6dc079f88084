"""A comparison of two sides as Markdown, for the summary of a pull request."""

from __future__ import annotations

import re
from typing import Final

from otel_harn_steps.cli._diff_text import MOST_ROWS, costs, growth, parts_shown
from otel_harn_steps.store._diff import Diff, DiffRow
from otel_harn_steps.store._diff_words import notes_of, reasons_of, short
from otel_harn_steps.store._numbers import dollars, shown, signed_dollars

_MARKUP: Final = re.compile(r"[^\w\s.,:;()+/%~?$-]|_", re.ASCII)


def markdown(found: Diff, *, has_all: bool = False) -> str:
    """The comparison: what has changed as sentences, and the table."""
    changed = [row for row in found.rows if row.change_picousd]
    rows = (found.rows if has_all else changed)[: None if has_all else MOST_ROWS]
    before, after = (dollars(amount) for amount in costs(found, found.total))
    names = f"{_text(short(found.base_name))} to {_text(short(found.head_name))}"
    lines = [
        f"**Cost of LLM calls, {names}: {before} to {after}, {growth(found)}**",
        "",
        *(
            f"- {_name(row)} {signed_dollars(row.change_picousd)}: {_reasons(row, found)}"
            for row in changed[:MOST_ROWS]
        ),
    ]
    if not changed:
        lines.append("Nothing has changed.")
    if rows:
        lines += ["", *_table(found, rows)]
    lines += ["", *(f"- {_text(note)}" for note in notes_of(found))]
    return "\n".join(lines).rstrip() + "\n"


def _table(found: Diff, rows: tuple[DiffRow, ...] | list[DiffRow]) -> list[str]:
    parts = parts_shown(found)
    made = [["", "calls made", "before", "after", "change", *parts], ["---", *["---:"] * (4 + len(parts))]]
    for row in (*rows, found.total):
        calls = f"{row.base.calls:,} to {row.head.calls:,}"
        amounts = (signed_dollars(row.parts[part]) if row.parts[part] else "" for part in parts)
        name = "**all**" if row is found.total else _name(row)
        made.append([name, calls, *map(dollars, costs(found, row)), signed_dollars(row.change_picousd), *amounts])
    return [f"| {' | '.join(cells)} |" for cells in made]


def _reasons(row: DiffRow, found: Diff) -> str:
    return _text(", ".join(reasons_of(row, found)))


def _name(row: DiffRow) -> str:
    return f"<code>{_text(short(row.key))}</code>"


def _text(text: str) -> str:
    """A text as it is: what Markdown or HTML would read as markup is an entity."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", shown(text))
