"""Waiting for room in a budget, where a call finds none for as long as others are in flight."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from otel_harn_steps._steps.reservation import RoomMayComeError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

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
    changed, forget = Event(), _nothing_to_forget
    try:
        while True:
            left = None if until is None else until - monotonic()
            changed.clear()
            try:
                return opens(may_wait=(left is None or left > 0) and not _is_in_a_loop())
            except RoomMayComeError as contended:
                if until is None:
                    until = monotonic() + contended.seconds
                    forget = contended.when_changed(changed.set)
                    continue  # a call may have ended before it could tell
            changed.wait(max(0.0, min(_LOOK_AGAIN_S, until - monotonic())))
    finally:
        forget()


async def opened_async(opens: Opener) -> Meter | None:
    """As `opened`, in an event loop of asyncio. In any other, a call does not wait."""
    if not _is_in_a_loop():
        return opens(may_wait=False)
    import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

    until: float | None = None
    changed, forget = asyncio.Event(), _nothing_to_forget
    try:
        while True:
            left = None if until is None else until - monotonic()
            changed.clear()
            try:
                return opens(may_wait=left is None or left > 0)
            except RoomMayComeError as contended:
                if until is None:
                    until = monotonic() + contended.seconds
                    forget = contended.when_changed(partial(_tell, asyncio.get_running_loop(), changed.set))
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(_LOOK_AGAIN_S, until - monotonic()))):
                    await changed.wait()
    finally:
        forget()


def _nothing_to_forget() -> None:
    """Take back that somebody waits who does not."""


def _tell(loop: AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call it in another thread's event loop."""
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(call)


def _is_in_a_loop() -> bool:
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
