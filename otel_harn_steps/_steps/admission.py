"""Whether a budget lets a call be sent: what it may spend is held for it, from then until it has ended."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import NoReturn, Self
from weakref import WeakSet

from otel_harn_steps import _process
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._steps.budgeted import OF_OUTPUT, Budgeted
from otel_harn_steps._steps.by_label import UNLABELLED, ByLabel, by_label
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepBudgetStop
from otel_harn_steps._steps.reservation import (
    NOTHING_HELD,
    NOTHING_PROJECTED,
    Held,
    Projection,
    Reservation,
    RoomMayComeError,
    Waits,
)
from otel_harn_steps._steps.totals import Tally
from otel_harn_steps._steps.tree import COMMON


class Admission(Budgeted):
    """What lets calls be sent, or refuses them."""

    __slots__ = ()

    def admit(
        self, project: Callable[[], Projection] | None = None, *, waits: Waits = Waits.FOR_NOTHING
    ) -> Reservation | None:
        """Let one more call begin.

        Args:
            project: says what the call may spend; asked where a budget wants to know. None: nothing is held for it.
            waits: what the caller can wait for.

        Returns:
            What is held for the call. None: no budget covers it, or nothing is to be held.

        Raises:
            StepBudgetExceeded: a budget that covers it is exhausted, or has no room. Nothing was sent.
            StepBudgetStop: the same, once more than a budget's `hard_stop_after`.
            RoomMayComeError: there may be room later, and the caller waits for that.
        """
        labelled = by_label(self) if self.tree is COMMON else UNLABELLED
        if not self.is_covered and not labelled.accounts:
            return None
        covering, holds = self.covering(labelled), self.wants.holds or labelled.wants.holds
        if self.tree.unread and not (holds and all(account._reserves for account in covering)):
            self._bill_unread()
        for account in covering:
            if account.breach is not None and not account.breach.projected:
                account._refuse_again(account.breach, waits)
        if project is None or not holds:
            for account in covering:
                if account.definition.budget.max_seconds is not None:
                    account._check_time()
            return None
        return self._reserve(project, covering, labelled, waits)

    def _reserve(
        self, project: Callable[[], Projection], covering: Sequence[Self], labelled: ByLabel, waits: Waits
    ) -> Reservation | None:
        projection = project() if self.wants.projects or labelled.wants.projects else NOTHING_PROJECTED
        if not (self.wants.reserves or labelled.wants.reserves):
            projection = projection.with_output(0)  # as a stream brings output, it is held for it
        if self.tree.unread:
            reservation = self._hold(projection, covering, refuses=False)
            if reservation is not None:
                return reservation
            # A stream that the app has dropped holds room until the garbage collector comes.
            gc.collect()
            finish_freed()
        return self._hold(projection, covering, waits=waits)

    def _bill_unread(self) -> None:
        for bill_so_far in list(self.tree.unread):
            # A stream that was left in the middle may stay unsettled until the garbage collector comes.
            bill_so_far()

    def _refuse_again(self, breach: StepBudgetExceeded, waits: Waits) -> NoReturn:
        error = self._exceeded_again(breach)
        if waits and self.is_pausing:
            raise self._may_come(error, is_paused=True)
        raise self._refusal(error)

    def _check_time(self) -> None:
        if self._is_late() and self._stops("max_seconds"):
            self.refuse("max_seconds", NOTHING_PROJECTED, NOTHING_HELD, waits=Waits.FOR_NOTHING)

    def _hold(
        self,
        projection: Projection,
        covering: Sequence[Self],
        *,
        waits: Waits = Waits.FOR_NOTHING,
        refuses: bool = True,
    ) -> Reservation | None:
        """Hold room for a call. None: there is none, and `refuses` is false."""
        with self.tree.lock:
            reservation = _room_for(projection, covering, waits=waits, refuses=refuses)
            if reservation is None:
                return None
            for account in covering:
                shared = None if account.shared is None else account.shared.hold(reservation)
                if shared is not None and account._stops(shared.crossed or ""):
                    if not refuses:
                        return None
                    held = Held(0, 0, *shared.reserved[:3])
                    account.refuse(shared.crossed or "", projection, held, waits=waits, is_contended=shared.fits_later)
                if account._held is None:
                    account._held = WeakSet()
                account._held.add(reservation)
        return reservation

    def refuse(
        self, limit: str, asked: Projection, held: Held, *, waits: Waits, is_contended: bool | None = None
    ) -> None:
        """Do not let a call be sent. To be called under the lock.

        Raises:
            StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `admit`.
        """
        error = self._no_room(limit, asked, held)
        if is_contended is None:
            is_contended = held.in_flight > 0 and self._fits_alone(asked)
        if is_contended and waits is Waits.FOR_ROOM and self.definition.budget.on_contention == "wait":
            raise self._may_come(error)
        if waits and self.is_pausing:
            raise self._may_come(error, is_paused=True)
        if not is_contended:
            self._note(error)
        elif self.breach is None and error.projected:
            self.breach = error
        # What others have spent when they end may be less: such a call may be tried again as often as one likes.
        raise error if is_contended else self._refusal(error)

    @property
    def is_pausing(self) -> bool:
        """Whether somebody is to decide about what its budget does not let in."""
        return False

    def _may_come(self, error: StepBudgetExceeded, *, is_paused: bool = False) -> RoomMayComeError:
        return RoomMayComeError(error, self.definition.budget.wait_seconds, self.tree.when_changed, is_paused=is_paused)

    def _fits_alone(self, asked: Projection) -> bool:
        """Whether a call would be let in if no other were in flight."""
        limit = self._lacks(asked, NOTHING_HELD)
        if limit in OF_OUTPUT and not asked.is_firm:
            return self._output_room(asked, NOTHING_HELD) >= 0
        return limit is None

    def _refusal(self, error: StepBudgetExceeded) -> StepBudgetExceeded | StepBudgetStop:
        """`error`, in the form in which it is raised: a loop that tries again is ended by another one."""
        self.refused += 1
        return StepBudgetStop(error) if self.refused > self.definition.budget.hard_stop_after else error

    def _no_room(self, limit: str, asked: Projection, held: Held) -> StepBudgetExceeded:
        """The error for a call that is not sent, because there is no room for it."""
        if asked.unpriced_model is not None and limit == "max_usd":
            return self._exceeded(limit, detail=self._unpriced_detail(asked.unpriced_model))
        if limit == "max_calls":
            return self._exceeded(limit, consumed=self._covered().llm_calls + held.calls + 1)
        if limit == "max_seconds":
            return self._exceeded(limit)
        totals = self._with(asked, held)
        consumed = to_usd(asked.picousd) if limit == "max_cost_per_call" else self._consumed(limit, totals)
        return self._exceeded(limit, consumed=consumed, projected=(totals.budget_tokens, to_usd(totals.budget_picousd)))

    def _with(self, asked: Projection, held: Held) -> Tally:
        """What is spent and held, with a call."""
        return self._covered().plus(
            Tally(
                held.input_tokens + asked.input_tokens,
                held.output_tokens + asked.output_tokens,
                cost_picousd=held.picousd + asked.picousd,
            )
        )

    def expected_input(self, estimated: int) -> int:
        """The input tokens of a request: its estimate, raised to what the last call was measured at.

        What it has more than that one is raised by as much as the estimate of that one was too low, and at most
        doubled: what was measured may have been no part of the request, such as a conversation that the provider keeps.
        """
        if self._last_input is None:
            return estimated
        of, measured = self._last_input
        if estimated <= of:
            return max(estimated, -(-estimated * measured // of))
        more = estimated - of
        return max(estimated, measured + min(-(-more * measured // of), 2 * more))

    @property
    def _reserves(self) -> bool:
        return self.definition.budget.preflight == "reserve"

    # -- while a stream is read ------------------------------------------------------------------------------------

    def stops_streams(self, labelled: ByLabel) -> bool:
        """Whether a budget that covers a call of this account's stops a stream that it has no room for."""
        return any(each.definition.budget.stop_streams for each in self.covering(labelled))

    def grow(self, reservation: Reservation, asked: Projection, labelled: ByLabel) -> StepBudgetExceeded | None:
        """Hold more for a call that is under way: a stream has brought more than was held for it.

        It may have what others hold and have not spent: it is stopped when what has come is more than there is.

        Returns:
            The breach of a budget that stops streams and has no room for it, else None.
        """
        with self.tree.lock:
            left = asked.without(reservation.counted)
            for account in self.covering(labelled):
                if account.definition.budget.stop_streams:
                    held = account._in_flight(but=reservation, has_come=True)
                    limit = account._lacks(left, held, is_sent=True)
                    if limit is None and account.shared is not None:
                        limit = account.shared.grow(reservation, asked)
                    if limit is not None and account._stops(limit):
                        return account._exceeded(limit, consumed=account._consumed(limit, account._with(left, held)))
            reservation.asked = asked
        return None

    def overspent(self, labelled: ByLabel) -> StepBudgetExceeded | None:
        """The breach of a budget that stops streams, where calls that have ended have crossed it. Else None."""
        for account in self.covering(labelled):
            breach = account.breach
            if breach is not None and not breach.projected and account.definition.budget.stop_streams:
                if breach.limit in OF_OUTPUT:
                    return account._exceeded(breach.limit)
            elif account._is_late() and account._stops("max_seconds"):
                return account._exceeded("max_seconds")
        return None

    # -- room --------------------------------------------------------------------------------------------------------

    def _in_flight(self, but: Reservation | None = None, *, has_come: bool = False) -> Held:
        """What the calls in flight hold; where `has_come`, what of it they are known to spend."""
        if not self._held:
            return NOTHING_HELD
        forks = _process.forks
        held = [each for each in self._held if each is not but and each.forks == forks]
        amounts = [each.has_come if has_come else each.left for each in held]
        return Held(
            len(held),
            sum([each.counted is NOTHING_PROJECTED for each in held]),
            sum([each.input_tokens for each in amounts]),
            sum([each.output_tokens for each in amounts]),
            sum([each.picousd for each in amounts]),
            any(each.takes_all for each in held),
        )

    def _lacks(self, asked: Projection, held: Held, *, is_sent: bool = False) -> str | None:
        """The limit that has no room for a call, beside what is spent and held. None: there is room."""
        max_calls = self.definition.budget.max_calls
        if self._is_late():
            return "max_seconds"
        if is_sent:
            return self._lacks_room(asked, held)
        if max_calls is not None and self._covered().llm_calls + held.calls + 1 > max_calls:
            return "max_calls"
        if not self._reserves:
            return None
        return self._first_limit() if held.takes_all else self._lacks_room(asked, held)

    def _lacks_room(self, asked: Projection, held: Held) -> str | None:
        if self._max_call_picousd is not None and asked.picousd > self._max_call_picousd:
            return "max_cost_per_call"
        if asked.unpriced_model is not None and self._max_picousd is not None:
            return "max_usd"
        return self._full(self._with(asked, held))

    def _first_limit(self) -> str:
        names = ("max_usd", "max_tokens", "max_output_tokens", "max_input_tokens")
        return next((name for name in names if getattr(self.definition.budget, name) is not None), "max_usd")

    def _output_room(self, asked: Projection, held: Held) -> int:
        """How many output tokens of a call there is room for. Below 0: not even for its input."""
        budget, of_input = self.definition.budget, asked.with_output(0)
        if asked.unpriced_model is not None and self._max_picousd is not None:
            return -1
        used = self._with(of_input, held)
        rooms = [asked.output_tokens]
        if budget.max_tokens is not None:
            rooms.append(budget.max_tokens - used.budget_tokens)
        if budget.max_output_tokens is not None:
            rooms.append(budget.max_output_tokens - used.budget_output_tokens)
        if budget.max_input_tokens is not None and used.budget_input_tokens > budget.max_input_tokens:
            rooms.append(-1)
        if self._max_picousd is not None:
            rooms.append(_affordable(asked, self._max_picousd - used.budget_picousd))
        if self._max_call_picousd is not None:
            rooms.append(_affordable(asked, self._max_call_picousd - of_input.picousd))
        return min(rooms)


def _affordable(asked: Projection, picousd: int) -> int:
    """How many of the output tokens of a call as many pico-dollars pay for. Below 0: not even for its input."""
    if picousd < 0:
        return -1
    return min(asked.output_tokens, picousd // asked.token_picousd) if asked.token_picousd else asked.output_tokens


def _room_for(asked: Projection, covering: Sequence[Admission], *, waits: Waits, refuses: bool) -> Reservation | None:
    """What is held for a call. To be called under the lock. None: there is no room, and `refuses` is false.

    Raises:
        StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `Budgeted.admit`.
    """
    takes_all, output_cap, is_full = False, None, False
    for account in covering:
        held = account._in_flight()
        limit = account._lacks(asked, held)
        is_full = is_full or limit is not None
        if limit not in OF_OUTPUT:
            continue
        room = account._output_room(asked, held)
        if account.definition.budget.cap_output and room > 0 and not held.takes_all:
            asked, output_cap = asked.with_output(room), room
        elif not asked.is_firm and not held.in_flight and room >= 0:
            # Nobody knows how much it will be, and to refuse it would be to refuse every such call.
            asked, takes_all = asked.with_output(room), True
    if is_full and not _is_let_in(asked, covering, waits=waits, refuses=refuses):
        return None
    return Reservation(asked, takes_all=takes_all, output_cap=output_cap)


def _is_let_in(asked: Projection, covering: Sequence[Admission], *, waits: Waits, refuses: bool) -> bool:
    """Whether no budget keeps the call from being sent. Who may wait for one of them does so if no other refuses it."""
    waiting: RoomMayComeError | None = None
    for account in covering:
        held = account._in_flight()
        limit = account._lacks(asked, held)
        if limit is not None and not refuses:
            return False
        if limit is not None and account._stops(limit):
            try:
                account.refuse(limit, asked, held, waits=waits)
            except RoomMayComeError as error:
                waiting = waiting or error
    if waiting is not None:
        raise waiting
    return True
