"""A stretch of a framework's work as a step.

A framework may wrap the budget error that a client raised, or make something else of it. At the step's edge it is
found again: in the chain of what was raised, or noted on the step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.active import ActiveStep
from otel_harn_steps._steps.boundary import budget_error_behind
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated
from otel_harn_steps._steps.run import StepRun

AsResult = Callable[[Any], Any]
"""Makes of the step's fallback what the framework expects as the result."""


def step_of(definition: Callable[[], StepDefinition | None]) -> StepDefinition | None:
    """What a framework's file reads from the arguments; None, and one WARNING, where they are others than it knows."""
    with guard("reading which step of a framework runs"):
        return definition()
    return None


def in_step(definition: StepDefinition | None, work: Callable[[], Any], as_result: AsResult) -> Any:
    """Do the work as a step, if it is one."""
    if definition is None:
        return work()
    run = StepRun(definition)
    value = raised = None
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001 -- raised again, or judged
        raised = error
    return leave(run, raised, as_result, value)


async def in_step_async(
    definition: StepDefinition | None, work: Callable[[], Awaitable[Any]], as_result: AsResult
) -> Any:
    """As `in_step`."""
    if definition is None:
        return await work()
    run = StepRun(definition)
    value = raised = None
    try:
        value = await work()
    except BaseException as error:  # noqa: BLE001 -- raised again, or judged
        raised = error
    return await leave_async(run, raised, as_result, value)


def leave(run: StepRun, raised: BaseException | None, as_result: AsResult, value: Any = None) -> Any:
    """Leave the step: the boundary decides what the framework gets.

    Not to be called while `raised` is handled: a budget error that it came from would then come from it as well.

    Args:
        run: the step.
        raised: what left its body.
        as_result: makes the result of a step that ended by `continue`.
        value: what its body returned.
    """
    verdict = run.leave(judged(run.active, raised))
    cause = verdict.cause
    if verdict.status != "skipped" or cause is None:
        return verdict.settle(value, None)
    return _in_its_place(cause, verdict.made_of(run.active.definition.fallback), as_result)


async def leave_async(run: StepRun, raised: BaseException | None, as_result: AsResult, value: Any = None) -> Any:
    """As `leave`. A fallback that is a coroutine function is awaited."""
    verdict = run.leave(judged(run.active, raised))
    cause = verdict.cause
    if verdict.status != "skipped" or cause is None:
        return verdict.settle(value, None)
    declared = run.active.definition.fallback
    fallback: Any = verdict.made_of(declared)
    if callable(declared) and isawaitable(fallback):
        fallback = await fallback
    return _in_its_place(cause, fallback, as_result)


def _in_its_place(cause: BaseException, fallback: object, as_result: AsResult) -> Any:
    with guard("putting a fallback in the place of a framework's result"):
        return as_result(fallback)
    raise cause


def judged(active: ActiveStep, raised: BaseException | None) -> BaseException | None:
    """What the boundary has to judge: the budget error behind what a framework raised, else that itself."""
    if not isinstance(raised, Exception) or isinstance(raised, (StepBudgetExceeded, StepEscalated)):
        return raised
    return budget_error_behind(raised) or active.breach or raised
