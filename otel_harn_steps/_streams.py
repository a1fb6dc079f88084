"""Watching a stream without changing it.

Where a client's stream keeps its iterator in an attribute, that iterator is replaced and the app holds the client's own
object. Bytes that the app reads itself are watched as they pass. Nothing is read that the app does not read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any
from weakref import ref

from otel_harn_steps._guard import guard
from otel_harn_steps._meter import Meter, decoded

_ITERATOR = "_iterator"


def has_iterator(result: Any) -> bool:
    """Whether `result` is a stream that keeps its iterator where it can be watched."""
    return hasattr(type(result), _ITERATOR) or _ITERATOR in getattr(result, "__dict__", ())


def watch_stream(stream: Any, meter: Meter) -> None:
    """Bill the call when the app has read `stream`, or left it."""
    inner = getattr(stream, _ITERATOR)
    is_async = hasattr(inner, "__anext__")
    setattr(stream, _ITERATOR, _watch_async(inner, meter) if is_async else _watch(inner, meter))
    # `close` settles at once, so that the totals are right for the rest of the step.
    stream.close = (_closing_async if is_async else _closing)(ref(stream), meter)
    meter.stream_opened()


def _watch(inner: Iterator[Any], meter: Meter) -> Generator[Any, None, None]:
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
                body.feed(chunk)
                yield chunk

    return iter_bytes


def _tap_async(http_response: ref[Any], body: _Body) -> Callable[..., AsyncIterator[bytes]]:
    async def aiter_bytes(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        with body:
            async for chunk in _untapped(http_response).aiter_bytes(*args, **kwargs):
                body.feed(chunk)
                yield chunk

    return aiter_bytes


class _Body:
    """A body as it passes: server-sent events are observed one by one, anything else when it is complete."""

    def __init__(self, content_type: str, meter: Meter) -> None:
        self._meter = meter
        self._is_events = content_type.startswith("text/event-stream")
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take in some bytes."""
        with guard("reading a response body"):
            self._rest += chunk
            if self._is_events and b"\n" in chunk:
                *lines, last = bytes(self._rest).splitlines(keepends=True)
                if last.endswith(b"\n"):
                    lines.append(last)
                    last = b""
                self._rest = bytearray(last)
                for line in lines:
                    self._observe(line)

    def _observe(self, line: bytes) -> None:
        # Only events that may tell usage are worth decoding.
        if line.startswith(b"data:") and (b"usage" in line or b"message_" in line):
            event = decoded(line[5:])
            if isinstance(event, dict):
                self._meter.observe(event)

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
