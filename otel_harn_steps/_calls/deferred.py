"""Calls that send nothing before their result is first advanced: a generator, or a context manager made of one.

That is the moment when such a call is made: the step that is active then admits it and is billed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager, contextmanager
from inspect import isawaitable
from itertools import chain, islice
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.streams import (
    iterator_name,
    named_like,
    watch_attribute,
    watched_events,
    watched_events_async,
)
from otel_harn_steps._calls.waiting import Opener, opened, opened_async
from otel_harn_steps._guard import guard
from otel_harn_steps._patching.frames import passed_over
from otel_harn_steps._steps.labels import carries_baggage, keeping_baggage

_END = object()


def watch_deferred(result: Any, opens: Opener, again: Callable[[], Any]) -> Any:
    """What stands for `result`, whose request is sent when it is first advanced: that is when the call is made.

    Args:
        result: what the client has returned.
        opens: opens the meter of the call, which may change its arguments.
        again: calls the client again, with the arguments as they are then.
    """
    if isinstance(result, GeneratorType):
        return named_like(result, _deferred(result, opens, again))
    if isinstance(result, AsyncGeneratorType):
        return named_like(result, _deferred_async(result, opens, again))
    if isinstance(result, _GeneratorContextManager):
        result.gen = named_like(result.gen, _entered(result.gen, opens, again))
    elif isinstance(result, _AsyncGeneratorContextManager):
        result.gen = named_like(result.gen, _entered_async(result.gen, opens, again))
    else:
        with guard("watching what is sent later"):
            raise TypeError(f"{type(result).__name__} is neither a generator nor a context manager of one")
    return result


@contextmanager
def _sending(meter: Meter) -> Iterator[None]:
    try:
        try:
            meter.begin()
            yield
        finally:
            meter.leave()
    except BaseException as error:
        meter.failed(error)
        raise


def _unmetered(inner: Generator[Any, Any, Any]) -> Iterator[Any]:
    """The events of a call that no meter is opened for, sent without the baggage that is kept from providers."""
    if not carries_baggage():
        return inner
    with keeping_baggage():
        first = list(islice(inner, 1))
    return chain(first, inner)


def _unmetered_async(inner: AsyncGenerator[Any, Any]) -> AsyncIterator[Any]:
    return _kept_async(inner) if carries_baggage() else inner


@passed_over
async def _kept_async(inner: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, None]:
    with keeping_baggage():
        first = await anext(inner, _END)
    async for event in _chain_async(first, inner):
        yield event


@passed_over
def _deferred(inner: Generator[Any, Any, Any], opens: Opener, again: Callable[[], Any]) -> Generator[Any, Any, None]:
    meter = opened(opens)
    try:
        if meter is None:
            yield from _unmetered(inner)
            return
        if meter.is_lowered:
            inner = again()
        with _sending(meter):
            first = list(islice(inner, 1))
        events = chain(first, inner)
        if meter.is_delegated:
            meter.abandoned()
            yield from events
            return
        meter.stream_opened()
        yield from watched_events(events, meter)
    finally:
        if meter is not None:
            meter.settle()
        inner.close()


@passed_over
async def _deferred_async(
    inner: AsyncGenerator[Any, Any], opens: Opener, again: Callable[[], Any]
) -> AsyncGenerator[Any, Any]:
    meter = await opened_async(opens)
    try:
        if meter is None:
            async for event in _unmetered_async(inner):
                yield event
            return
        if meter.is_lowered:
            made = again()
            inner = await made if isawaitable(made) else made
        with _sending(meter):
            first = await anext(inner, _END)
        events = _chain_async(first, inner)
        if meter.is_delegated:
            meter.abandoned()
            async for event in events:
                yield event
            return
        meter.stream_opened()
        watching = watched_events_async(events, meter)
        try:
            async for event in watching:
                yield event
        finally:
            await watching.aclose()
    finally:
        if meter is not None:
            meter.settle()
        await inner.aclose()


@passed_over
async def _chain_async(first: Any, rest: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    if first is not _END:
        yield first
    async for event in rest:
        yield event


# What a manager reads its generator for: it enters with the first value, and leaves with the end or an error. It is the
# generator that is watched, and not the manager within another, whose frames a warning would count.


@passed_over
def _entered(inner: Generator[Any, Any, Any], opens: Opener, again: Callable[[], Any]) -> Generator[Any, None, None]:
    meter = opened(opens)
    try:
        if meter is not None and meter.is_lowered:
            inner = again().gen
        with keeping_baggage() if meter is None else _sending(meter):
            response = next(inner)
        if meter is not None:
            _watch_entered(response, meter)
        try:
            yield response
        except BaseException as error:  # noqa: BLE001 -- the client's to see, and to raise again
            again = inner.throw(error)
        else:
            again = next(inner)
    except StopIteration:
        return
    finally:
        if meter is not None:
            meter.settle()
    yield again  # for which the manager raises


@passed_over
async def _entered_async(
    inner: AsyncGenerator[Any, Any], opens: Opener, again: Callable[[], Any]
) -> AsyncGenerator[Any, None]:
    meter = await opened_async(opens)
    try:
        if meter is not None and meter.is_lowered:
            inner = again().gen
        with keeping_baggage() if meter is None else _sending(meter):
            response = await anext(inner)
        if meter is not None:
            _watch_entered(response, meter)
        try:
            yield response
        except BaseException as error:  # noqa: BLE001 -- as above
            again = await inner.athrow(error)
        else:
            again = await anext(inner)
    except StopAsyncIteration:
        return
    finally:
        if meter is not None:
            meter.settle()
    yield again


def _watch_entered(response: Any, meter: Meter) -> None:
    if meter.is_delegated:
        meter.abandoned()
        return
    with guard("watching a result"):
        name = iterator_name(response)
        if name is not None:
            watch_attribute(response, name, meter)
        meter.stream_opened()
