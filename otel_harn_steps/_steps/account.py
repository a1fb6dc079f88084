"""Accounts: what the calls of a step, or of a run, have spent, and whether more of them may begin.

The totals of an account are the truth. Spans, records and metrics show them and decide nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import INVALID_SPAN, Span

from otel_harn_steps import _process
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.budgeted import KNOWN
from otel_harn_steps._steps.by_label import by_label
from otel_harn_steps._steps.history import note_output
from otel_harn_steps._steps.reservation import Projection
from otel_harn_steps._steps.steering import Steered
from otel_harn_steps._steps.totals import NOTHING, OBSERVED, ModelCall, Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_harn_steps._steps.by_label import ByLabel
    from otel_harn_steps._steps.definition import StepDefinition
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.ledger import OpenCall
    from otel_harn_steps._steps.reservation import Reservation
    from otel_harn_steps._steps.thresholds import Threshold

    _Change = tuple[Tally, dict[tuple[str, str | None], Tally], list[tuple["Account", Tally]]]
    _Late = tuple["Account", str | None]

_logger = logging.getLogger("otel_harn_steps")
_warned_uncovered: set[str] = set()
_MOST_WARNED: Final = 1000  # names may be made at run time
_NONE_IS_LATE: Final[Sequence[_Late]] = ()
_NO_LABELS: Final[Mapping[str, str]] = {}


class Account(Steered):
    """What calls are billed to.

    `input_tokens`, `output_tokens`, `cost_usd`, `llm_calls` are what its own calls spent; the `total_*` properties
    hold what is nested in it too. US dollars; calls of unknown price are in `unpriced_calls` and not in the dollars.
    What is estimated for a budget is in `estimated_tokens` and `estimated_cost_usd`, and in nothing else.

    Attributes:
        definition: what was declared.
        above: the account around this one, which counts what this one spends as well.
        status: how it ended. None while it lives: an account that has ended still counts, and refuses nothing.
        open_calls: own calls that have been sent and have not ended.
        is_step: whether it is a step's.
        of_agent: what counts the spend of its agent, where that has a budget.
        breach: the limit that was crossed first.
        is_covered: whether a budget counts what this account's own calls spend.
    """

    __slots__ = (
        "_forks",
        "_is_warned_of",
        "_on_leave",
        "by_model",
        "labels",
        "last_model",
        "of_agent",
        "open_calls",
        "price_book",
        "watch",
    )

    is_step: bool = False
    span: Span = INVALID_SPAN
    step_id: str | None = None
    parent_id: str | None = None
    path: str = ""
    agent: str | None = None

    def __init__(self, definition: StepDefinition, above: Account | None) -> None:
        # What the classes above declare begins here as well: a step is entered often, and each of theirs is a call.
        self._take_budget(definition, above)
        self.own = self.subtree = NOTHING
        self.status = self.breach = self.would_have_stopped = None
        self.refused = self.open_calls = self._reached = 0
        self.by_model: dict[tuple[str, str | None], Tally] = {}
        self.last_model: str | None = None
        self.price_book: str | None = None
        self.labels: Mapping[str, str] = _NO_LABELS
        self.of_agent: Account | None = None
        self.budget_events = ()
        self._model = self._tells_from = self._pause = self.shared = self._held = self._last_input = None
        self._is_warned_of = above is None  # whether somebody was told what budgets above do not cover of its spend
        self._on_leave: list[Callable[[], None]] = []
        self._forks = _process.forks
        # Kept for `_calls.repeating`, and for `_calls.foreign_spans`: other instrumentations' spans in this account.
        # Read there alone.
        self.loop_watch: object = None
        self.watch: Any = None

    # -- spending ----------------------------------------------------------------------------------------------

    def opened(self, row: OpenCall) -> None:
        """A call is about to be sent."""
        with self.tree.lock:
            # In one line, here and below: an interrupt in between would leave one of the two behind.
            self.open_calls, row.is_open = self.open_calls + (not row.is_open), True

    def belong_to(self, agent: Account | None) -> None:
        """Count what this account's own calls spend with an agent, and hold it against the agent's budget."""
        # One that was open before agents had budgets is under another lock, and so is what is nested in it.
        if agent is not None and agent.tree is self.tree:
            self.of_agent = agent
            self._coverers, self.is_covered = (*self._coverers, agent), True
            self.wants = self.wants.also(agent.definition.budget.wants)

    def closed(self, row: OpenCall) -> None:
        """A call has ended: nothing more is counted of it."""
        with self.tree.lock:
            row.is_over = True
            self.open_calls, row.is_open = self.open_calls - row.is_open, False
            row.reservation = None
        if self.tree.waiting:
            self.tree.changed()

    def release(self, row: OpenCall) -> None:
        """Hold nothing more for a call."""
        if row.reservation is not None:
            with self.tree.lock:
                row.reservation = None
            self.tree.changed()

    def add(
        self, call: ModelCall, response: object = None, *, row: OpenCall | None = None, is_over: bool = True
    ) -> StepBudgetExceeded | None:
        """Count a call in the totals, then hold them against every budget that covers it.

        Accounts that have ended count it too, and what each of them reports of it leaves as an amendment. An interrupt
        leaves nothing half counted: to count a call of the same `row` again does nothing.

        Args:
            call: what was spent. It stays in the totals whatever comes of it: the money is spent.
            response: the provider's answer, kept on the error.
            row: the call's row. What was counted of it before is replaced.
            is_over: whether the call has ended.

        Returns:
            The first breach of a living account, for the caller to raise. It is noted, and raises at the next call or
            at the step's exit.
        """
        labelled = by_label(self) if row is None else row.labelled
        with self.tree.lock:
            replaces, held = (None, None) if row is None else (row.counted, row.reservation)
            if row is not None and (row.is_over or (replaces is not None and replaces == call)):
                if is_over:
                    self.closed(row)
                return None
            change, interrupt = self._change(call, replaces, labelled), None
            try:
                first, late = self._apply(change, call, response, row, labelled, is_over=is_over)
            except BaseException as error:  # noqa: BLE001 -- raised below: first the call is counted whole
                interrupt = error
                first, late = self._apply(change, call, response, row, labelled, is_over=is_over)
        if self.wants.is_looked_at or labelled.wants.is_looked_at:
            of_run = self._look_at_budgets(call, response, held, labelled, is_over=is_over)
            first = first or of_run
        del held  # it holds room until it is freed, and those that wait for room look at once
        if self.tree.waiting:
            self.tree.changed()
        if late:
            self._amend_each(iter(late), call, replaces)
        if interrupt is not None:
            raise interrupt
        if not self._is_warned_of:
            self._warn_of_uncovered_spend()
        return first

    def _change(self, call: ModelCall, replaces: ModelCall | None, labelled: ByLabel) -> _Change:
        """What the tallies are to be when `call` is counted."""
        key = call.provider, call.model
        added = Tally.of(call, replaces=replaces)
        before = self.own
        own = before.plus(added)
        held = self.by_model.get(key, NOTHING)
        if replaces is None or (replaces.provider, replaces.model) == key:
            # Where one model makes all calls, and nothing is nested, it is the same tally.
            by_model = {key: own if held is before else held.plus(added)}
        else:
            other = replaces.provider, replaces.model
            by_model = {key: held.plus(Tally.of(call)), other: self.by_model[other].minus(Tally.of(replaces))}
        subtrees: list[tuple[Account, Tally]] = []
        # Where nothing else was spent in those above, it is the same tally in all of them.
        known, is_now = before, own
        account: Account | None = self
        while account is not None:
            if account.subtree is not known:
                known = account.subtree
                is_now = known.plus(added)
            subtrees.append((account, is_now))
            account = account.above
        if self.of_agent is not None:
            subtrees.append((self.of_agent, self.of_agent.subtree.plus(added)))
        if labelled.accounts:
            subtrees += [(each, each.subtree.plus(added)) for each in labelled.accounts]
        return own, by_model, subtrees

    def _apply(
        self,
        change: _Change,
        call: ModelCall,
        response: object,
        row: OpenCall | None,
        labelled: ByLabel,
        *,
        is_over: bool,
    ) -> tuple[StepBudgetExceeded | None, Sequence[_Late]]:
        """Count the call, and look at every budget that covers it. To be done again where it was interrupted."""
        self.own, by_model, subtrees = change
        self.by_model.update(by_model)
        late: list[Account] = []
        for account, subtree in subtrees:
            account.subtree = subtree
            if account.status is not None or account._forks != _process.forks:
                late.append(account)
        if call.model:
            self.last_model = call.model
        book = call.price_book
        if book is not None and book != self.price_book:
            self.price_book = book if self.price_book is None else _both_books(self.price_book, book)
        if row is not None:
            self._count_row(row, call, is_over=is_over)
        first: StepBudgetExceeded | None = None
        news: dict[Account, str] = {}
        for coverer in self.coverers(labelled) if labelled.accounts else self._coverers:
            crossed = coverer._crossed(call, response, spender=self)
            if crossed is not None and coverer._is_stopped_by(crossed, news):
                first = first or crossed
                if coverer is not self:
                    coverer.show()
        if self.status is None:
            self.show()  # those above show what is nested in them at their end
        return first, [(account, news.get(account)) for account in late] if late else _NONE_IS_LATE

    def _is_stopped_by(self, crossed: StepBudgetExceeded, news: dict[Account, str]) -> bool:
        """Note the breach of this account's budget, and in `news` its limit where it is the first.

        Whether it stops the account, which one that has ended is not.
        """
        if not self._stops(crossed.limit):
            return False
        if self.breach is None or self.breach.projected:
            news[self] = crossed.limit
        self._note(crossed)
        return self.status is None

    def _amend_each(self, late: Iterator[_Late], call: ModelCall, replaces: ModelCall | None) -> None:
        try:
            for account, limit in late:
                account.amend(call, replaces, limit, is_own=account is self)
        except BaseException:  # an interrupt: the others have their amendment all the same
            self._amend_each(late, call, replaces)
            raise

    def _look_at_budgets(
        self, call: ModelCall, response: object, held: Reservation | None, labelled: ByLabel, *, is_over: bool
    ) -> StepBudgetExceeded | None:
        """Count a call with the other processes of the run, and tell which shares of budgets are spent now."""
        reached: list[tuple[Steered, Threshold]] = []
        with self.tree.lock:
            crossed = self._settle_shared(call, response, held) if is_over else None
            for account in self.coverers(labelled):
                if account.definition.budget.thresholds and account.status is None:
                    reached += [(account, each) for each in account.reach_thresholds()]
        for account, threshold in reached:
            account.tell_of_threshold(threshold)
        return crossed

    def _settle_shared(self, call: ModelCall, response: object, held: Reservation | None) -> StepBudgetExceeded | None:
        """Count the call with the other processes of the run, and look at what all of them have spent."""
        for account in self._coverers:
            if account.shared is not None:
                account.shared.settle(held, call)
                crossed = account._crossed(call, response, spender=self)
                if crossed is not None and account._stops(crossed.limit):
                    account._note(crossed)
                    return crossed if account.status is None else None
        return None

    def _count_row(self, row: OpenCall, call: ModelCall, *, is_over: bool) -> None:
        row.counted, row.is_over = call, is_over
        if row.reservation is not None:
            self._learn(call, row)
            row.reservation.counted = Projection.of(call)
        if is_over:
            row.reservation = None
            self.open_calls, row.is_open = self.open_calls - row.is_open, False

    def _learn(self, call: ModelCall, row: OpenCall) -> None:
        """Remember what the next call of this step is to be expected to use."""
        usage, reservation = call.usage, row.reservation
        if reservation is None or usage is None or call.certainty not in KNOWN:
            return
        if usage.input_tokens and reservation.asked.estimated_input:
            self._last_input = reservation.asked.estimated_input, usage.input_tokens
        if usage.output_tokens:
            note_output(self.definition.name, row.requested_model, usage.output_tokens)

    def observe(self, call: ModelCall) -> None:
        """Count that another instrumentation's span reported a call, which is to be added as every call is."""
        with self.tree.lock:
            key = call.provider, call.model
            self.own, self.by_model[key] = self.own.plus(OBSERVED), self.by_model.get(key, NOTHING).plus(OBSERVED)
            for account in self.lineage():
                account.subtree = account.subtree.plus(OBSERVED)

    def amend(self, call: ModelCall, replaces: ModelCall | None, breached: str | None, *, is_own: bool) -> None:
        """Report a call that came after the account's own report. An account without reports has none to amend."""

    def show(self) -> None:
        """Show the totals. An account without a span shows nothing."""

    def _warn_of_uncovered_spend(self) -> None:
        self._is_warned_of = True
        if len(_warned_uncovered) >= _MOST_WARNED:
            return
        for account in self.lineage():
            definition = account.definition
            if account._covers(self) or not account._is_limited or definition.name in _warned_uncovered:
                continue
            _warned_uncovered.add(definition.name)
            _logger.warning(
                "step %r has a budget for its own calls only: what the nested step %r spends is not covered by it; "
                'give step %r scope="tree" to cover nested steps too',
                definition.name,
                self.definition.name,
                definition.name,
            )

    # -- what is to be done when the account is closed ------------------------------------------------------------

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the step is left, before its boundary decides: the latest first, each once."""
        with self.tree.lock:
            self._on_leave.append(callback)

    def forget_on_leave(self, callback: Callable[[], None]) -> None:
        """Do not call `callback` any more; nothing happens if it is not there."""
        if not self._on_leave:
            return
        with self.tree.lock:
            if callback in self._on_leave:
                self._on_leave.remove(callback)

    def run_leave_callbacks(self) -> BaseException | None:
        """Call what `on_leave` was given, each once, whatever is raised in it. What one of them adds is called too.

        Returns the first interrupt (`KeyboardInterrupt` and the like) that was raised in one, to be passed on.
        """
        interrupt: BaseException | None = None
        while self._on_leave:
            try:
                callback = self._on_leave.pop()
                with guard("settling what a step left open"):
                    callback()
            except BaseException as error:  # noqa: BLE001 -- passed on when the step has been left
                interrupt = interrupt or error
        return interrupt


def _both_books(known: str, book: str) -> str:
    return ", ".join(sorted({*known.split(", "), book}))


def forget_warnings() -> None:
    """Warn of everything again (tests)."""
    _warned_uncovered.clear()
