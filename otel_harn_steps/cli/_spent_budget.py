"""How a program and its budget have ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from otel_harn_steps._steps.shared_amounts import Amount

EXIT_CODE: Final = 75
"""Of a program that its budget has ended: EX_TEMPFAIL, as sendmail calls it. Given more, it may go further."""


class SpentBudget(NamedTuple):
    """What became of a run's budget.

    Attributes:
        limits: what the run was allowed.
        spent: what all its processes have spent. None: that could not be read.
        duration_s: how long the program has run.
        ended_by: the limit that has ended it. None: it has ended by itself.
    """

    limits: Mapping[str, float]
    spent: Amount | None
    duration_s: float
    ended_by: str | None

    def sentence(self) -> str | None:
        """What has ended the run: `max_usd, $0.4980 of $0.5000`. None: it has ended by itself."""
        from otel_harn_steps._cost.money import to_picousd  # noqa: PLC0415 -- after the app
        from otel_harn_steps.store._numbers import dollars, duration  # noqa: PLC0415 -- after the app

        limit = self.ended_by
        spent, allowed = self._spent_of(limit), self.limits.get(limit or "")
        if limit is None or spent is None or allowed is None:
            return limit
        if limit == "max_seconds":
            return f"{limit}, {duration(spent)} of {duration(allowed)}"
        if limit == "max_usd":
            return f"{limit}, {dollars(to_picousd(spent) or 0)} of {dollars(to_picousd(allowed) or 0)}"
        return f"{limit}, {spent:,} of {allowed:,}"

    def to_dict(self) -> dict[str, Any]:
        """The same in plain values, for JSON. `ended_by` is None, or has the limit and what was spent of it."""
        limit = self.ended_by
        ended = {"limit": limit, "spent": self._spent_of(limit), "allowed": self.limits.get(limit or "")}
        return {"limits": self.limits, "ended_by": ended if limit else None}

    def _spent_of(self, limit: str | None) -> float | None:
        """What was spent of what a limit limits, in its unit. None: unknown."""
        if limit == "max_seconds":
            return round(self.duration_s, 3)
        if limit is None or self.spent is None:
            return None
        from otel_harn_steps._cost.money import to_usd  # noqa: PLC0415 -- after the app

        return {
            "max_usd": to_usd(self.spent.picousd),
            "max_tokens": self.spent.tokens,
            "max_input_tokens": self.spent.input_tokens,
            "max_output_tokens": self.spent.output_tokens,
            "max_calls": self.spent.calls,
        }.get(limit)


class Finished(NamedTuple):
    """A program that has ended.

    Attributes:
        code: its exit code, negative for the signal that has killed it.
        duration_s: how long it has run.
        budget: what became of its budget. None: it had none.
    """

    code: int
    duration_s: float
    budget: SpentBudget | None

    @property
    def ended_by(self) -> str | None:
        """The limit that has ended it. None: it has ended by itself."""
        return None if self.budget is None else self.budget.ended_by
