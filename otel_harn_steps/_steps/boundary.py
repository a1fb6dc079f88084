"""What a budget error does when it leaves a step: the boundary decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Final

from otel_harn_steps._guard.interrupts import is_interrupt
from otel_harn_steps._steps.active import ActiveStep
from otel_harn_steps._steps.definition import StepErrorBoundary
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepBudgetStop, StepEscalated
from otel_harn_steps._telemetry.record import Status

# By name, because importing asyncio costs more than all of this package, and trio has a class of its own.
_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled"})

BudgetError = StepBudgetExceeded | StepEscalated
_BUDGET_ERRORS: Final = (StepBudgetExceeded, StepEscalated)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a step ended. `cause` left its body, `error` leaves the step; None where nothing does."""

    status: Status
    cause: BaseException | None = None
    error: BaseException | None = None

    def settle(self, value: object, fallback: object) -> object:
        """What the caller gets: `value` of a completed step, else the fallback, else the error that leaves the step."""
        if self.error is None:
            return value if self.status == "completed" else self.made_of(fallback)
        if self.cause is None or self.error is self.cause:
            raise self.error
        raise self.error from self.cause

    async def settle_async(self, fallback: object) -> object:
        """As `settle`, of a step without a value: a fallback that is a coroutine function is awaited."""
        made = self.settle(None, fallback)
        return await made if callable(fallback) and isawaitable(made) else made

    def made_of(self, fallback: object) -> object:
        """The fallback; what it returns, where it is a function of the error and of the partial answer."""
        if not callable(fallback):
            return fallback
        error = self.cause
        partial = getattr(error, "partial", None)
        return fallback(error, getattr(error, "response", None) if partial is None else partial)


COMPLETED: Final = Verdict("completed")


def decide(active: ActiveStep, raised: BaseException | None) -> Verdict:
    """Judge what left the body of `active`: `raised`, or the breach that its body swallowed."""
    if raised is None:
        breach = active.breach
        # A body that swallowed its breach and returned has made something of it where the step may go on.
        if breach is None or breach.is_accepted or active.definition.boundary is StepErrorBoundary.CONTINUE:
            return COMPLETED
        return _judged(active, breach, breach)
    if isinstance(raised, SystemExit) and raised.code in (None, 0):
        return Verdict("completed", None, raised)
    if _is_cancellation(raised):
        return Verdict("cancelled", raised, raised)
    is_group = isinstance(raised, BaseExceptionGroup)
    # Where the budget is spent, a framework may have wrapped its error.
    may_hold = is_group or active.breach is not None or isinstance(raised, (*_BUDGET_ERRORS, StepBudgetStop))
    found = budget_error_behind(raised) if may_hold else None
    # A time limit that came while a budget error was on its way has that behind it, and is none.
    if found is None or (found is not raised and is_interrupt(raised, raised.__traceback__)):
        return Verdict("failed", raised, raised)
    return _judged(active, found, raised)


def budget_error_behind(error: BaseException) -> BudgetError | None:
    """The nearest budget error among an error, what it came from, and the members of its groups."""
    return next((each for each in _behind(error) if isinstance(each, _BUDGET_ERRORS)), None)


def _behind(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        here = waiting.pop(0)
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield here
        members = here.exceptions if isinstance(here, BaseExceptionGroup) else ()
        if isinstance(here, StepBudgetStop):
            members = (here.error,)
        waiting += [each for each in (here.__cause__, *members) if each is not None]
        if here.__cause__ is None and here.__context__ is not None and not here.__suppress_context__:
            waiting.append(here.__context__)


def _judged(active: ActiveStep, error: BudgetError, raised: BaseException) -> Verdict:
    """The boundary's verdict on `error`, which left the body as `raised`: itself, a group, or what wraps it."""
    is_group = isinstance(raised, BaseExceptionGroup)
    if isinstance(error, StepEscalated) or _is_of_a_step_above(active, error):
        passed_on = raised if is_group or isinstance(raised, StepBudgetStop) else error
        return Verdict("failed", passed_on, passed_on)
    raised = _turned_back(raised) if is_group else error
    definition = active.definition
    if definition.boundary is StepErrorBoundary.CONTINUE:
        others = _others(active, raised)
        return Verdict("skipped", error) if others is None else Verdict("failed", raised, others)
    if definition.boundary is StepErrorBoundary.ESCALATE:
        return Verdict("escalated", raised, StepEscalated(error))
    return Verdict("failed", raised, raised)


def _turned_back(group: BaseException) -> BaseException:
    """The group with the budget error in the place of each `StepBudgetStop`."""
    if isinstance(group, StepBudgetStop):
        return group.error
    if not isinstance(group, BaseExceptionGroup) or group.subgroup(StepBudgetStop) is None:
        return group
    made = BaseExceptionGroup(group.message, [_turned_back(each) for each in group.exceptions])
    made.__cause__, made.__context__ = group.__cause__, group.__context__
    return made.with_traceback(group.__traceback__)


def _others(active: ActiveStep, raised: BaseException) -> BaseException | None:
    """What is in a group besides the budget errors that the boundary of `active` forgives."""
    if not isinstance(raised, BaseExceptionGroup):
        return None

    def is_forgiven(error: BaseException) -> bool:
        return isinstance(error, StepBudgetExceeded) and not _is_of_a_step_above(active, error)

    return raised.split(is_forgiven)[1]


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, Exception):
        return False
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        return True
    return any(each.__name__ in _CANCELLATIONS for each in type(error).__mro__)


def _is_of_a_step_above(active: ActiveStep, error: StepBudgetExceeded) -> bool:
    """A step may forgive its own overspending, its agent's and its labels'; not that of what is around it."""
    above = active.above
    while above is not None:
        if error.owner is above or (above.of_agent is not None and error.owner is above.of_agent):
            return True
        if error.label is not None and above.labels.get(error.label[0]) == error.label[1]:
            return True
        above = above.above
    return False
