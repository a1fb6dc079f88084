"""Watching a stream without changing it.

Where a client's stream keeps its iterator in an attribute, that iterator is replaced and the app holds the client's own
object. A generator is watched by a generator, anything else by a proxy that looks and behaves like it. Bytes that the
app reads itself are watched as they pass. Nothing is read that the app does not read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import lru_cache
from types import AsyncGeneratorType, GeneratorType
from typing import Any
from weakref import ref

import wrapt

from otel_harn_steps._calls.meter import Meter, decoded
from otel_harn_steps._guard import guard

_ITERATOR = "_iterator"
_MOST_KNOWN = 512
_known_methods: dict[tuple[Any, str], bool] = {}
# Where the streams of generated clients keep their generator: Speakeasy's and Fern's.
_GENERATOR_NAMES = ("generator", "_data")
_GENERATORS = (GeneratorType, AsyncGeneratorType)
_EVENTS_WITH_MODEL = 4
# Every event of a chat stream that was asked for its usage says so, and only such a stream's.
_NO_USAGE = re.compile(rb',\s*"usage":\s*null(?=\s*[,}])')


def watched(result: Any, meter: Meter) -> Any:
    """`result`, or what stands for it, if it is a stream: the call is billed when the app has read it, or left it.

    None if it is no stream.
    """
    name = iterator_name(result)
    if name is not None:
        watch_attribute(result, name, meter)
        shown = result
    elif isinstance(result, GeneratorType):
        shown = named_like(result, _watch_generator(result, meter))
    elif isinstance(result, AsyncGeneratorType):
        shown = named_like(result, _watch_async_generator(result, meter))
    elif has_method(type(result), "__next__"):
        shown = _WatchedStream(result, meter)
    elif has_method(type(result), "__anext__"):
        shown = _WatchedAsyncStream(result, meter)
    else:
        return None
    meter.stream_opened()
    return shown


def has_method(kind: Any, name: str) -> bool:
    """Whether objects of `kind` have `name`. Remembered: a pydantic model takes long to say that it has not."""
    key = kind, name
    if key not in _known_methods:
        if len(_known_methods) >= _MOST_KNOWN:
            _known_methods.clear()
        _known_methods[key] = hasattr(kind, name)
    return _known_methods[key]


@lru_cache(maxsize=_MOST_KNOWN)
def is_whole(kind: type) -> bool:
    """Whether results of `kind` are pydantic models that hold neither a stream nor an HTTP response."""
    return (
        hasattr(kind, "__pydantic_fields_set__")
        and "http_response" not in getattr(kind, "model_fields", ())
        and not any(hasattr(kind, name) for name in ("__next__", "__anext__", _ITERATOR, "iter_bytes"))
    )


def iterator_name(result: Any) -> str | None:
    """Where a client's own stream keeps its iterator; None if it does not."""
    own = getattr(result, "__dict__", {})
    if _ITERATOR in own or has_method(type(result), _ITERATOR):
        return _ITERATOR
    return next((name for name in _GENERATOR_NAMES if isinstance(own.get(name), _GENERATORS)), None)


def watch_attribute(stream: Any, name: str, meter: Meter) -> None:
    """Watch what `stream` reads from, which it keeps in its attribute `name`."""
    inner = getattr(stream, name)
    is_async = hasattr(inner, "__anext__")
    setattr(stream, name, _watch_async(inner, meter) if is_async else _watch(inner, meter))
    if hasattr(type(stream), "close"):
        # `close` settles at once, so that the totals are right for the rest of the step.
        stream.close = (_closing_async if is_async else _closing)(ref(stream), meter)


def _watch(inner: Iterator[Any], meter: Meter) -> Generator[Any, None, None]:
    """The events of `inner`, billed when they have been read, or when the app leaves them."""
    try:
        for event in inner:
            if not meter.observe(event):
                yield event
    except GeneratorExit:  # the app dropped the stream
        meter.settle()
        raise
    except BaseException as error:
        meter.stream_broke(error)
        raise
    meter.stream_ended()


async def _watch_async(inner: AsyncIterator[Any], meter: Meter) -> AsyncGenerator[Any, None]:
    """As `_watch`."""
    try:
        async for event in inner:
            if not meter.observe(event):
                yield event
    except GeneratorExit:
        meter.settle()
        raise
    except BaseException as error:
        meter.stream_broke(error)
        raise
    meter.stream_ended()


# -- generators --------------------------------------------------------------------------------------------------------


def _watch_generator(inner: Generator[Any, Any, Any], meter: Meter) -> Generator[Any, Any, None]:
    try:
        yield from _watch(inner, meter)
    finally:
        inner.close()  # as the app's `close` would have done


async def _watch_async_generator(inner: AsyncGenerator[Any, Any], meter: Meter) -> AsyncGenerator[Any, Any]:
    watching = _watch_async(inner, meter)
    try:
        async for event in watching:
            yield event
    finally:
        await watching.aclose()
        await inner.aclose()


def named_like(inner: Any, generator: Any) -> Any:
    """`generator`, by the name of the one that it watches."""
    generator.__name__, generator.__qualname__ = inner.__name__, inner.__qualname__
    return generator


# -- anything else -----------------------------------------------------------------------------------------------------


class _Watched(wrapt.ObjectProxy[Any]):
    """A stream that looks like the client's own, whose reading is watched."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream)
        self._self_meter = meter

    def __del__(self) -> None:
        self._self_meter.settle()


class _WatchedStream(_Watched):
    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream, meter)
        self._self_events = _watch(stream, meter)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._self_events)

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        return self if entered is self.__wrapped__ else entered

    def __exit__(self, *exception: object) -> Any:
        self._self_meter.settle()
        return self.__wrapped__.__exit__(*exception)

    def close(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return self.__wrapped__.close()


class _WatchedAsyncStream(_Watched):
    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream, meter)
        self._self_events = _watch_async(stream, meter)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await self._self_events.__anext__()

    async def __aenter__(self) -> Any:
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else entered

    async def __aexit__(self, *exception: object) -> Any:
        self._self_meter.settle()
        return await self.__wrapped__.__aexit__(*exception)

    async def close(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return await self.__wrapped__.close()

    async def aclose(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return await self.__wrapped__.aclose()


# -- closing -----------------------------------------------------------------------------------------------------------

# What is put on a client's object refers to it weakly: in a cycle, an object that the app has dropped would hold its
# connection until the garbage collector comes.


def _closing(stream: ref[Any], meter: Meter) -> Callable[[], Any]:
    def close() -> Any:
        meter.settle()
        held: Any = stream()
        return type(held).close(held)

    return close


def _closing_async(stream: ref[Any], meter: Meter) -> Callable[[], Any]:
    async def close() -> Any:
        meter.settle()
        held: Any = stream()
        return await type(held).close(held)

    return close


def watch_body(http_response: Any, meter: Meter) -> None:
    """Bill the call when the app has read the body of `http_response` itself, in whatever way it does."""
    body = _Body(http_response.headers.get("content-type", ""), meter)
    # All of an HTTP response's ways to read pass one of these two; as attributes of this one object they shadow the
    # methods, and are gone when the body is.
    http_response.iter_bytes = _tap(ref(http_response), body)
    http_response.aiter_bytes = _tap_async(ref(http_response), body)
    meter.stream_opened()


def _untapped(http_response: ref[Any]) -> Any:
    held = http_response()
    for name in ("iter_bytes", "aiter_bytes"):
        vars(held).pop(name, None)
    return held


def _tap(http_response: ref[Any], body: _Body) -> Callable[..., Iterator[bytes]]:
    def iter_bytes(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        with body:
            for chunk in _untapped(http_response).iter_bytes(*args, **kwargs):
                shown = body.feed(chunk)
                if shown:
                    yield shown
            rest = body.rest()
            if rest:
                yield rest

    return iter_bytes


def _tap_async(http_response: ref[Any], body: _Body) -> Callable[..., AsyncIterator[bytes]]:
    async def aiter_bytes(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        with body:
            async for chunk in _untapped(http_response).aiter_bytes(*args, **kwargs):
                shown = body.feed(chunk)
                if shown:
                    yield shown
            rest = body.rest()
            if rest:
                yield rest

    return aiter_bytes


class _Body:
    """A body as it passes: server-sent events are observed one by one, anything else when it is complete."""

    def __init__(self, content_type: str, meter: Meter) -> None:
        self._meter = meter
        self._is_events = content_type.startswith("text/event-stream")
        self._rest = bytearray()
        self._seen = 0
        self._drops_blank = False

    def feed(self, chunk: bytes) -> bytes:
        """Take in some bytes. What of them the app sees: all, but for traces of our asking for usage."""
        shown = chunk
        with guard("reading a response body"):
            self._rest += chunk
            if self._is_events:
                *lines, self._rest = self._rest.splitlines(keepends=True) or [bytearray()]
                if self._rest.endswith(b"\n"):
                    lines.append(self._rest)
                    self._rest = bytearray()
                passed = [line for each in lines if (line := self._observe(bytes(each)))]
                if self._meter.asks_usage:  # whole lines only: whether one may be seen is known at its end
                    shown = b"".join(passed)
        return shown

    def _observe(self, line: bytes) -> bytes:
        """Observe the event in a line, if there is one. The line as the app sees it."""
        if self._drops_blank and not line.strip():
            self._drops_blank = False
            return b""
        # The first events name the model; after them, only those that may tell usage are worth decoding.
        if line.startswith(b"data:") and (self._seen < _EVENTS_WITH_MODEL or b"usage" in line):
            self._seen += 1
            event = decoded(line[5:])
            if isinstance(event, dict):
                if self._meter.observe(event):
                    self._drops_blank = True
                    return b""
                if self._meter.asks_usage:
                    return _NO_USAGE.sub(b"", line)
        return line

    def rest(self) -> bytes:
        """What has been held back because its line never ended."""
        if not (self._is_events and self._meter.asks_usage):
            return b""
        rest, self._rest = bytes(self._rest), bytearray()
        return self._observe(rest)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        """Bill what came. Quiet, because an error raised in here would cost the app the answer that it paid for."""
        with guard("billing a response body"):
            if error is not None and not isinstance(error, GeneratorExit):
                self._meter.stream_broke(error)
            elif self._is_events or error is not None:
                self._observe(bytes(self._rest))
                self._meter.settle()
            else:
                self._meter.answered_quietly(bytes(self._rest))
