"""Functions of the app's that are called when a step starts, ends, or comes near its budget, or to its end."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._telemetry.record import CompletedStep

_Hook = TypeVar("_Hook", bound=Callable[..., object])
_CALLING: Final = guard("calling a hook of the app's", ours=False)
starts: list[tuple[str, Callable[[ActiveStep], object]]] = []
"""Each with the pattern of the steps that it is for, as those that follow."""
ends: list[tuple[str, Callable[[CompletedStep], object]]] = []
thresholds: list[tuple[str, Callable[[ActiveStep, float], object]]] = []
pauses: list[tuple[str, Callable[[ActiveStep, StepBudgetExceeded], object]]] = []


@overload
def on_step_start(steps: str = "*") -> Callable[[_Hook], _Hook]: ...


@overload
def on_step_start(steps: _Hook) -> _Hook: ...


def on_step_start(steps: Any = "*") -> Any:
    """Call the decorated function with each `ActiveStep` that starts: `@on_step_start("research*")`.

    It may change what the step begins with: `active.use_model(...)`, `active.raise_budget(...)`,
    `active.refuse_calls(...)`. What it raises is logged and dropped.

    Args:
        steps: a pattern of step names, as in a shell.
    """
    return _registering(starts, steps)


@overload
def on_step_end(steps: str = "*") -> Callable[[_Hook], _Hook]: ...


@overload
def on_step_end(steps: _Hook) -> _Hook: ...


def on_step_end(steps: Any = "*") -> Any:
    """Call the decorated function with the `CompletedStep` of each step that ends.

    What it raises is logged and dropped.

    Args:
        steps: a pattern of step names, as in a shell.
    """
    return _registering(ends, steps)


@overload
def on_budget_threshold(steps: str = "*") -> Callable[[_Hook], _Hook]: ...


@overload
def on_budget_threshold(steps: _Hook) -> _Hook: ...


def on_budget_threshold(steps: Any = "*") -> Any:
    """Call the decorated function with an `ActiveStep` or `Run`, and the share of a limit that it has spent.

    It is called at each share of the budget's `at`, once, in the task or thread of the call that reached it. It may
    call `active.raise_budget(...)`. What it raises is logged and dropped.

    Args:
        steps: a pattern of the names of steps and runs, as in a shell.
    """
    return _registering(thresholds, steps)


@overload
def on_budget_pause(steps: str = "*") -> Callable[[_Hook], _Hook]: ...


@overload
def on_budget_pause(steps: _Hook) -> _Hook: ...


def on_budget_pause(steps: Any = "*") -> Any:
    """Let the decorated function decide whether a step with `error_boundary="pause"` may spend more.

    It gets the `ActiveStep` and the `StepBudgetExceeded` that would stop it, and returns the limits that are raised, as
    in `{"max_usd": 2}`, or None to stop the step. It may be a coroutine function. The first that matches is asked, once
    for each breach; calls of the step wait for it. What it raises is logged, and stops the step. Calls to models that
    it makes in the step are refused.

    Args:
        steps: a pattern of step names, as in a shell.
    """
    return _registering(pauses, steps)


def pause_hook(name: str) -> Callable[[Any, StepBudgetExceeded], object] | None:
    """The function that decides about the step of that name."""
    return next((hook for pattern, hook in list(pauses) if fnmatchcase(name, pattern)), None)


def remove_hook(hook: Callable[..., object]) -> None:
    """Do not call a hook any more; nothing happens if there is no such hook."""
    kinds: tuple[list[Any], ...] = (starts, ends, thresholds, pauses)
    for hooks in kinds:
        hooks[:] = [each for each in hooks if each[1] is not hook]


def forget_hooks() -> None:
    """Call no hook any more (tests)."""
    for hooks in (starts, ends, thresholds, pauses):
        hooks.clear()


def step_starts(active: ActiveStep) -> None:
    """A step has started."""
    _call(starts, active.definition.name, active)


def step_ends(record: CompletedStep) -> None:
    """A record is there."""
    _call(ends, record.name, record)


def threshold_reached(account: Any, share: float) -> None:
    """An account has spent as much of a limit."""
    _call(thresholds, account.definition.name, account, share)


def _call(hooks: Any, name: str, *given: Any) -> None:
    for pattern, hook in list(hooks):
        if fnmatchcase(name, pattern):
            with _CALLING:
                hook(*given)


def _registering(hooks: Any, steps: Any) -> Any:
    if callable(steps):
        hooks.append(("*", steps))
        return steps
    if not isinstance(steps, str):
        raise TypeError(f"a hook is for a pattern of step names, such as 'research*', not for {steps!r}")

    def register(hook: _Hook) -> _Hook:
        hooks.append((steps, hook))
        return hook

    return register
