"""Sums of several calls, as one row for each of them, where it is not known what each has spent.

A row is one call. So the rows of a sum are as many as its calls, and each has an equal share of what they have spent
together: every sum over the rows is that of the record, exactly, and no row says what its call has spent. Their
operation is "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from otel_harn_steps._calls.client import UNKNOWN_OPERATION
from otel_harn_steps._telemetry.call_row import CallRow, Certainty
from otel_harn_steps.store._lines import MOST
from otel_harn_steps.store.imports._lines import stable_id

_MOST_CALLS: Final = 100_000
"""Of one step in one run with one model. Each becomes a row."""


@dataclass(slots=True)
class Sum:
    """What several calls have spent together. The fields are those of a `ModelSpend`; dollars are in pico-dollars."""

    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_picousd: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    observed_calls: int = 0
    estimated_tokens: int = 0
    estimated_cost_picousd: int = 0

    def add(self, other: Sum, sign: int = 1) -> None:
        """Add another, or take it off with a sign of -1."""
        for each in fields(Sum):
            setattr(self, each.name, getattr(self, each.name) + sign * getattr(other, each.name))

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing in it."""
        return self == Sum()

    @property
    def is_possible(self) -> bool:
        """Whether there are calls that have spent this: none have spent nothing."""
        counts = [getattr(self, each.name) for each in fields(Sum)]
        most = max(self.unpriced_calls, self.unmetered_calls, self.observed_calls)
        is_sane = self.llm_calls <= _MOST_CALLS and max(counts) <= MOST
        one_is_complete = self.llm_calls == 1 and self.input_tokens > 0 and self.output_tokens > 0
        return (
            is_sane
            and min(counts) >= 0
            and most <= self.llm_calls
            and (self.llm_calls > 0 or self.is_nothing)
            and not (self.cost_picousd and self.unpriced_calls == self.llm_calls)
            and not (one_is_complete and self.unmetered_calls)
        )


def rows_of(spent: Sum, like: CallRow, source: str) -> Iterator[CallRow]:
    """A row for each of the calls of a sum.

    Args:
        spent: the sum, which is possible.
        like: a row with what they have in common. The price book is that of those that have a price.
        source: what the sum is the only one of, for the ids of the rows.
    """
    where = _Places(spent)
    common = like.to_dict() | {"operation": UNKNOWN_OPERATION, "outcome": "answered"}
    shares = {name: _shared(getattr(spent, name), rows) for name, rows in where.of.items()}
    for number in range(spent.llm_calls):
        values: dict[str, Any] = {
            name: share.get(number, None if name in _MAY_BE_UNKNOWN else 0) for name, share in shares.items()
        }
        has_price = values["cost_picousd"] is not None
        certainty = _certainty(values, is_observed=number < spent.observed_calls)
        values |= {"call_id": stable_id(source, str(number)), "certainty": certainty}
        yield CallRow(**common | values | {"price_book": like.price_book if has_price else None})


_MAY_BE_UNKNOWN: Final = frozenset({"input_tokens", "output_tokens", "cost_picousd"})


class _Places:
    """Which rows have a part of what. Of a sum's calls, first come those without a price, last those without usage.

    As few calls as can be are both without a price and without one side of their usage.
    """

    def __init__(self, spent: Sum) -> None:
        calls, last = spent.llm_calls, spent.llm_calls - 1
        one_sided = max(0, spent.unpriced_calls + spent.unmetered_calls - calls)  # and these have no price
        metered = calls - spent.unmetered_calls + one_sided
        inputs, outputs = set(range(metered)), set(range(metered - one_sided))
        if spent.input_tokens and not inputs:
            inputs = {0}
        if spent.output_tokens and not outputs:
            outputs = {last}
            if len(inputs) > 1 or not spent.input_tokens:
                inputs.discard(last)
        used = (inputs | outputs) - set(range(spent.unpriced_calls))
        unused = set(range(metered, calls)) if spent.cost_picousd else set[int]()
        without_usage, without_price = range(metered - one_sided, calls), range(spent.unpriced_calls)
        doubtful = set(without_usage or without_price or range(calls))
        self.of: dict[str, list[int]] = {
            "input_tokens": sorted(inputs),
            "cache_read_tokens": sorted(inputs) or [0],
            "cache_write_tokens": sorted(inputs) or [0],
            "output_tokens": sorted(outputs),
            "reasoning_tokens": sorted(outputs) or [0],
            "cost_picousd": sorted(used or unused),
            "estimated_tokens": sorted(doubtful),
            "estimated_cost_picousd": sorted(doubtful),
        }


def _shared(amount: int, rows: list[int]) -> dict[int, int]:
    """`amount` in equal parts, by row; the first ones have the rest."""
    part, rest = divmod(amount, len(rows) or 1)
    return {row: part + (number < rest) for number, row in enumerate(rows)}


def _certainty(values: Mapping[str, Any], *, is_observed: bool) -> Certainty:
    if values["estimated_tokens"] or values["estimated_cost_picousd"]:
        return "estimated"
    if values["input_tokens"] is None or values["output_tokens"] is None:
        return "unknown"
    return "observed" if is_observed else "measured"
