"""The models of a run by their share of what it has cost, in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from otel_harn_steps.cli._spend_text import spent_picousd
from otel_harn_steps.cli._text_table import cut, label, width_of
from otel_harn_steps.store import Spend
from otel_harn_steps.store._numbers import percent

_MOST_MODELS: Final = 4


def models_line(used: Sequence[tuple[tuple[str, str | None], Spend]], width: int) -> Iterator[str]:
    """The models by their share of the dollars, or of the calls where none has a price. Nothing where none was used.

    Args:
        used: providers and models with what was spent, the most expensive first.
        width: the line is no wider.
    """
    if not used:
        return
    all_dollars = sum(spent_picousd(spend) for _, spend in used)
    all_calls = sum(spend.calls + spend.open_calls for _, spend in used)
    names = [model or "(unknown model)" for (_, model), _ in used]
    parts = []
    for ((provider, _), spend), name in zip(used, names, strict=True):
        title = label(f"{provider}/{name}" if names.count(name) > 1 else name)
        amount = spent_picousd(spend)
        parts.append((title, amount if all_dollars else spend.calls + spend.open_calls))
    kept = min(len(parts), _MOST_MODELS)
    while kept > 1 and width_of(_shares(parts, kept, all_dollars or all_calls)) > width:
        kept -= 1
    yield cut(_shares(parts, kept, all_dollars or all_calls), max(width, 8))


def _shares(parts: Sequence[tuple[str, int]], kept: int, whole: int) -> str:
    others = sum(amount for _, amount in parts[kept:])
    shares = [*parts[:kept], *([("others", others)] if len(parts) > kept else [])]
    return "  " + " · ".join(f"{name} {percent(amount, whole)}" for name, amount in shares)
