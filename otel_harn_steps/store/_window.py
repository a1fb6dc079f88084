"""What is spent in a sliding window, and whether that is too much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps.store._history import budget_picousd


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was spent in the calls that were sent in a window.

    Attributes:
        since, until: nanoseconds since the epoch, from and to.
        limit_picousd: what may be spent in it.
        spent_picousd: measured and estimated together; `estimated_picousd` is the estimated part.
        calls: those that were billed; of them, `unknown_calls` have neither a cost nor an estimate.
        open_calls: those in flight, whose cost is not known yet.
        steps: what each step has spent in its own calls, the most expensive first.
    """

    since: int
    until: int
    limit_picousd: int
    spent_picousd: int
    estimated_picousd: int
    calls: int
    unknown_calls: int
    open_calls: int
    steps: tuple[tuple[str, int], ...]

    @property
    def is_over(self) -> bool:
        """Whether more was spent than may be. Reaching the limit exactly is fine."""
        return self.spent_picousd > self.limit_picousd


def window_of(rows: Iterable[CallRow], since: int, until: int, limit_picousd: int) -> Window:
    """Add up the calls that were sent in a window."""
    steps: dict[str, int] = defaultdict(int)
    spent = estimated = calls = unknown = opened = 0
    for row in rows:
        if not since <= row.sent_at <= until:
            continue
        if row.outcome not in BILLED:
            opened += row.outcome == "open"
            continue
        cost = budget_picousd(row)
        steps[NO_STEP if row.step_id is None else row.step] += cost
        spent += cost
        estimated += row.estimated_cost_picousd
        calls += 1
        unknown += row.cost_picousd is None and not row.estimated_cost_picousd
    return Window(
        since=since,
        until=until,
        limit_picousd=limit_picousd,
        spent_picousd=spent,
        estimated_picousd=estimated,
        calls=calls,
        unknown_calls=unknown,
        open_calls=opened,
        steps=tuple(sorted(steps.items(), key=lambda each: (-each[1], each[0]))),
    )
