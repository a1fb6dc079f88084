"""A run's part in the budget that its processes share: what is held and spent here is held and spent there."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.reservation import Projection
from otel_harn_steps._steps.shared_amounts import NO_AMOUNT, Amount, Reserved, SharedLimits

if TYPE_CHECKING:
    from otel_harn_steps._steps.reservation import Reservation
    from otel_harn_steps._steps.shared_budget import SharedBudget
    from otel_harn_steps._steps.totals import ModelCall

_SHARING = guard(
    "counting with the other processes of a run", then="this process is counted alone, against the same limits"
)
_stopped_here: Final[ContextVar[object]] = ContextVar("otel_harn_steps.stopped_here", default=None)
"""The `_stopped` of the budget whose hard stop this thread or task has met last."""


class SharedSpending:
    """What a process counts together with the others of its run. To be used under the lock of the run's accounts.

    Args:
        budget: the file that they share.
        limits: what all of them may spend together.
        reserves: whether calls hold room, or are only counted.
    """

    __slots__ = ("_budget", "_limits", "_reserves", "_stopped", "elsewhere", "settled")

    def __init__(self, budget: SharedBudget, limits: SharedLimits, *, reserves: bool) -> None:
        self._budget, self._limits, self._reserves = budget, limits, reserves
        self._stopped: object | None = None
        self.settled = NO_AMOUNT
        self.elsewhere = NO_AMOUNT
        """What the other processes have spent, when it was asked for last."""

    def begin_again(self) -> None:
        """Begin at zero, in a forked child."""
        self.settled, self._stopped = NO_AMOUNT, None

    def hold(self, reservation: Reservation) -> Reserved | None:
        """Hold the room of a call for all processes. Returns the refusal, if there is none."""
        with _SHARING:
            reserved = self._budget.reserve(self._amount(reservation.asked), self._limits)
            self.elsewhere = reserved.spent.minus(self.settled)
            if reserved.crossed is not None:
                return reserved
            reservation.lease, reservation.shared = reserved.lease, self
        return None

    def grow(self, reservation: Reservation, asked: Projection) -> str | None:
        """Hold more for a call that is under way. Returns the limit that has no room for it."""
        if reservation.lease is None:
            return None
        with _SHARING:
            reserved = self._budget.grow(reservation.lease, self._amount(asked), self._limits)
            self.elsewhere = reserved.spent.minus(self.settled)
            # What others hold may come back: only what can never fit stops a stream.
            return None if reserved.fits_later else reserved.crossed
        return None

    def settle(self, reservation: Reservation | None, call: ModelCall) -> None:
        """Count what a call has spent."""
        spent = _amount(Projection.of(call))
        with _SHARING:
            lease = None
            if reservation is not None:
                lease, reservation.lease = reservation.lease, None
            totals = self._budget.settle(lease, spent)
            self.settled = self.settled.plus(spent)
            self.elsewhere = totals.spent.minus(self.settled)

    def release(self, lease: int) -> None:
        """Hold nothing more for a call that has spent nothing."""
        with _SHARING:
            self._budget.release(lease)

    def end(self, limit: str) -> None:
        """The run has ended by this limit."""
        with _SHARING:
            self._budget.note_ended(limit)

    def stopped(self) -> None:
        """A call was refused by a hard stop: whoever looks after the run gives the process time to end by it.

        Where many calls are made at the same time, each of them meets one, and that is no program that goes on. So the
        first one of the process counts, and later ones of a thread or task that has met one before.
        """
        counts = self._stopped is None or _stopped_here.get() is self._stopped
        self._stopped = self._stopped or object()
        _stopped_here.set(self._stopped)
        if counts:
            with _SHARING:
                self._budget.note_refused()

    def _amount(self, asked: Projection) -> Amount:
        return _amount(asked) if self._reserves else Amount(calls=1)


def _amount(call: Projection) -> Amount:
    return Amount(call.input_tokens, call.output_tokens, call.picousd, 1)
