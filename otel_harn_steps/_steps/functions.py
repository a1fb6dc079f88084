"""Callables as steps, each kind as what it was: plain, coroutine, generator, async generator.

A plain callable may return what goes on running, such as a coroutine. The step then lasts as long.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from otel_harn_steps._steps.calling import begin_step, called_function, looks_like
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.generators import async_generator_step, generator_step, is_awaitable_generator
from otel_harn_steps._steps.run import StepRun
from otel_harn_steps._steps.running_on import ended_with


def stepped(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a step.

    Raises:
        TypeError: the step has a fallback, and `function` is a generator: it has no caller that could get it.
    """
    called = called_function(function)
    is_generator = inspect.isgeneratorfunction(called)
    if is_generator or inspect.isasyncgenfunction(called):
        if definition.fallback is not None and not is_awaitable_generator(called):
            raise TypeError(
                f"step {definition.name!r} has a fallback, which a generator cannot deliver: leave the fallback out"
            )
        return (generator_step if is_generator else async_generator_step)(definition, function)
    return (_coroutine_step if inspect.iscoroutinefunction(called) else _plain_step)(definition, function)


def _coroutine_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    is_made_of_arguments = callable(definition.detail)

    @looks_like(function)
    async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        run = begin_step(definition, args, kwargs) if is_made_of_arguments else StepRun(definition)
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            return await verdict.settle_async(definition.fallback)
        return ended_with(run, value, is_awaited=True)

    return run_coroutine


def _plain_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    is_made_of_arguments = callable(definition.detail)

    @looks_like(function)
    def run_function(*args: Any, **kwargs: Any) -> Any:
        run = begin_step(definition, args, kwargs) if is_made_of_arguments else StepRun(definition)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            return verdict.settle(None, definition.fallback)
        return ended_with(run, value)

    return run_function
