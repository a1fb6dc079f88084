"""What calls spent: one finished call, and the totals of many."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._cost.values import value

COUNTERS: Final = (
    "input_tokens",
    "output_tokens",
    "llm_calls",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "unpriced_calls",
    "unmetered_calls",
    "observed_calls",
)
"""The integers that are counted of calls. Totals, the step's span, the record and its JSON have them by these names."""

SUBTREE_COUNTERS: Final = ("input_tokens", "output_tokens", "llm_calls")
"""Those of them that are shown with all nested steps as well, as `total_NAME`."""


@value
class ModelCall:
    """One finished call, ready to be billed.

    `usage` is None where the provider reported none (an unmetered call), `cost_picousd` where the price is unknown.
    """

    provider: str
    model: str | None
    usage: Usage | None
    cost_picousd: int | None = None


class Tally:
    """What some calls spent together. The lock of the step that it belongs to guards it."""

    __slots__ = (*COUNTERS, "cost_picousd")

    input_tokens: int
    output_tokens: int
    llm_calls: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    unpriced_calls: int
    unmetered_calls: int
    observed_calls: int
    cost_picousd: int

    def __init__(self) -> None:
        self.input_tokens = self.output_tokens = self.llm_calls = self.cost_picousd = 0
        self.cache_read_tokens = self.cache_write_tokens = self.reasoning_tokens = 0
        self.unpriced_calls = self.unmetered_calls = self.observed_calls = 0

    def add(self, call: ModelCall) -> None:
        """Count one call."""
        self.llm_calls += 1
        usage = call.usage
        if call.cost_picousd is not None:
            self.cost_picousd += call.cost_picousd
        elif usage is not None:
            self.unpriced_calls += 1
        if usage is None or not usage.is_complete:
            self.unmetered_calls += 1
        if usage is None:
            return
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        self.cache_read_tokens += usage.cache_read_tokens
        self.cache_write_tokens += usage.cache_write_tokens
        self.reasoning_tokens += usage.reasoning_tokens
