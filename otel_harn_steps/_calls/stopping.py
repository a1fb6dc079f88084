"""Closing what the app reads a stream from, once a budget has stopped it: the provider goes on as long as it can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from otel_harn_steps._calls.meter import Meter

_CLOSING: Final = guard("closing a stream that a budget has stopped", ours=False)


def close_stopped(meter: Meter, inner: Any) -> None:
    """Close a stream that a budget has stopped.

    Args:
        meter: that of its call.
        inner: what the events come from; what the app holds is closed too.
    """
    for each in _sources(meter, inner):
        with _CLOSING, _passing_through():
            close = getattr(each, "close", None)
            if close is not None:
                close()


async def close_stopped_async(meter: Meter, inner: Any) -> None:
    """As `close_stopped`."""
    for each in _sources(meter, inner):
        with _CLOSING, _passing_through():
            close = getattr(each, "aclose", None) or getattr(each, "close", None)
            closing = None if close is None else close()
            if isawaitable(closing):
                await closing


def _sources(meter: Meter, inner: Any) -> Iterator[Any]:
    for each in meter.stopped(inner):
        stream = getattr(each, "__wrapped__", each)
        yield stream
        # Of streams that have no way to close them; of google-genai's, which asynchronously stays open when they are.
        yield getattr(stream, "response", None)
        yield getattr(stream, "response_stream", None)


@contextmanager
def _passing_through() -> Iterator[None]:
    """What the app holds may be a generator that runs at this moment: the breach goes through it, and ends it."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "generator" not in str(error) or "already" not in str(error):
            raise
