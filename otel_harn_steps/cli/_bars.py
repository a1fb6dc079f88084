"""Numbers as marks of a terminal: a trend, and how far a budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LEVELS: Final = "▁▂▃▄▅▆▇█"
_MOST_BUCKETS: Final = 31
_SPENT, _LEFT = "━", "─"
_BAR_WIDTH: Final = 10


def sparkline(values: Sequence[int], most: int = _MOST_BUCKETS) -> str:
    """The values as a line of small bars; neighbours are added up where there are more than `most`.

    Empty where fewer than two are given, or all are 0: there is no trend.
    """
    if len(values) < 2 or not any(values):
        return ""
    size = -(-len(values) // most)
    first = len(values) % size  # the newest bucket is a whole one
    starts = range(first - size if first else 0, len(values), size)
    sums = [sum(values[max(start, 0) : start + size]) for start in starts]
    highest = max(sums)
    # What is not nothing shows, however small: the lowest bar is for nothing at all.
    return "".join(_LEVELS[-(-each * (len(_LEVELS) - 1) // highest)] for each in sums)


def bar(share: float, width: int = _BAR_WIDTH) -> str:
    """How far something is spent: `━━━━──────`. Full only where all of it is."""
    spent = int(min(max(share, 0), 1) * width)
    return _SPENT * spent + _LEFT * (width - spent)


def bar_style(share: float) -> str:
    """Green, yellow from four fifths on, red above the whole."""
    if share > 1:
        return "red"
    return "yellow" if share >= 0.8 else "green"
