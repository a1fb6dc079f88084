"""The table of what steps have spent."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps.cli._spend import Spend

_HEADINGS = ("step", "runs", "not ok", "calls", "input", "output", "USD", "seconds")


def print_spend(spend: Mapping[str, Spend]) -> None:
    """Print what each step has spent by itself, the most expensive first, on stderr."""
    ordered = sorted(spend.items(), key=lambda each: (-each[1].cost_picousd, -each[1].llm_calls, each[0]))
    total = Spend()
    for _, each in ordered:
        total.add(each)
    rows = [_row(name, each) for name, each in ordered]
    # Steps contain each other: their times overlap, and have no sum.
    last = (*_row("total", total)[:-1], "")
    notes = [
        f"* without {count} calls {what}"
        for count, what in (
            (total.unpriced_calls, "of unknown price"),
            (total.unmetered_calls, "whose tokens the provider did not report"),
        )
        if count
    ]
    try:
        from rich.box import SIMPLE  # noqa: PLC0415 -- an extra
        from rich.console import Console  # noqa: PLC0415 -- an extra
        from rich.table import Table  # noqa: PLC0415 -- an extra
    except ImportError:
        _print_plain([_HEADINGS, *rows, last], notes)
        return
    table = Table(box=SIMPLE, show_footer=True, padding=(0, 1), pad_edge=False)
    for number, (heading, footer) in enumerate(zip(_HEADINGS, last, strict=True)):
        if number:
            table.add_column(heading, footer, justify="right", no_wrap=True)
        else:
            table.add_column(heading, footer, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(table)
    for note in notes:
        console.print(note)


def _row(name: str, spend: Spend) -> tuple[str, ...]:
    star = "*" if spend.unpriced_calls or spend.unmetered_calls else ""
    return (
        name,
        str(spend.runs),
        str(spend.runs - spend.completed or ""),
        str(spend.llm_calls),
        f"{spend.input_tokens:,}",
        f"{spend.output_tokens:,}",
        f"{to_usd(spend.cost_picousd):.6f}{star}",
        f"{spend.duration_ns / 1e9:.2f}",
    )


def _print_plain(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(row[0].ljust(len(first)), *others, sep="  ", file=sys.stderr)
    for note in notes:
        print(note, file=sys.stderr)
