"""Watching a stream without changing it.

Where a client's stream keeps its iterator in an attribute, that iterator is replaced and the app holds the client's own
object. A generator is watched by a generator, anything else by a proxy that looks and behaves like it. Nothing is read
that the app does not read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from functools import lru_cache
from types import AsyncGeneratorType, GeneratorType
from typing import Any
from weakref import ref

import wrapt

from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.stopping import close_stopped, close_stopped_async
from otel_harn_steps._guard.finalisers import from_a_finaliser
from otel_harn_steps._patching.frames import passed_over
from otel_harn_steps._patching.proxies import Copied

_ITERATOR = "_iterator"
_MOST_KNOWN = 512
_known_methods: dict[tuple[Any, str], bool] = {}
# Where the streams of generated clients keep their generator: Speakeasy's and Fern's.
_GENERATOR_NAMES = ("generator", "_data")
_GENERATORS = (GeneratorType, AsyncGeneratorType)


def watched(result: Any, meter: Meter) -> Any:
    """`result`, or what stands for it, if it is a stream: the call is billed when the app has read it, or left it.

    None if it is no stream.
    """
    name = iterator_name(result)
    if name is not None:
        watch_attribute(result, name, meter)
        shown = result
    elif isinstance(result, GeneratorType):
        shown = named_like(result, _generate(result, meter))
    elif isinstance(result, AsyncGeneratorType):
        shown = named_like(result, _generate_async(result, meter))
    elif has_method(type(result), "__next__"):
        shown = _WatchedStream(result, meter)
    elif has_method(type(result), "__anext__"):
        shown = _WatchedAsyncStream(result, meter)
    else:
        return None
    meter.stream_opened(shown)
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
    setattr(stream, name, watched_events_async(inner, meter) if is_async else watched_events(inner, meter))
    if hasattr(type(stream), "close"):
        # `close` settles at once, so that the totals are right for the rest of the step.
        stream.close = (_closing_async if is_async else _closing)(ref(stream), meter)


@passed_over
def watched_events(inner: Iterable[Any], meter: Meter) -> Generator[Any, None, None]:
    """The events of `inner`, billed when they have been read, or when the app leaves them."""
    light = None
    try:
        for event in inner:
            shown = None if light is None else light(event)
            if shown is None:
                shown = meter.observe(event)
                light = meter.light
            if shown is not None:
                yield shown
        meter.stream_ended()
    except GeneratorExit:  # the app dropped the stream
        meter.settle()
        raise
    except BaseException as error:
        meter.stream_broke(error)
        if meter.is_stopped:
            close_stopped(meter, inner)
        raise


@passed_over
async def watched_events_async(inner: AsyncIterable[Any], meter: Meter) -> AsyncGenerator[Any, None]:
    """As `watched_events`."""
    meter.is_async = True
    light = None
    try:
        async for event in inner:
            shown = None if light is None else light(event)
            if shown is None:
                shown = meter.observe(event)
                light = meter.light
                if meter.crossing is not None:
                    await meter.stop_unless_it_goes_on(meter.crossing)
            if shown is not None:
                yield shown
        await meter.stream_ended_async()
    except GeneratorExit:
        meter.settle()
        raise
    except BaseException as error:
        meter.stream_broke(error)
        if meter.is_stopped:
            await close_stopped_async(meter, inner)
        raise


# -- generators --------------------------------------------------------------------------------------------------------


@passed_over
def _generate(inner: Generator[Any, Any, Any], meter: Meter) -> Generator[Any, Any, None]:
    try:
        yield from watched_events(inner, meter)
    finally:
        inner.close()  # as the app's `close` would have done


@passed_over
async def _generate_async(inner: AsyncGenerator[Any, Any], meter: Meter) -> AsyncGenerator[Any, Any]:
    watching = watched_events_async(inner, meter)
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


class _Watched(Copied, wrapt.ObjectProxy[Any]):
    """A stream that looks like the client's own, whose reading is watched."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream)
        self._self_meter = meter

    def __del__(self) -> None:
        from_a_finaliser(self._self_meter.settle)


class _WatchedStream(_Watched):
    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream, meter)
        self._self_events = watched_events(stream, meter)

    def __iter__(self) -> Any:
        return self

    @passed_over
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
        self._self_events = watched_events_async(stream, meter)

    def __aiter__(self) -> Any:
        return self

    @passed_over
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
