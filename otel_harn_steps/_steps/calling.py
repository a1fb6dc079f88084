"""What every wrapper of a step's callable needs: how it is called, how to look like it, and the start of the step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.run import StepRun

_MAKING_DETAIL = guard("making a step's detail", ours=False)


def called_function(function: Callable[..., Any]) -> Any:
    """The function whose code runs when `function` is called: below `functools.partial`, and an object's `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def looks_like(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a wrapper the name, the docstring and the attributes of `function`."""
    # An object's attributes are not its step's: a copy of its `__dict__` would go stale.
    updated = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()
    return functools.wraps(function, updated=updated)


def begin_step(definition: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepRun:
    """Begin the step for a call with these arguments, which its detail may be made of."""
    detail = definition.detail
    if detail is None or isinstance(detail, str):
        return StepRun(definition)
    made: str | None = None
    with _MAKING_DETAIL:
        made = _checked_detail(detail(*args, **kwargs))
    return StepRun(definition, made)


def _checked_detail(made: object) -> str | None:
    # Not `str(made)`: an object may show a prompt.
    if made is not None and not isinstance(made, str):
        raise TypeError(f"detail must return a string or None, not {type(made).__name__}")
    return made
