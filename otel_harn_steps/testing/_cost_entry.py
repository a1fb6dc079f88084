"""What the steps of a test have cost, as it stands in a cost snapshot: names, counts and exact dollars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otel_harn_steps._cost.money import to_exact_usd
from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.testing._capture import CapturedSteps, spend_of

Entry = dict[str, Any]
"""`{"price_book": ..., "steps": {path: {"runs": {status: count}, "models": {model: {"calls": ..., ...}}}}}`."""

TOKENS: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
UNKNOWN: Final = ("unpriced_calls", "unmetered_calls")
NOT_BILLED: Final = ("failed", "refused")
"""Outcomes of calls that cost nothing, and that are counted for each step."""


def entry_of(captured: CapturedSteps) -> Entry:
    """What a block has cost: the same for the same steps and calls, in whatever order and time they ran."""
    calls = captured.calls
    books = sorted({row.price_book for row in calls if row.price_book})
    paths = sorted({each.path for each in captured.started} | {row.path for row in calls})
    return {
        "price_book": ", ".join(books) or None,
        "steps": {
            path or NO_STEP: _step(
                [each for each in captured.records if each.path == path],
                [row for row in calls if row.path == path],
            )
            for path in paths
        },
    }


def _step(records: Iterable[CompletedStep], calls: Iterable[CallRow]) -> Entry:
    runs = Counter(each.status for each in records if each.amends is None)
    not_billed = Counter(row.outcome for row in calls if row.outcome in NOT_BILLED)
    models: dict[str, list[CallRow]] = {}
    for row in calls:
        if row.outcome in BILLED:
            models.setdefault(_model(row), []).append(row)
    return {
        "runs": dict(sorted(runs.items())),
        **dict(sorted(not_billed.items())),
        "models": {model: dict(_numbers(rows)) for model, rows in sorted(models.items())},
    }


def _model(row: CallRow) -> str:
    """Who was called, and what else decides the price: "openai gpt-5 (service_tier=flex)"."""
    terms = ", ".join(f"{name}={value}" for name, value in sorted(row.terms.items()))
    return f"{row.provider} {row.model or row.requested_model or 'no model'}{f' ({terms})' if terms else ''}"


def _numbers(rows: list[CallRow]) -> Iterator[tuple[str, Any]]:
    spend = spend_of(rows)
    yield "calls", spend.calls
    for name in TOKENS:
        if getattr(spend, name) or name in ("input_tokens", "output_tokens"):
            yield name, getattr(spend, name)
    details: Counter[str] = Counter()
    for row in rows:
        details.update(row.details)
    yield from sorted(details.items())
    for name in (*UNKNOWN, "estimated_tokens"):
        if getattr(spend, name):
            yield name, getattr(spend, name)
    yield "cost_usd", exact_usd(spend.cost_picousd) if spend.priced_calls else None
    if spend.estimated_cost_picousd:
        yield "estimated_cost_usd", exact_usd(spend.estimated_cost_picousd)


def exact_usd(picousd: int) -> str:
    """All digits, never in the form with an exponent."""
    return f"{to_exact_usd(picousd):f}"


def is_entry(value: object) -> bool:
    """Whether what stands in a file has the form of an entry."""
    if not isinstance(value, Mapping) or not isinstance(value.get("steps"), Mapping):
        return False
    steps = value["steps"].values()
    return all(
        isinstance(step, Mapping)
        and isinstance(step.get("runs"), Mapping)
        and isinstance(step.get("models"), Mapping)
        and all(isinstance(numbers, Mapping) and "calls" in numbers for numbers in step["models"].values())
        for step in steps
    )
