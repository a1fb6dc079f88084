"""An account's budget: which budgets cover a call, whether there is room for it, and which limit it has crossed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from otel_harn_steps import _process
from otel_harn_steps._cost.money import to_picousd, to_usd
from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.errors import (
    StepBudgetExceeded,
    StepBudgetStop,
    loop_detail,
    unmetered_detail,
    unpriced_detail,
)
from otel_harn_steps._steps.reservation import (
    NOTHING_HELD,
    NOTHING_PROJECTED,
    Held,
    Projection,
    Reservation,
    RoomMayComeError,
)
from otel_harn_steps._steps.spent import Spent
from otel_harn_steps._steps.totals import ModelCall, Tally
from otel_harn_steps._steps.tree import Tree

if TYPE_CHECKING:
    from otel_harn_steps._steps.definition import StepDefinition
    from otel_harn_steps._telemetry.record import Status

_limit_picousd = lru_cache(typed=True)(to_picousd)  # a step's limit is the same in all of its runs
KNOWN: Final = frozenset({"measured", "reported"})
_MET_BY_LESS_OUTPUT: Final = frozenset({"max_tokens", "max_usd", "max_output_tokens", "max_cost_per_call"})


class Budgeted(Spent):
    """What has a budget, and lies below others that have.

    Attributes:
        definition: what was declared.
        above: the account around this one, which counts what this one spends as well.
        status: how it ended. None while it lives: an account that has ended still counts, and refuses nothing.
        breach: the limit that was crossed first.
        would_have_stopped: the limit that was crossed first, where the budget only looks on.
        refused: how many calls its budget has refused for good.
        is_covered: whether a budget counts what this account's own calls spend.
        watches_loops: whether one of those budgets is for calls that repeat.
        loop_watch: what finds them, kept for `_calls.repeating` and read there alone.
    """

    __slots__ = (
        "_began_s",
        "_coverers",
        "_covering_below",
        "_held",
        "_is_limited",
        "_max_call_picousd",
        "_max_picousd",
        "_ratio",
        "above",
        "breach",
        "definition",
        "is_covered",
        "loop_watch",
        "refused",
        "status",
        "tree",
        "watches_loops",
        "would_have_stopped",
    )

    def __init__(self, definition: StepDefinition, above: Self | None) -> None:
        super().__init__()
        self.definition = definition
        self.above = above
        self.breach: StepBudgetExceeded | None = None
        self.status: Status | None = None
        self.would_have_stopped: str | None = None
        self.refused = 0
        budget = definition.budget
        self._is_limited = is_limited = budget.is_limited
        self._max_picousd = None if budget.max_usd is None else _limit_picousd(budget.max_usd)
        self._max_call_picousd = None if budget.max_cost_per_call is None else _limit_picousd(budget.max_cost_per_call)
        self._began_s = 0.0 if budget.max_seconds is None else monotonic()
        self._held: WeakSet[Reservation] | None = None
        # What the input of its last call was estimated and measured at.
        self._ratio: tuple[int, int] | None = None
        around: tuple[Budgeted, ...] = () if above is None else above._covering_below
        self._coverers: tuple[Any, ...] = (self, *around) if is_limited else around
        self._covering_below: tuple[Any, ...] = self._coverers if definition.scope == "tree" else around
        self.is_covered = bool(self._coverers)
        self.watches_loops = any(each.definition.budget.loop is not None for each in self._coverers)
        self.loop_watch: object = None
        self.tree: Tree = Tree() if above is None else above.tree

    def lineage(self) -> Iterator[Self]:
        """This account and those above it."""
        account: Self | None = self
        while account is not None:
            yield account
            account = account.above

    def covering(self) -> list[Self]:
        """The living accounts whose budget counts what this one's own calls spend, this one first."""
        return [each for each in self._coverers if each.status is None]

    # -- before a call is sent -----------------------------------------------------------------------------------

    def admit(self, project: Callable[[], Projection] | None = None, *, may_wait: bool = False) -> Reservation | None:
        """Let one more call begin.

        Args:
            project: says what the call may spend; asked where a budget wants to know. None: nothing is held for it.
            may_wait: whether the caller can wait for room.

        Returns:
            What is held for the call. None: no budget covers it, or nothing is to be held.

        Raises:
            StepBudgetExceeded: a budget that covers it is exhausted, or has no room. Nothing was sent.
            StepBudgetStop: the same, once more than a budget's `hard_stop_after`.
            RoomMayComeError: there may be room later, and `may_wait`.
        """
        if not self.is_covered:
            return None
        covering = self.covering()
        if self.tree.unread and not all(account._reserves for account in covering):
            for bill_so_far in list(self.tree.unread):
                # A stream that was left in the middle may stay unsettled until the garbage collector comes.
                bill_so_far()
        for account in covering:
            if account.breach is not None and not account.breach.projected:
                raise account._refusal(account._exceeded(account.breach.limit, detail=account.breach.detail))
        if project is None:
            return None
        projection = project() if any(account._wants_projection for account in covering) else NOTHING_PROJECTED
        if not any(account._reserves for account in covering):
            projection = projection.with_output(0)  # as a stream brings output, it is held for it
        if self.tree.unread and self._hold(projection, covering, refuses=False) is None:
            # A stream that the app has dropped holds room until the garbage collector comes.
            gc.collect()
            finish_freed()
        return self._hold(projection, covering, may_wait=may_wait)

    def _hold(
        self, projection: Projection, covering: Sequence[Self], *, may_wait: bool = False, refuses: bool = True
    ) -> Reservation | None:
        with self.tree.lock:
            reservation = _room_for(projection, covering, may_wait=may_wait, refuses=refuses)
            if reservation is not None:
                for account in covering:
                    if account._held is None:
                        account._held = WeakSet()
                    account._held.add(reservation)
        return reservation

    def grow(self, reservation: Reservation, asked: Projection) -> StepBudgetExceeded | None:
        """Hold more for a call that is under way: a stream has brought more than was held for it.

        Returns:
            The breach of a budget that stops streams and has no room for it, else None.
        """
        with self.tree.lock:
            left = asked.without(reservation.counted)
            for account in self.covering():
                if account.definition.budget.stop_streams:
                    limit = account._lacks(left, account._in_flight(but=reservation), is_sent=True)
                    if limit is not None and account._stops(limit):
                        return account._exceeded(limit)
            reservation.asked = asked
        return None

    def overspent(self) -> StepBudgetExceeded | None:
        """The breach of a budget that stops streams, where calls that have ended have crossed it. Else None."""
        for account in self.covering():
            breach = account.breach
            if breach is not None and not breach.projected and account.definition.budget.stop_streams:
                if breach.limit in _MET_BY_LESS_OUTPUT:
                    return account._exceeded(breach.limit)
            elif (
                account.definition.budget.max_seconds is not None
                and account._is_late()
                and account._stops("max_seconds")
            ):
                return account._exceeded("max_seconds")
        return None

    def repeats(self, is_loop: Callable[[Self], bool], response: object) -> StepBudgetExceeded | None:
        """The breach of a budget for calls that repeat. To be asked about each call that was answered, once.

        Args:
            is_loop: whether the call ends a loop among those of an account.
            response: the provider's answer, kept on the error.
        """
        with self.tree.lock:
            for account in self.covering():
                times = account.definition.budget.loop
                if times is not None and is_loop(account) and account._stops("loop"):
                    detail = loop_detail(account.definition.name, times)
                    error = account._exceeded("loop", response, detail, consumed=times)
                    account.note_breach(error)
                    return error
        return None

    def note_breach(self, error: StepBudgetExceeded) -> None:
        """A budget has stopped something: its step is exhausted, whatever was billed."""
        with self.tree.lock:
            for account in self.covering():
                if account is error.owner and (account.breach is None or account.breach.projected):
                    account.breach = error

    def _is_late(self) -> bool:
        seconds = self.definition.budget.max_seconds
        return seconds is not None and monotonic() - self._began_s > seconds

    @property
    def stops_streams(self) -> bool:
        """Whether a budget that covers this account's own calls stops a stream that it has no room for."""
        return self.is_covered and any(each.definition.budget.stop_streams for each in self.covering())

    def expected_input(self, estimated: int) -> int:
        """The input tokens of a request: its estimate, raised by as much as that of the last call was too low."""
        if self._ratio is None:
            return estimated
        of, measured = self._ratio
        return max(estimated, -(-estimated * measured // of))

    @property
    def _reserves(self) -> bool:
        return self.definition.budget.preflight == "reserve"

    @property
    def _wants_projection(self) -> bool:
        return self._reserves or bool(self.definition.budget.stop_streams)

    def _stops(self, limit: str) -> bool:
        """Whether what crosses the limit is to be stopped. If not, that is noted."""
        if self.definition.budget.mode == "enforce":
            return True
        self.would_have_stopped = self.would_have_stopped or limit
        return False

    def _in_flight(self, but: Reservation | None = None) -> Held:
        if not self._held:
            return NOTHING_HELD
        forks = _process.forks
        held = [each for each in self._held if each is not but and each.forks == forks]
        return Held(
            len(held),
            sum([each.left.input_tokens for each in held]),
            sum([each.left.output_tokens for each in held]),
            sum([each.left.picousd for each in held]),
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
        spent = self._covered()
        if self._max_call_picousd is not None and asked.picousd > self._max_call_picousd:
            return "max_cost_per_call"
        if asked.unpriced_model is not None and self._max_picousd is not None:
            return "max_usd"
        return self._full(
            spent.budget_tokens + held.input_tokens + held.output_tokens + asked.tokens,
            spent.budget_picousd + held.picousd + asked.picousd,
            spent.input_tokens + spent.estimated_tokens + held.input_tokens + asked.input_tokens,
            spent.output_tokens + spent.estimated_tokens + held.output_tokens + asked.output_tokens,
        )

    def _first_limit(self) -> str:
        names = ("max_usd", "max_tokens", "max_output_tokens", "max_input_tokens")
        return next((name for name in names if getattr(self.definition.budget, name) is not None), "max_usd")

    def _full(self, tokens: int, picousd: int, input_tokens: int, output_tokens: int) -> str | None:
        """The limit that such totals cross. `>` and not `>=`: a step may spend its budget to the last token."""
        budget = self.definition.budget
        if budget.max_tokens is not None and tokens > budget.max_tokens:
            return "max_tokens"
        if self._max_picousd is not None and picousd > self._max_picousd:
            return "max_usd"
        if budget.max_input_tokens is not None and input_tokens > budget.max_input_tokens:
            return "max_input_tokens"
        if budget.max_output_tokens is not None and output_tokens > budget.max_output_tokens:
            return "max_output_tokens"
        return None

    def _output_room(self, asked: Projection, held: Held) -> int:
        """How many output tokens of a call there is room for. Below 0: not even for its input."""
        budget, spent = self.definition.budget, self._covered()
        rooms = [asked.output_tokens]
        if asked.unpriced_model is not None and self._max_picousd is not None:
            return -1
        if budget.max_tokens is not None:
            used = spent.budget_tokens + held.input_tokens + held.output_tokens + asked.input_tokens
            rooms.append(budget.max_tokens - used)
        if budget.max_output_tokens is not None:
            rooms.append(budget.max_output_tokens - spent.output_tokens - spent.estimated_tokens - held.output_tokens)
        if budget.max_input_tokens is not None:
            used = spent.input_tokens + spent.estimated_tokens + held.input_tokens + asked.input_tokens
            rooms.append(asked.output_tokens if used <= budget.max_input_tokens else -1)
        for limit, used in (
            (self._max_picousd, spent.budget_picousd + held.picousd),
            (self._max_call_picousd, 0),
        ):
            if limit is not None:
                rooms.append(_affordable(asked, limit - used))
        return min(rooms)

    def _refusal(self, error: StepBudgetExceeded) -> StepBudgetExceeded | StepBudgetStop:
        """`error`, in the form in which it is raised: a loop that tries again is ended by another one."""
        self.refused += 1
        return StepBudgetStop(error) if self.refused > self.definition.budget.hard_stop_after else error

    def refuse(self, limit: str, asked: Projection, held: Held, *, may_wait: bool) -> None:
        """Do not let a call be sent. To be called under the lock.

        Raises:
            StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `admit`.
        """
        error, budget = self._no_room(limit, asked, held), self.definition.budget
        is_contended = held.calls > 0 and self._lacks(asked, NOTHING_HELD) is None
        if is_contended and may_wait and budget.on_contention == "wait":
            raise RoomMayComeError(error, budget.wait_seconds, self.tree.when_changed)
        if self.breach is None and (error.projected or not is_contended):
            self.breach = error
        # What others have spent when they end may be less: such a call may be tried again as often as one likes.
        raise error if is_contended else self._refusal(error)

    def _no_room(self, limit: str, asked: Projection, held: Held) -> StepBudgetExceeded:
        """The error for a call that is not sent, because there is no room for it."""
        spent = self._covered()
        if asked.unpriced_model is not None and limit == "max_usd":
            return self._exceeded(limit, detail=self._unpriced_detail(asked.unpriced_model))
        if limit == "max_calls":
            return self._exceeded(limit, consumed=spent.llm_calls + held.calls + 1)
        if limit == "max_seconds":
            return self._exceeded(limit)
        tokens = spent.budget_tokens + held.input_tokens + held.output_tokens + asked.tokens
        picousd = spent.budget_picousd + held.picousd + asked.picousd
        consumed: float = to_usd(picousd)
        if limit == "max_cost_per_call":
            consumed = to_usd(asked.picousd)
        elif limit == "max_input_tokens":
            consumed = spent.input_tokens + spent.estimated_tokens + held.input_tokens + asked.input_tokens
        elif limit == "max_output_tokens":
            consumed = spent.output_tokens + spent.estimated_tokens + held.output_tokens + asked.output_tokens
        elif limit == "max_tokens":
            consumed = tokens
        return self._exceeded(limit, consumed=consumed, projected=(tokens, to_usd(picousd)))

    # -- after a call ----------------------------------------------------------------------------------------------

    def _covers(self, spender: Budgeted) -> bool:
        """Whether this account's budget counts what `spender` spends, which is this account or one nested in it."""
        return spender is self or self.definition.scope == "tree"

    def _covered(self) -> Tally:
        return self.subtree if self.definition.scope == "tree" else self.own

    def _crossed(self, call: ModelCall, response: object, *, spender: Budgeted) -> StepBudgetExceeded | None:
        if not self._covers(spender):
            return None
        spent, budget = self._covered(), self.definition.budget
        estimated = spent.estimated_tokens
        limit = self._full(
            spent.budget_tokens, spent.budget_picousd, spent.input_tokens + estimated, spent.output_tokens + estimated
        )
        if limit is None and budget.max_calls is not None and spent.llm_calls > budget.max_calls:
            limit = "max_calls"
        if limit is None and self._max_call_picousd is not None and _cost_of(call) > self._max_call_picousd:
            return self._exceeded("max_cost_per_call", response, consumed=to_usd(_cost_of(call)))
        if limit is None and self._is_late():
            limit = "max_seconds"
        if limit is not None:
            return self._exceeded(limit, response)
        is_known = call.cost_picousd is not None and call.certainty in KNOWN
        return None if is_known else self._unknown(call, response)

    def _unknown(self, call: ModelCall, response: object) -> StepBudgetExceeded | None:
        """The breach that a call of unknown usage or price is where the settings refuse it."""
        name, usage = self.definition.name, call.usage
        if (usage is None or not usage.is_complete) and settings().unmetered == "refuse":
            limit = "max_tokens" if self.definition.budget.max_tokens is not None else "max_usd"
            return self._exceeded(limit, response, unmetered_detail(name, call.model, limit))
        if self._max_picousd is None or usage is None or call.cost_picousd is not None:
            return None
        if settings().unpriced == "refuse":
            return self._exceeded("max_usd", response, self._unpriced_detail(call.model))
        return None

    def _unpriced_detail(self, model: str | None) -> str:
        return unpriced_detail(self.definition.name, model, self._max_picousd or 0)

    def _exceeded(
        self,
        limit: str,
        response: object = None,
        detail: str | None = None,
        *,
        consumed: float | None = None,
        projected: tuple[int, float] | None = None,
    ) -> StepBudgetExceeded:
        definition, spent = self.definition, self._covered()
        return StepBudgetExceeded(
            step=definition.name,
            function=definition.function,
            limit=limit,
            limit_value=float(getattr(definition.budget, limit) or 0),
            consumed_tokens=spent.budget_tokens,
            consumed_cost_usd=to_usd(spent.budget_picousd),
            error_boundary=definition.error_boundary,
            consumed=self._consumed(limit) if consumed is None else consumed,
            projected_tokens=None if projected is None else projected[0],
            projected_cost_usd=None if projected is None else projected[1],
            response=response,
            detail=detail,
            owner=self,
        )

    def _consumed(self, limit: str) -> float | None:
        spent = self._covered()
        more: dict[str, Callable[[], Any]] = {
            "max_calls": lambda: spent.llm_calls,
            "max_seconds": lambda: monotonic() - self._began_s,
            "max_input_tokens": lambda: spent.input_tokens + spent.estimated_tokens,
            "max_output_tokens": lambda: spent.output_tokens + spent.estimated_tokens,
        }
        return more[limit]() if limit in more else None


def _cost_of(call: ModelCall) -> int:
    return (call.cost_picousd or 0) + call.estimated_picousd


def _affordable(asked: Projection, picousd: int) -> int:
    """How many of the output tokens of a call as many pico-dollars pay for. Below 0: not even for its input."""
    rest = picousd - asked.input_picousd
    if rest < 0:
        return -1
    return min(asked.output_tokens, rest // asked.token_picousd) if asked.token_picousd else asked.output_tokens


def _room_for(asked: Projection, covering: Sequence[Budgeted], *, may_wait: bool, refuses: bool) -> Reservation | None:
    """What is held for a call. To be called under the lock. None: there is no room, and `refuses` is false.

    Raises:
        StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `Budgeted.admit`.
    """
    takes_all, output_cap = False, None
    for account in covering:
        held = account._in_flight()
        if account._lacks(asked, held) not in _MET_BY_LESS_OUTPUT:
            continue
        room = account._output_room(asked, held)
        if account.definition.budget.cap_output and room > 0 and not held.takes_all:
            asked, output_cap = asked.with_output(room), room
        elif not asked.is_firm and not held.calls and room >= 0:
            # Nobody knows how much it will be, and to refuse it would be to refuse every such call.
            asked, takes_all = asked.with_output(room), True
    for account in covering:
        held = account._in_flight()
        limit = account._lacks(asked, held)
        if limit is not None and not refuses:
            return None
        if limit is not None and account._stops(limit):
            account.refuse(limit, asked, held, may_wait=may_wait)
    return Reservation(asked, takes_all=takes_all, output_cap=output_cap)
