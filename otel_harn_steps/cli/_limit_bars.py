"""How far the limits of steps and runs are spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.cli._bars import bar, bar_style
from otel_harn_steps.cli._spend_text import spent_picousd
from otel_harn_steps.cli._text_table import Cell
from otel_harn_steps.store import Spend, StepRun
from otel_harn_steps.store._numbers import dollars, duration, percent

_MICRO: Final = 10**6


class SpentLimit(NamedTuple):
    """A limit, and what is spent of it.

    Attributes:
        name: as in a budget: `max_usd`.
        spent, allowed: as text, with the unit.
        share: spent by allowed; infinite where nothing is allowed and something is spent.
        is_bound: whether it is not known what is spent, but that it is no more than this.
    """

    name: str
    spent: str
    allowed: str
    share: float
    is_bound: bool = False

    @property
    def text(self) -> str:
        """`$0.0379 of $0.50`."""
        return f"{self.spent} of {self.allowed}"

    @property
    def cell(self) -> Cell:
        """A bar and the share: `━━━━━━──── 62 % of $0.50`."""
        share = "over" if self.share == float("inf") else percent(round(self.share * _MICRO), _MICRO)
        return Cell(
            f"{bar(self.share)} {'≤ ' if self.is_bound else ''}{share} of {self.allowed}", style=bar_style(self.share)
        )


def spent_limits(limits: Mapping[str, Any], spend: Spend, duration_s: float | None = None) -> Iterator[SpentLimit]:
    """How far each limit is spent. Limits that are not known here are left out."""
    usd, max_usd = spent_picousd(spend), to_picousd(limits.get("max_usd"))
    if max_usd is not None:
        yield _of("max_usd", usd, max_usd, dollars(usd), _round_dollars(max_usd))
    tokens = spend.input_tokens + spend.output_tokens + spend.estimated_tokens
    counts = {"max_tokens": tokens, "max_calls": spend.calls}
    for name, spent in counts.items():
        allowed = _number(limits.get(name))
        if allowed is not None:
            yield _of(name, spent, allowed, f"{spent:,}", f"{allowed:,.0f} {name.removeprefix('max_')}")
    seconds = _number(limits.get("max_seconds"))
    if seconds is not None and duration_s is not None:
        yield _of("max_seconds", duration_s, seconds, duration(duration_s), duration(seconds))


def tightest(step: StepRun) -> SpentLimit | None:
    """The limit of a run of a step that is spent furthest. None: it has none.

    A limit covers the step's own calls, or those of the steps below it too: what is kept of a step does not say which.
    It is known where both have spent the same, and where only one of them fits what became of the step.
    """
    own = max(spent_limits(step.limits, step.own), key=lambda limit: limit.share, default=None)
    total = max(spent_limits(step.limits, step.total), key=lambda limit: limit.share, default=None)
    if own is None or total is None or own.share == total.share:
        return own
    if total.share > 1 >= own.share:  # above the limit, with the steps below it alone
        return total if step.breach == total.name else own
    return own if own.share > 1 else total._replace(is_bound=True)


def breached_limit(step: StepRun) -> SpentLimit | None:
    """The limit that a run of a step has crossed, and what was spent of it. None: none, or it is not known."""
    for spend in (step.own, step.total):
        for limit in spent_limits(step.limits, spend):
            if limit.name == step.breach and limit.share > 1:
                return limit
    return None


def _of(name: str, spent: float, allowed: float, spent_text: str, allowed_text: str) -> SpentLimit:
    share = spent / allowed if allowed else float("inf") if spent else 0.0
    return SpentLimit(name, spent_text, allowed_text, share)


def _round_dollars(picousd: int) -> str:
    """`$0.50`, as people write a limit down."""
    whole, point, decimals = dollars(picousd).partition(".")
    return whole + point + decimals[:2] + decimals[2:].rstrip("0")


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
