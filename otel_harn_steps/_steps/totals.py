"""What calls spent: one finished call, and the totals of many."""

from __future__ import annotations

from operator import add, sub
from typing import Final, NamedTuple

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
"""The integers that are counted of calls. Totals, the step's span, the record and its JSON have them by these names.

A tally begins with them, in this order.
"""

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
        cache_savings_picousd: what reading from a cache saved. None where nothing was read from one, or it is unknown.
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
    cache_savings_picousd: int | None = None

    @property
    def budget_picousd(self) -> int:
        """What a limit of dollars looks at: what is known, and what is estimated."""
        return (self.cost_picousd or 0) + self.estimated_picousd


class Tally(NamedTuple):
    """What some calls spent together. A value: an account replaces its tallies, so that none is seen half counted."""

    input_tokens: int = 0
    output_tokens: int = 0
    llm_calls: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    observed_calls: int = 0
    estimated_tokens: int = 0
    cost_picousd: int = 0
    estimated_picousd: int = 0

    @classmethod
    def of(cls, call: ModelCall, *, replaces: ModelCall | None = None) -> Tally:
        """What one call adds to totals that hold `replaces` of it already."""
        usage, cost = call.usage, call.cost_picousd
        known = NO_USAGE if usage is None else usage
        input_tokens, output_tokens = known.input_tokens, known.output_tokens
        # Quicker than `Tally(...)`, here and below: this is done at every call.
        added = tuple.__new__(
            cls,
            (
                input_tokens or 0,
                output_tokens or 0,
                1,
                known.cache_read_tokens,
                known.cache_write_tokens,
                known.reasoning_tokens,
                1 if usage is not None and cost is None else 0,
                1 if input_tokens is None or output_tokens is None else 0,
                0,
                call.estimated_tokens,
                cost or 0,
                call.estimated_picousd,
            ),
        )
        return added if replaces is None else added.minus(cls.of(replaces))

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return other if self is NOTHING else tuple.__new__(Tally, map(add, self, other))

    def minus(self, other: Tally) -> Tally:
        """These totals without others that they hold."""
        return tuple.__new__(Tally, map(sub, self, other))

    @property
    def budget_tokens(self) -> int:
        """What a limit of tokens looks at: measured and estimated."""
        return self.input_tokens + self.output_tokens + self.estimated_tokens

    @property
    def budget_input_tokens(self) -> int:
        """What a limit of input tokens looks at. An estimate is not told apart: all of it may be input."""
        return self.input_tokens + self.estimated_tokens

    @property
    def budget_output_tokens(self) -> int:
        """What a limit of output tokens looks at. All of an estimate may be output."""
        return self.output_tokens + self.estimated_tokens

    @property
    def budget_picousd(self) -> int:
        """What a limit of dollars looks at: measured and estimated."""
        return self.cost_picousd + self.estimated_picousd


NOTHING: Final = Tally()
OBSERVED: Final = Tally(observed_calls=1)
"""What a call that another instrumentation's span reported is, beside what it spent."""
NO_USAGE: Final = Usage(None, None)
