"""The numbers of the overview, in one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from otel_harn_steps.store import Store, to_json
from otel_harn_steps.store._reports import series_of
from otel_harn_steps.store._views import Filter

MOST_RUNS: Final = 200
MOST_BREACHES: Final = 20
MOST_CHOICES: Final = 200
MOST_DAMAGED: Final = 5
_HALF_A_DAY_NS: Final = 12 * 3600 * 10**9


def overview(store: Store, asked: Filter, *, order: Literal["newest", "cost"] = "newest") -> dict[str, Any]:
    """The numbers that the overview cannot do without, in plain JSON values.

    `any` says whether the store has a run at all.
    """
    runs = store.runs(asked, order=order, limit=MOST_RUNS)
    steps = store.report("step", asked)
    return {
        "now": time.time_ns(),
        "any": bool(runs) or bool(store.runs(limit=1)),
        "steps": to_json(steps),
        "series": to_json(series_of(steps)),
        "runs": to_json(runs),
        "damaged": [str(each) for each in store.damaged[:MOST_DAMAGED]],
    }


def context(store: Store, asked: Filter) -> dict[str, Any]:
    """What stands around these numbers, and may come after them: a big store takes its time for it.

    `runs_trend` is of the buckets of the report.
    """
    models = store.report("model", asked)
    return {
        "models": to_json(models),
        "runs_trend": runs_by_bucket(store, asked, models.buckets),
        "breaches": to_json(store.breaches(asked, MOST_BREACHES)),
    }


def order_of(text: str | None) -> Literal["newest", "cost"]:
    """The order of runs that an address asks for.

    Raises:
        ValueError: there is no such order.
    """
    if text in (None, "newest"):
        return "newest"
    if text == "cost":
        return "cost"
    raise ValueError(f"order must be newest or cost, not {text!r}")


def choices(store: Store, asked: Filter) -> Mapping[str, list[str]]:
    """The programs, steps and models of the filter's period, the most expensive first: what it may be set to."""
    period = Filter(since=asked.since, until=asked.until)
    return {
        by: [row.key for row in store.report(by, period).rows if row.key][:MOST_CHOICES]
        for by in ("program", "step", "model")
    }


def runs_by_bucket(store: Store, asked: Filter, buckets: Sequence[int]) -> list[int]:
    """How many runs there are in each bucket of a report. Empty where the buckets are hours."""
    if len(buckets) < 2 or buckets[1] - buckets[0] < _HALF_A_DAY_NS:
        return []
    days = store.runs_by("day", asked)
    # The middle of a bucket: its beginning may be an hour off where the clocks have changed.
    return [days.get(_day(each + _HALF_A_DAY_NS), 0) for each in buckets]


def _day(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at_ns // 10**9))


def zone() -> dict[str, Any]:
    """The time zone of this machine: its name, and what it adds to UTC now, in seconds."""
    local = time.localtime()
    return {"name": local.tm_zone, "offset_s": local.tm_gmtoff}
