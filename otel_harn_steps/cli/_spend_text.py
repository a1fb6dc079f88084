"""Spend as the cells of a table, and what must be said about it below the table."""

from __future__ import annotations

from collections.abc import Iterator

from otel_harn_steps.cli._text_table import ELLIPSIS, Cell
from otel_harn_steps.store import Spend
from otel_harn_steps.store._numbers import cost_marks, cost_remarks, counted, percent


def spent_picousd(spend: Spend) -> int:
    """Pico-dollars, estimates included."""
    return spend.cost_picousd + spend.estimated_cost_picousd


def cost_cell(spend: Spend) -> Cell:
    """Dollars with their marks, as `cost_marks` says. Estimates are in lighter ink."""
    text, marks = cost_marks(spend)
    return Cell(text, marks, "dim" if spend.estimated_cost_picousd else "")


def calls_cell(spend: Spend) -> Cell:
    """How many calls; `…` where there are only calls in flight."""
    return Cell(ELLIPSIS if spend.open_calls and not spend.calls else f"{spend.calls:,}")


def tokens_cell(spend: Spend, tokens: int) -> Cell:
    """Tokens of one kind. Empty without a call, `?` where the provider reported none."""
    if not spend.calls:
        return Cell("")
    return Cell("?" if spend.unmetered_calls == spend.calls and not tokens else f"{tokens:,}")


def cached_share_cell(spend: Spend) -> Cell:
    """Which share of the input was read from a cache. Empty without input."""
    return Cell(percent(spend.cache_read_tokens, spend.input_tokens) if spend.input_tokens else "")


def unknown_remarks(spend: Spend) -> Iterator[str]:
    """What is estimated, and what is not known, of some spend."""
    yield from cost_remarks(spend)
    if spend.unpriced_calls:
        yield f"{counted(spend.unpriced_calls, 'call')} without a price"
    if spend.unmetered_calls:
        yield f"{counted(spend.unmetered_calls, 'call')} whose tokens the provider did not report"
