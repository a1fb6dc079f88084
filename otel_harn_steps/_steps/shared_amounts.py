"""What the processes of a run count together: amounts, the limits of their sum, and what became of a reservation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from otel_harn_steps._cost.money import to_picousd


class Amount(NamedTuple):
    """What calls spend, or may spend: integers, so that sums are exact."""

    input_tokens: int = 0
    output_tokens: int = 0
    picousd: int = 0
    calls: int = 0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    def minus(self, other: Amount) -> Amount:
        """This amount without another one that it holds."""
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3])


NO_AMOUNT = Amount()


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """What all processes of a run may spend together. None: no limit. Reaching a limit exactly is fine."""

    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_picousd: int | None = None
    max_calls: int | None = None

    @classmethod
    def of(cls, budget: Mapping[str, float]) -> SharedLimits:
        """The limits of a run's budget, as `RunTerms` has it: dollars in `max_usd`. Its time is not counted here."""
        counts = ("max_tokens", "max_input_tokens", "max_output_tokens", "max_calls")
        limits = {name: int(budget[name]) for name in counts if name in budget}
        return cls(**limits, max_picousd=to_picousd(budget.get("max_usd")))

    def crossed_by(self, amount: Amount) -> str | None:
        """The name of the first limit that the amount crosses, as a step's budget calls it: `max_tokens`, `max_usd`."""
        for name, limit, counted in (
            ("max_tokens", self.max_tokens, amount.tokens),
            ("max_input_tokens", self.max_input_tokens, amount.input_tokens),
            ("max_output_tokens", self.max_output_tokens, amount.output_tokens),
            ("max_usd", self.max_picousd, amount.picousd),
            ("max_calls", self.max_calls, amount.calls),
        ):
            if limit is not None and counted > limit:
                return name
        return None


class Totals(NamedTuple):
    """What all processes of a run have spent and reserved.

    Attributes:
        spent: what settled.
        reserved: what calls in flight may spend, those of killed processes included until they come back.
        ended_by: the first limit that ended the run. None: it goes on.
        refused: how many calls were refused after that.
    """

    spent: Amount
    reserved: Amount
    ended_by: str | None
    refused: int


class Reserved(NamedTuple):
    """What became of a reservation.

    Attributes:
        lease: what to settle or release it by. None: nothing is reserved.
        crossed: the limit that it would have crossed. None: it fits, and is reserved.
        fits_later: whether it would fit if all that is in flight came back. False once the run has ended.
        spent: what all processes have spent.
        reserved: what all processes have reserved, this reservation included.
    """

    lease: int | None
    crossed: str | None
    fits_later: bool
    spent: Amount
    reserved: Amount
