"""Waiting for room in a budget: until others have ended, or somebody has decided."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from otel_harn_steps._steps.changes import is_in_a_loop, wait_for_change, wait_for_change_async
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
    while True:
        left = None if until is None else until - monotonic()
        may_wait = (left is None or left > 0) and not is_in_a_loop()
        try:
            return opens(waits=Waits.FOR_ROOM if may_wait else Waits.FOR_A_DECISION)
        except RoomMayComeError as error:
            contended = error
        if contended.is_paused:
            if not goes_on(contended.refusal):
                return opens(waits=Waits.FOR_NOTHING)
        else:
            until = monotonic() + contended.seconds if until is None else until
            wait_for_change(contended.when_changed, min(_LOOK_AGAIN_S, until - monotonic()))


async def opened_async(opens: Opener) -> Meter | None:
    """As `opened`, in an event loop of asyncio. In any other, a call does not wait for room."""
    until: float | None = None
    while True:
        left = None if until is None else until - monotonic()
        may_wait = (left is None or left > 0) and is_in_a_loop()
        try:
            return opens(waits=Waits.FOR_ROOM if may_wait else Waits.FOR_A_DECISION)
        except RoomMayComeError as error:
            contended = error
        if contended.is_paused:
            if not await goes_on_async(contended.refusal):
                return opens(waits=Waits.FOR_NOTHING)
        else:
            until = monotonic() + contended.seconds if until is None else until
            await wait_for_change_async(contended.when_changed, min(_LOOK_AGAIN_S, until - monotonic()))
