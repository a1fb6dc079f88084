"""What a budget is to let through, said again as plainly as it can be: for machines that hold the package against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import sub
from typing import Any, Final, NamedTuple

from otel_harn_steps import Budget
from otel_harn_steps._cost.money import to_picousd
from tests.provider import INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK

INPUT_PICOUSD, OUTPUT_PICOUSD = INPUT_USD_PER_MTOK * 10**6, OUTPUT_USD_PER_MTOK * 10**6
OFF_BY: Final = 6
"""By how many input tokens the machines let the estimate of a call be wrong."""
_OF_OUTPUT: Final = {"max_tokens", "max_usd", "max_output_tokens", "max_cost_per_call"}


class Amount(NamedTuple):
    """What calls spend, or may spend.

    Attributes:
        estimated: tokens of which nobody knows whether they are input or output. Their price is in `picousd`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    picousd: int = 0
    calls: int = 0
    estimated: int = 0

    def plus(self, *others: Amount) -> Amount:
        """All of them together."""
        return Amount(*map(sum, zip(self, *others, strict=True)))

    def minus(self, other: Amount) -> Amount:
        """This without another, which may be more."""
        return Amount(*map(sub, self, other))

    def crosses(self, budget: Budget) -> str | None:
        """The first limit that it is beyond."""
        for name, counted in (
            ("max_tokens", self.input_tokens + self.output_tokens + self.estimated),
            ("max_usd", self.picousd),
            ("max_input_tokens", self.input_tokens + self.estimated),
            ("max_output_tokens", self.output_tokens + self.estimated),
            ("max_calls", self.calls),
        ):
            most = getattr(budget, name)
            if most is not None and counted > (to_picousd(most) if name == "max_usd" else most):
                return name
        return None


def amount_of(input_tokens: int, output_tokens: int) -> Amount:
    """What a call of so many tokens spends."""
    return Amount(input_tokens, output_tokens, input_tokens * INPUT_PICOUSD + output_tokens * OUTPUT_PICOUSD, 1)


NOTHING: Final = Amount()


class Verdict(NamedTuple):
    """What is to become of a call: "sent", "refused", or it "waits" for the room of `by`.

    Attributes:
        cap: the maximum of output tokens with which it is sent.
        by: whose budget does not let it be sent.
        limit: the limit that has no room for it. None: it is exhausted.
        is_contended: whether it would be sent if no other were in flight.
        holds: what is held for it.
    """

    word: str
    cap: int
    by: ModelStep | None = None
    limit: str | None = None
    is_contended: bool = False
    holds: Amount = NOTHING


@dataclass(eq=False)
class ModelStep:
    """A step, or what stands for it: what is spent, what is held, and by what it is exhausted."""

    budget: Budget
    scope: str
    above: ModelStep | None
    is_living: bool = True
    own: Amount = NOTHING
    subtree: Amount = NOTHING
    last_input: int = 0
    exhausted_by: str | None = None
    overpaid_picousd: int = 0
    held: dict[Any, Amount] = field(default_factory=dict)

    @property
    def spent(self) -> Amount:
        """What its budget looks at."""
        return self.subtree if self.scope == "tree" else self.own

    @property
    def reserves(self) -> bool:
        return self.budget.preflight == "reserve"

    def lineage(self) -> Iterator[ModelStep]:
        """This step and those around it."""
        each: ModelStep | None = self
        while each is not None:
            yield each
            each = each.above

    def covering(self) -> list[ModelStep]:
        """The living steps whose budgets look at what this one spends, this one first."""
        covers = [each for each in self.lineage() if each is self or each.scope == "tree"]
        return [each for each in covers if each.is_living and each.budget.is_limited]

    @property
    def is_counted(self) -> bool:
        """Whether there is a budget, of a living step or not, that looks at what this one spends."""
        return any(each.budget.is_limited for each in self.lineage() if each is self or each.scope == "tree")

    # -- before a call -------------------------------------------------------------------------------------------------

    def admit(self, cap: int, estimate: int, *, may_wait: bool = True) -> Verdict:
        """What is to become of a call of this step."""
        covering = self.covering()
        for each in covering:
            if each.exhausted_by is not None:
                return Verdict("refused", cap, each)
        asked = Amount(calls=1)
        if any(each.reserves for each in covering):
            input_tokens = max(estimate, self.last_input)
            for each in covering:
                cap = each.capped(amount_of(input_tokens, cap))
            asked = amount_of(input_tokens, cap)
        waiting: Verdict | None = None
        for each in covering:
            limit = each.lacks(asked, each.held)
            if limit is None:
                continue
            is_contended = bool(each.held) and each.lacks(asked, {}) is None
            if not (is_contended and may_wait and each.budget.on_contention == "wait"):
                return Verdict("refused", cap, each, limit, is_contended)
            waiting = waiting or Verdict("waits", cap, each, limit, is_contended)
        return waiting or Verdict("sent", cap, holds=asked)

    def lacks(self, asked: Amount, held: dict[Any, Amount]) -> str | None:
        """The limit that has no room for a call, next to what others hold."""
        would_be = self.spent.plus(*held.values(), asked)
        if self.budget.max_calls is not None and would_be.calls > self.budget.max_calls:
            return "max_calls"
        if not self.reserves:
            return None
        return "max_cost_per_call" if self._overpays(asked) else would_be.crosses(self.budget)

    def capped(self, asked: Amount) -> int:
        """The output tokens that a call is let have."""
        most = asked.output_tokens
        if not self.budget.cap_output or self.lacks(asked, self.held) not in _OF_OUTPUT:
            return most
        fitting = [tokens for tokens in range(1, most) if self._has_room(amount_of(asked.input_tokens, tokens))]
        return max(fitting, default=most)

    def _has_room(self, asked: Amount) -> bool:
        would_be = self.spent.plus(*self.held.values(), asked)
        return not self._overpays(asked) and would_be.crosses(self.budget) is None

    def _overpays(self, call: Amount) -> bool:
        most = to_picousd(self.budget.max_cost_per_call)
        return most is not None and call.picousd > most

    def refused(self, verdict: Verdict) -> None:
        """A call was refused: where there is no call left, none ever will be."""
        if verdict.by is not None and verdict.limit == "max_calls" and not verdict.is_contended:
            verdict.by.exhausted_by = verdict.by.exhausted_by or "max_calls"

    # -- after a call --------------------------------------------------------------------------------------------------

    def settle(self, spent: Amount) -> bool:
        """Count a call of this step. Whether a living step is exhausted then."""
        raises = False
        self.own = self.own.plus(spent)
        for each in self.lineage():
            each.subtree = each.subtree.plus(spent)
            if not each.budget.is_limited or (each is not self and each.scope != "tree"):
                continue
            limit = each.spent.crosses(each.budget) or ("max_cost_per_call" if each._overpays(spent) else None)
            if limit is not None:
                if each.exhausted_by is None:
                    each.exhausted_by, each.overpaid_picousd = limit, spent.picousd
                raises = raises or each.is_living
        return raises

    def raised(self, budget: Budget) -> None:
        """Its budget is this one now. What had exhausted it may do so no more."""
        self.budget = budget
        by, most = self.exhausted_by, to_picousd(budget.max_cost_per_call)
        still = {
            "max_calls": budget.max_calls is not None and self.spent.calls >= budget.max_calls,
            "max_cost_per_call": most is not None and self.overpaid_picousd > most,
        }
        if by is not None and self.spent.crosses(budget) is None and not still.get(by):
            self.exhausted_by = None
