"""Waiting for room in a budget: until others have ended, or somebody has decided."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from otel_harn_steps._steps.event_loops import is_in_a_loop, tell
from otel_harn_steps._steps.pausing import goes_on, goes_on_async
from otel_harn_steps._steps.reservation import RoomMayComeError, Waits

if TYPE_CHECKING:
    from otel_harn_steps._calls.meter import Meter

# A call that nobody settles gives its room back when it is freed, and says nothing.
_LOOK_AGAIN_S: Final = 1.0


class Opener(Protocol):
    """Opens the meter of a call at the moment it is sent. None where no step pays for it."""

    def __call__(self, *, waits: Waits) -> Meter | None:
        """Open it.

        Raises:
            StepBudgetExceeded, StepBudgetStop: the call is refused.
            RoomMayComeError: there may be room later, and the caller waits for that.
        """


def opened(opens: Opener) -> Meter | None:
    """What `opens` opens, when there is room for it. A thread whose event loop would stand still does not wait."""
    until: float | None = None
    changed, forget = Event(), _nothing_to_forget
    try:
        while True:
            may_wait = (until is None or until > monotonic()) and not is_in_a_loop()
            changed.clear()
            try:
                return opens(waits=Waits.FOR_ROOM if may_wait else Waits.FOR_A_DECISION)
            except RoomMayComeError as error:
                contended = error
            if contended.is_paused:
                if not goes_on(contended.refusal):
                    return opens(waits=Waits.FOR_NOTHING)
            elif until is None:
                until = monotonic() + contended.seconds
                forget = contended.when_changed(changed.set)
                # Not yet: a call may have ended before it could tell.
            else:
                changed.wait(max(0.0, min(_LOOK_AGAIN_S, until - monotonic())))
    finally:
        forget()


async def opened_async(opens: Opener) -> Meter | None:
    """As `opened`, in an event loop of asyncio. In any other, a call does not wait for room."""
    if not is_in_a_loop():
        return await _decided(opens)
    import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

    until: float | None = None
    changed, forget = asyncio.Event(), _nothing_to_forget
    try:
        while True:
            may_wait = until is None or until > monotonic()
            changed.clear()
            try:
                return opens(waits=Waits.FOR_ROOM if may_wait else Waits.FOR_A_DECISION)
            except RoomMayComeError as error:
                contended = error
            if contended.is_paused:
                if not await goes_on_async(contended.refusal):
                    return opens(waits=Waits.FOR_NOTHING)
            elif until is None:
                until = monotonic() + contended.seconds
                forget = contended.when_changed(partial(tell, asyncio.get_running_loop(), changed.set))
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(_LOOK_AGAIN_S, until - monotonic()))):
                        await changed.wait()
    finally:
        forget()


async def _decided(opens: Opener) -> Meter | None:
    while True:
        try:
            return opens(waits=Waits.FOR_A_DECISION)
        except RoomMayComeError as error:
            paused = error
        if not await goes_on_async(paused.refusal):
            return opens(waits=Waits.FOR_NOTHING)


def _nothing_to_forget() -> None:
    """Take back that somebody waits who does not."""
