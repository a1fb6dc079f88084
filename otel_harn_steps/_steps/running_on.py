"""What a step's function has returned, and what runs on: a coroutine, a generator, an answer that is sent in pieces.

The step lasts as long, and is suspended whenever it does not run. What is dropped before its end is a step that was
cancelled.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache, partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final
from weakref import finalize

from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import from_a_finaliser
from otel_harn_steps._steps.boundary import COMPLETED
from otel_harn_steps._steps.generators import continued_async_generator, continued_generator
from otel_harn_steps._steps.pieces import AsyncPieces, Pieces
from otel_harn_steps._steps.run import StepRun

_Continue = Callable[[StepRun, Any], Any]
"""Takes a step and what its function has returned. Returns what the caller gets; `_ENDED` where nothing runs on."""

_ENDED: Final = object()
_FOLLOWING = guard("following what a step has returned")

_ANSWERS: Final = {
    ("starlette.responses", "StreamingResponse"): ("body_iterator", None),
    ("sse_starlette.sse", "EventSourceResponse"): ("body_iterator", None),
    ("django.http.response", "StreamingHttpResponse"): ("streaming_content", "file_to_stream"),
    ("werkzeug.wrappers.response", "Response"): ("response", "direct_passthrough"),
}
"""Responses that run on, by module and class: the attribute with the pieces of the body, and the one that is set where
a server sends a file by itself and asks nobody for pieces. By name: nothing is imported for them."""

_FUTURES: Final = {("_asyncio", "Future"), ("asyncio.futures", "Future")}
# What can be used in another way than by `await` may never be awaited.
_OTHER_USES: Final = ("__aiter__", "__anext__", "__aenter__", "__iter__", "__enter__")


def ended_with(run: StepRun, value: Any, *, is_awaited: bool = False) -> Any:
    """The body of a step has returned `value`: what the caller gets. The step ends now, or when `value` has run.

    Args:
        run: the step, which is current.
        value: what its function returned.
        is_awaited: whether that was a coroutine. One that returns an awaitable hands it out, and has done its work.
    """
    kind: Any = type(value)
    follow = _continuation_of(kind)
    if follow is not None and not (is_awaited and follow in _OF_AWAITABLES):
        made = _ENDED
        with _FOLLOWING:
            made = follow(run, value)
        if made is not _ENDED:
            return made
    verdict = run.leave(None)
    return value if verdict is COMPLETED else verdict.settle(value, run.active.definition.fallback)


def _continuation(kind: Any) -> _Continue | None:
    """How values of this class run on; None: they do not."""
    for generator, follow in ((GeneratorType, _generator), (AsyncGeneratorType, _async_generator)):
        if issubclass(kind, generator):
            return follow
    named = [(each.__module__, each.__name__) for each in kind.__mro__]
    if not _FUTURES.isdisjoint(named):
        return _future
    if issubclass(kind, Coroutine):
        return _coroutine
    if issubclass(kind, Awaitable):
        return None if any(hasattr(kind, use) for use in _OTHER_USES) else _awaitable
    return next((partial(_answer, *_ANSWERS[name]) for name in named if name in _ANSWERS), None)


_continuation_of = lru_cache(maxsize=256)(_continuation)


def _generator(run: StepRun, body: Any) -> Any:
    return _continued(run, body, continued_generator)


def _async_generator(run: StepRun, body: Any) -> Any:
    return _continued(run, body, continued_async_generator)


def _coroutine(run: StepRun, body: Any) -> Any:
    if (
        isinstance(body, CoroutineType) and inspect.getcoroutinestate(body) != inspect.CORO_CREATED
    ):  # somebody awaits it
        return _ENDED
    return _continued(run, body, awaited)


def _continued(run: StepRun, body: Any, continued: _Continue) -> Any:
    run.suspend()
    made = continued(run, body)
    made.__name__ = getattr(body, "__name__", made.__name__)
    made.__qualname__ = getattr(body, "__qualname__", made.__qualname__)
    # One that is dropped before it began never reaches its own `leave`.
    finalize(made, _dropped, run, body).atexit = False
    return made


async def awaited(run: StepRun, body: Awaitable[Any]) -> Any:
    """Await `body` in its step, which has begun and is suspended."""
    fallback = run.active.definition.fallback
    run.resume()
    try:
        value = await body
    except BaseException as error:
        verdict = run.leave(error)
        if verdict.error is error:
            raise
        return await verdict.settle_async(fallback)
    return ended_with(run, value, is_awaited=True)


def _awaitable(run: StepRun, body: Any) -> Any:
    from otel_harn_steps._steps.awaitables import AwaitedInStep  # noqa: PLC0415 -- needs wrapt, which few steps do

    made = AwaitedInStep(body, partial(awaited, run))
    run.suspend()
    finalize(made, _dropped, run, None).atexit = False
    return made


def _future(run: StepRun, body: Any) -> Any:
    """A future runs by itself, and who waits for it sees its own outcome: nothing can stand in its place."""
    if body.done():
        return _ENDED
    run.suspend()  # first: the callback runs in the context of now
    body.add_done_callback(partial(_done, run))
    finalize(body, _dropped, run, None).atexit = False
    return body


def _done(run: StepRun, future: Any) -> None:
    if run.is_left:
        return
    with _FOLLOWING:
        # Not `exception()`: asyncio would not log any more that nobody has asked for it.
        run.leave(_cancellation() if future.cancelled() else future._exception)


def _cancellation() -> BaseException:
    from asyncio import CancelledError  # noqa: PLC0415 -- loaded already, where there is a future of it

    return CancelledError()


_OF_AWAITABLES: Final = (_coroutine, _awaitable, _future)


def _answer(attribute: str, unless: str | None, run: StepRun, response: Any) -> Any:
    body = getattr(response, attribute, None)
    if body is None or hasattr(body, "__len__") or (unless is not None and getattr(response, unless, None)):
        return _ENDED
    pieces = (AsyncPieces if hasattr(body, "__aiter__") else Pieces)(run, body)
    setattr(response, attribute, pieces)
    run.suspend()
    finalize(pieces, _dropped, run, None).atexit = False
    return response


def _dropped(run: StepRun, body: Any) -> None:
    if run.is_left:
        return
    if isinstance(body, (Coroutine, GeneratorType)):
        body.close()  # the warning that a coroutine was never awaited is given for the one that the app held
    from_a_finaliser(run.leave_freed, GeneratorExit())
