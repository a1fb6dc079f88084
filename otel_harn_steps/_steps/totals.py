"""What calls spent: one finished call, and the totals of many."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage
from otel_harn_steps._cost.values import value
from otel_harn_steps._telemetry.call_row import Certainty

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
    "estimated_tokens",
)
"""The integers that are counted of calls. Totals, the step's span, the record and its JSON have them by these names."""

SUBTREE_COUNTERS: Final = ("input_tokens", "output_tokens", "llm_calls")
"""Those of them that are shown with all nested steps as well, as `total_NAME`."""


@value
class ModelCall:
    """One finished call, ready to be billed.

    Attributes:
        provider: who bills it.
        model: the model that answered, else the one that was asked for.
        usage: None where the provider reported none (an unmetered call).
        cost_picousd: None where the price is unknown.
        estimated_tokens: what a budget assumes it used beyond `usage`.
        estimated_picousd: what a budget assumes it cost beyond `cost_picousd`.
        certainty: where the numbers are from.
        price_book: where the price is from, and its version.
        terms: what else decided the price.
    """

    provider: str
    model: str | None
    usage: Usage | None
    cost_picousd: int | None = None
    estimated_tokens: int = 0
    estimated_picousd: int = 0
    certainty: Certainty = "measured"
    price_book: str | None = None
    terms: Terms = LIST_PRICE


class Tally:
    """What some calls spent together. The lock of the step that it belongs to guards it."""

    __slots__ = (*COUNTERS, "cost_picousd", "estimated_picousd")

    input_tokens: int
    output_tokens: int
    llm_calls: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    unpriced_calls: int
    unmetered_calls: int
    observed_calls: int
    estimated_tokens: int
    cost_picousd: int
    estimated_picousd: int

    def __init__(self) -> None:
        self.estimated_tokens = self.estimated_picousd = 0
        self.input_tokens = self.output_tokens = self.llm_calls = self.cost_picousd = 0
        self.cache_read_tokens = self.cache_write_tokens = self.reasoning_tokens = 0
        self.unpriced_calls = self.unmetered_calls = self.observed_calls = 0

    @classmethod
    def of(cls, call: ModelCall, *, replaces: ModelCall | None = None) -> Tally:
        """What one call adds to totals that hold `replaces` of it already."""
        tally = cls()
        tally.add(call)
        if replaces is not None:
            tally.remove(replaces)
        return tally

    def remove(self, call: ModelCall) -> None:
        """Take out a call that was counted."""
        counted = Tally.of(call)
        for name in Tally.__slots__:
            setattr(self, name, getattr(self, name) - getattr(counted, name))

    @property
    def budget_tokens(self) -> int:
        """What a limit of tokens looks at: measured and estimated."""
        return self.input_tokens + self.output_tokens + self.estimated_tokens

    @property
    def budget_picousd(self) -> int:
        """What a limit of dollars looks at: measured and estimated."""
        return self.cost_picousd + self.estimated_picousd

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
        if call.estimated_tokens or call.estimated_picousd:
            self.estimated_tokens += call.estimated_tokens
            self.estimated_picousd += call.estimated_picousd
        if usage is None:
            return
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        self.cache_read_tokens += usage.cache_read_tokens
        self.cache_write_tokens += usage.cache_write_tokens
        self.reasoning_tokens += usage.reasoning_tokens
