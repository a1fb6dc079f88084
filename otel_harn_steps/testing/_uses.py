"""What an app does with what a call has given it: read it whole, or leave a stream in one of many ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from otel_harn_steps.testing._modes import Mode
from otel_harn_steps.testing._seen import Seen

Use = Callable[[Any, Mode, Seen], Awaitable[None]]
"""What the app does with what it has been given."""


class AppsOwnError(Exception):
    """What an app's own code raises between two events."""


async def reads(result: Any, mode: Mode, seen: Seen) -> None:
    """Takes the value, or loops over the stream."""
    if not is_stream(result):
        seen.note("value", result)
        return
    seen.stream(result)
    async for event in mode.each(result):
        seen.note("value", event)


async def pulls(result: Any, mode: Mode, seen: Seen) -> None:
    """Takes one event after the other by `next`."""
    try:
        while True:
            seen.note("value", await mode.pull(result))
    except StopAsyncIteration:
        seen.note("end", None)


async def breaks(result: Any, mode: Mode, seen: Seen) -> None:
    """Leaves the loop after one event."""
    async for event in mode.each(result):
        seen.note("value", event)
        break


async def closes(result: Any, mode: Mode, seen: Seen) -> None:
    """Closes the stream after one event."""
    seen.note("value", await mode.pull(result))
    close = getattr(result, "aclose", None) or getattr(result, "close", None)
    seen.note("close", await mode.settle(close()) if close is not None else None)


async def raises(result: Any, mode: Mode, seen: Seen) -> None:
    """Fails after one event, by its own fault."""
    async for event in mode.each(result):
        seen.note("value", event)
        raise AppsOwnError


async def drops(result: Any, mode: Mode, seen: Seen) -> None:
    """Forgets the stream after one event."""
    seen.note("value", await mode.pull(result))
    del result
    if mode.name == "async":
        await asyncio.sleep(0)


async def ignores(result: Any, mode: Mode, seen: Seen) -> None:  # noqa: ARG001 -- as every use
    """Never reads."""
    seen.note("class", result.__class__)


def is_stream(result: Any) -> bool:
    """Whether the app reads it event by event."""
    return hasattr(result, "__next__") or hasattr(result, "__anext__")


LEAVING: tuple[Use, ...] = (breaks, closes, drops, raises)
"""Every way to leave a stream after its first event."""
