"""What a budget error does when it leaves a step: the boundary decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_harn_steps._steps.active import ActiveStep
from otel_harn_steps._steps.definition import StepErrorBoundary
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated, mark_escalated
from otel_harn_steps._telemetry.record import Status

# By name, because importing asyncio costs more than all of this package, and trio has a class of its own.
_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a step ended. `cause` left its body, `error` leaves the step; None where nothing does."""

    status: Status
    cause: BaseException | None = None
    error: BaseException | None = None

    def settle(self, value: object, fallback: object) -> object:
        """What the caller gets: `value` of a completed step, else `fallback`, else the error that leaves the step."""
        if self.status == "completed":
            return value
        if self.error is None:
            return fallback
        if self.error is self.cause:
            raise self.error
        raise self.error from self.cause


_COMPLETED: Final = Verdict("completed")


def decide(active: ActiveStep, raised: BaseException | None) -> Verdict:
    """Judge what left the body of `active`: `raised`, or the breach that its body swallowed."""
    error = raised if raised is not None else active.breach
    if error is None:
        return _COMPLETED
    if _is_cancellation(error):
        return Verdict("cancelled", error, error)
    if not isinstance(error, StepBudgetExceeded) or _is_of_a_step_above(active, error):
        return Verdict("failed", error, error)
    definition = active.definition
    if definition.boundary is StepErrorBoundary.CONTINUE:
        return Verdict("skipped", error)
    if definition.boundary is StepErrorBoundary.ESCALATE:
        facts = mark_escalated(error, definition.name, definition.function)
        return Verdict("escalated", error, StepEscalated(error, facts))
    return Verdict("failed", error, error)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, Exception):
        return False
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        return True
    return any(each.__name__ in _CANCELLATIONS for each in type(error).__mro__)


def _is_of_a_step_above(active: ActiveStep, error: StepBudgetExceeded) -> bool:
    """A step may forgive its own overspending and not its parent's."""
    above = active.parent
    while above is not None:
        if above is error.owner:
            return True
        above = above.parent
    return False
