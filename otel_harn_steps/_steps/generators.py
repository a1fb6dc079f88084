"""Generator steps: active only while their own body runs, never between yields.

A generator that kept its step attached across a `yield` would bill the caller's calls to it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, cast

from otel_harn_steps._steps.calling import begin_step, called_function, looks_like
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.run import StepRun

_Begin = Callable[..., tuple[Any, StepRun, Callable[[], Any]]]
"""Makes the body, its step, which is current, and what gets the first item."""


def is_awaitable_generator(code_owner: Any) -> bool:
    """Whether a generator, or a function that makes some, is of `types.coroutine`: to be awaited, and not iterated."""
    code = getattr(code_owner, "gi_code", None) or getattr(code_owner, "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def generator_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """The generator function as a step that begins at the first `next`."""
    made = looks_like(function)(_driving(_beginning(definition, function, next)))
    return coroutine(made) if is_awaitable_generator(called_function(function)) else made


def async_generator_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """The async generator function as a step that begins at the first `anext`."""
    return looks_like(function)(_driving_async(_beginning(definition, function, anext)))


def continued_generator(run: StepRun, body: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """A generator whose step has begun and is suspended. One that waits at a `yield` is replaced by one that does."""
    is_waiting = inspect.getgeneratorstate(body) == inspect.GEN_SUSPENDED
    drive = _driving(_continuing(run, body, (lambda: None) if is_waiting else partial(next, body)))
    made: Any = (coroutine(drive) if is_awaitable_generator(body) else drive)()
    if is_waiting:
        next(made)
    return cast("Generator[Any, Any, Any]", made)


def continued_async_generator(run: StepRun, body: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """An async generator whose step has begun and is suspended."""
    return _driving_async(_continuing(run, body, body.__anext__))()


def _beginning(definition: StepDefinition, function: Callable[..., Any], advance: Callable[[Any], Any]) -> _Begin:
    def begin(*args: Any, **kwargs: Any) -> tuple[Any, StepRun, Callable[[], Any]]:
        body = function(*args, **kwargs)
        return body, begin_step(definition, args, kwargs), partial(advance, body)

    return begin


def _continuing(run: StepRun, body: Any, first: Callable[[], Any]) -> _Begin:
    def begin() -> tuple[Any, StepRun, Callable[[], Any]]:
        run.resume()
        return body, run, first

    return begin


def _driving(begin: _Begin) -> Callable[..., Generator[Any, Any, Any]]:
    def run_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        body, run, advance = begin(*args, **kwargs)
        fallback = run.active.definition.fallback
        while True:
            try:
                item = advance()
            except StopIteration as stop:
                return run.leave(None).settle(stop.value, fallback)
            except BaseException as error:
                verdict = run.leave(error)
                if verdict.error is error:
                    raise
                return verdict.settle(None, fallback)
            run.suspend()
            try:
                sent = yield item
            except BaseException as thrown:  # noqa: BLE001 -- `throw` and `close` belong to the body
                advance = partial(body.throw, thrown)
            else:
                advance = partial(body.send, sent)
            run.resume()

    return run_generator


def _driving_async(begin: _Begin) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def run_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body, run, advance = begin(*args, **kwargs)
        while True:
            try:
                item = await advance()
            except StopAsyncIteration:
                run.leave(None).settle(None, None)
                return
            except BaseException as error:
                verdict = run.leave(error)
                if verdict.error is error:
                    raise
                verdict.settle(None, None)
                return
            run.suspend()
            try:
                sent = yield item
            except BaseException as thrown:  # noqa: BLE001 -- as above
                advance = partial(body.athrow, thrown)
            else:
                advance = partial(body.asend, sent)
            run.resume()

    return run_async_generator
