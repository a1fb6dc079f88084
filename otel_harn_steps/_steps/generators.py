"""Generator steps: active only while their own body runs, never between yields.

A generator that kept its step attached across a `yield` would bill the caller's calls to it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.run import StepRun


def generator_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """The generator function as a step that begins at the first `next`."""

    @functools.wraps(function)
    def run_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        body = function(*args, **kwargs)
        run = StepRun(definition)
        advance: Callable[[], Any] = partial(next, body)
        while True:
            try:
                item = advance()
            except StopIteration as stop:
                return run.leave(None).settle(stop.value, None)
            except BaseException as error:
                verdict = run.leave(error)
                if verdict.error is error:
                    raise
                return verdict.settle(None, None)
            run.suspend()
            try:
                sent = yield item
            except BaseException as thrown:  # noqa: BLE001 -- `throw` and `close` belong to the body
                advance = partial(body.throw, thrown)
            else:
                advance = partial(body.send, sent)
            run.resume()

    return run_generator


def async_generator_step(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """The async generator function as a step that begins at the first `anext`."""

    def begin(*args: Any, **kwargs: Any) -> tuple[AsyncGenerator[Any, Any], StepRun]:
        return function(*args, **kwargs), StepRun(definition)

    return functools.wraps(function)(_driving(begin))


def continued_async_generator(run: StepRun, body: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """An async generator whose step has begun and is suspended."""

    def begin() -> tuple[AsyncGenerator[Any, Any], StepRun]:
        run.resume()
        return body, run

    return _driving(begin)()


def _driving(
    begin: Callable[..., tuple[AsyncGenerator[Any, Any], StepRun]],
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def run_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body, run = begin(*args, **kwargs)
        advance: Callable[[], Awaitable[Any]] = body.__anext__
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
