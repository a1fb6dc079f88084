"""Waiting for room in a budget, where a call finds none for as long as others are in flight."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from otel_harn_steps._steps.reservation import RoomMayComeError

if TYPE_CHECKING:
    from otel_harn_steps._calls.meter import Meter

# A call that nobody settles gives its room back when it is freed, and says nothing.
_LOOK_AGAIN_S: Final = 1.0


class Opener(Protocol):
    """Opens the meter of a call at the moment it is sent. None where no step pays for it."""

    def __call__(self, *, may_wait: bool) -> Meter | None:
        """Open it.

        Raises:
            StepBudgetExceeded, StepBudgetStop: the call is refused.
            RoomMayComeError: `may_wait`, and there may be room later.
        """


def opened(opens: Opener) -> Meter | None:
    """What `opens` opens, when there is room for it. A thread whose event loop would stand still does not wait."""
    until: float | None = None
    while True:
        left = None if until is None else until - monotonic()
        try:
            return opens(may_wait=(left is None or left > 0) and not _is_in_a_loop())
        except RoomMayComeError as contended:
            until = monotonic() + contended.seconds if until is None else until
            changed = Event()
            forget = contended.when_changed(changed.set)
        try:
            changed.wait(max(0.0, min(_LOOK_AGAIN_S, until - monotonic())))
        finally:
            forget()


async def opened_async(opens: Opener) -> Meter | None:
    """As `opened`, in an event loop of asyncio. In any other, a call does not wait."""
    until: float | None = None
    while True:
        left = None if until is None else until - monotonic()
        try:
            return opens(may_wait=(left is None or left > 0) and _is_in_a_loop())
        except RoomMayComeError as contended:
            until = monotonic() + contended.seconds if until is None else until
            seconds, when_changed = max(0.0, min(_LOOK_AGAIN_S, until - monotonic())), contended.when_changed
        await _changed(when_changed, seconds)


async def _changed(when_changed: Callable[[Callable[[], None]], Callable[[], None]], seconds: float) -> None:
    import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    forget = when_changed(tell)
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
    finally:
        forget()


def _is_in_a_loop() -> bool:
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
