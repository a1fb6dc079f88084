"""Reports as frames of pandas and polars, whichever is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store import Report, Spend, StepRun

_COUNTS: Final = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "unpriced_calls", "unmetered_calls", "unknown_calls", "estimated_tokens",
)  # fmt: skip


def library(name: str) -> Any:
    """The library of that name.

    Raises:
        ImportError: it is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"a frame of {name} needs {name}: pip install {name}", name=name) from error


def columns_of_rows(report: Report) -> dict[str, list[Any]]:
    """The rows of a report: costs in US dollars, None where they are unknown."""
    of_steps: _Getters = {"entered": lambda row: row.entered, "total_cost_usd": lambda row: row.total.cost_usd}
    return _columns(
        report.rows,
        {
            report.by: lambda row: row.name or None,
            "runs": lambda row: row.runs,
            **(of_steps if all(row.total is not None for row in report.rows) else {}),
            **_of_spend(lambda row: row.spend),
            "p50_cost_usd": lambda row: _usd(row.costs.p50_picousd),
            "p95_cost_usd": lambda row: _usd(row.costs.p95_picousd),
            "wasted_usd": lambda row: to_usd(row.wasted_picousd),
            "breached": lambda row: row.breached,
        },
    )


def columns_of_step_runs(runs: Iterable[StepRun]) -> dict[str, list[Any]]:
    """One row for each run of a step."""
    plain = ("step_id", "run_id", "parent_id", "name", "path", "agent", "detail", "status", "breach", "error")
    return _columns(
        runs,
        {
            **{name: _attribute(name) for name in plain},
            "labels": lambda run: json.dumps(dict(run.labels), sort_keys=True),
            "started_at": lambda run: _time(run.started_at),
            "duration_s": lambda run: _seconds(run.started_at, run.ended_at),
            **_of_spend(lambda run: run.own),
            "total_calls": lambda run: run.total.calls,
            "total_cost_usd": lambda run: run.total.cost_usd,
        },
    )


def columns_of_calls(calls: Iterable[CallRow]) -> dict[str, list[Any]]:
    """One row for each call, also those that were not billed."""
    plain = (
        "call_id", "run_id", "step_id", "step", "path", "agent", "provider", "operation", "requested_model", "model",
        "outcome", "certainty", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "reasoning_tokens", "estimated_tokens", "price_book",
    )  # fmt: skip
    return _columns(
        calls,
        {
            **{name: _attribute(name) for name in plain},
            "labels": lambda row: json.dumps(dict(row.labels), sort_keys=True),
            "sent_at": lambda row: _time(row.sent_at),
            "duration_s": lambda row: None if row.duration_ns is None else row.duration_ns / 1e9,
            "cost_usd": lambda row: _usd(row.cost_picousd),
            "estimated_cost_usd": lambda row: to_usd(row.estimated_cost_picousd),
        },
    )


_Getters = dict[str, Callable[[Any], Any]]


def _columns(rows: Iterable[Any], getters: _Getters) -> dict[str, list[Any]]:
    kept = list(rows)
    return {name: [get(row) for row in kept] for name, get in getters.items()}


def _of_spend(spend_of: Callable[[Any], Spend]) -> _Getters:
    def count(name: str) -> Callable[[Any], Any]:
        return lambda row: getattr(spend_of(row), name)

    return {
        "cost_usd": lambda row: spend_of(row).cost_usd,
        "estimated_cost_usd": lambda row: to_usd(spend_of(row).estimated_cost_picousd),
        **{name: count(name) for name in _COUNTS},
    }


def _attribute(name: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, name)


def _usd(picousd: int | None) -> float | None:
    return None if picousd is None else to_usd(picousd)


def _time(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at / 1e9, UTC)


def _seconds(began: int | None, ended: int | None) -> float | None:
    return None if began is None or ended is None else (ended - began) / 1e9
