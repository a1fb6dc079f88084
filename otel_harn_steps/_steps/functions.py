"""Callables as steps, each kind as what it was: plain, coroutine, generator, async generator.

A plain callable may return what goes on running: a coroutine or an async generator. The step then lasts as long.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType
from typing import Any
from weakref import finalize

from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.generators import async_generator_step, continued_async_generator, generator_step
from otel_harn_steps._steps.run import StepRun


def stepped(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a step.

    Raises:
        TypeError: the step has a fallback, and `function` is a generator: it has no caller that could get it.
    """
    is_generator = inspect.isgeneratorfunction(function)
    if is_generator or inspect.isasyncgenfunction(function):
        if definition.fallback is not None:
            raise TypeError(
                f"step {definition.name!r} has a fallback, which a generator cannot deliver: leave the fallback out"
            )
        return (generator_step if is_generator else async_generator_step)(definition, function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return _coroutine_step(definition, function)
    return _plain_step(definition, function)


def _coroutine_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    @_wraps(function)
    async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        run = StepRun(definition)
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            return verdict.settle(None, definition.fallback)
        return run.leave(None).settle(value, definition.fallback)

    return run_coroutine


def _plain_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    @_wraps(function)
    def run_function(*args: Any, **kwargs: Any) -> Any:
        run = StepRun(definition)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            return verdict.settle(None, definition.fallback)
        if isinstance(value, (CoroutineType, AsyncGeneratorType)):
            return _continued(run, value)
        return run.leave(None).settle(value, definition.fallback)

    return run_function


def _wraps(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # An object's attributes are not its step's: a copy of its `__dict__` would go stale.
    updated = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()
    return functools.wraps(function, updated=updated)


def _continued(run: StepRun, body: Any) -> Any:
    """What runs on, in the step that began with the call. The step is not current until it is first advanced."""
    run.suspend()
    is_coroutine = isinstance(body, CoroutineType)
    made: Any = _awaited(run, body) if is_coroutine else continued_async_generator(run, body)
    made.__name__, made.__qualname__ = body.__name__, body.__qualname__
    # One that is dropped before it began never reaches its own `leave`.
    finalize(made, _dropped, run, body).atexit = False
    return made


async def _awaited(run: StepRun, body: Coroutine[Any, Any, Any]) -> Any:
    fallback = run.active.definition.fallback
    run.resume()
    try:
        value = await body
    except BaseException as error:
        verdict = run.leave(error)
        if verdict.error is error:
            raise
        return verdict.settle(None, fallback)
    return run.leave(None).settle(value, fallback)


def _dropped(run: StepRun, body: Any) -> None:
    if run.is_left:
        return
    if isinstance(body, CoroutineType):
        body.close()  # the warning that it was never awaited is given for the one that the app held
    run.leave(GeneratorExit())
