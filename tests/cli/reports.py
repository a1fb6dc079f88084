"""Views of a store, made by hand: for how they are shown."""

from __future__ import annotations

from typing import Any

from otel_harn_steps.store import Costs, Filter, Report, Row, Spend

USD = 10**12
"""Pico-dollars of a dollar."""


def spend(usd: float = 0.0, calls: int = 1, **fields: Any) -> Spend:
    """What some calls have spent, all of it measured."""
    known = {"cost_picousd": round(usd * USD), "calls": calls, "priced_calls": calls}
    return Spend(**({"input_tokens": 100 * calls, "output_tokens": 20 * calls} | known | fields))


def row(name: str, usd: float = 0.01, calls: int = 1, **fields: Any) -> Row:
    """A row of a report by step."""
    costs = Costs(p50_picousd=round(usd * USD), p95_picousd=round(2 * usd * USD))
    known = {"key": name, "spend": spend(usd, calls), "runs": 1, "entered": 1, "costs": costs}
    return Row(name=name, **(known | fields))


def report(*rows: Row, by: str = "step", **fields: Any) -> Report:
    """A report of these rows."""
    total = Spend()
    for each in rows:
        total.add(each.spend)
    return Report(by=by, rows=rows, **({"filter": Filter(), "total": total, "runs": 1} | fields))
