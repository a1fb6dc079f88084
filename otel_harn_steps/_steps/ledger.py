"""The ledger: one row for each call, from the moment it is sent to the moment its spend is known.

In memory a row lives as long as its call: steps keep totals, and whoever wants rows subscribes as a sink.
"""

from __future__ import annotations

from operator import attrgetter
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps import _process
from otel_harn_steps._cost.usage import PARTS
from otel_harn_steps._guard import guard
from otel_harn_steps._process import new_id
from otel_harn_steps._steps.by_label import UNLABELLED, by_label
from otel_harn_steps._steps.labels import current_labels
from otel_harn_steps._steps.totals import COUNTERS, NO_USAGE, ModelCall
from otel_harn_steps._steps.tree import COMMON
from otel_harn_steps._telemetry import delivery, metrics
from otel_harn_steps._telemetry.call_row import NO_STEP, CallRow, Outcome
from otel_harn_steps._telemetry.delivery import call_sent, call_settled

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.reservation import Reservation

_WRITING_ROW = guard("writing a call's row")
_COUNTING_CALL = guard("counting a call")
_DETAILS: Final = tuple(name for name in PARTS if name not in COUNTERS)
_get_details = attrgetter(*_DETAILS)


class OpenCall:
    """A call that has been sent, and has not ended.

    Attributes:
        account: what it is billed to.
        provider, operation, requested_model: what it asks for.
        sent_at: nanoseconds since the epoch.
        step_name: the name of the step, or what stands for it where no step claims the call.
        is_open: whether the account counts it as open.
        counted: what the account holds of it. None: nothing.
        is_over: whether it has ended. The account changes these three, under its lock.
        reservation: what its budgets hold for it. None: nothing.
        labels: those in force where it was made.
        labelled: the budgets of its labels, which count what it spends.
    """

    __slots__ = (
        "_began",
        "_call_id",
        "_is_counted",
        "_is_written",
        "_run_id",
        "account",
        "counted",
        "is_open",
        "is_over",
        "labelled",
        "labels",
        "operation",
        "provider",
        "requested_model",
        "reservation",
        "sent_at",
        "step_name",
    )

    def __init__(
        self,
        account: Account,
        provider: str,
        operation: str,
        requested_model: str | None,
        sent_at: int,
        *,
        reservation: Reservation | None = None,
        context: Context | None = None,
    ) -> None:
        self.account = account
        self.provider = provider
        self.operation = operation
        self.requested_model = requested_model
        self.sent_at = sent_at
        self._run_id = _process.run_id
        self.labels = current_labels(context) or account.labels
        # Without asking, where there can be none: this runs at every call.
        self.labelled = by_label(account) if account.tree is COMMON else UNLABELLED
        self._call_id: str | None = None
        self._began: tuple[Any, ...] | None = None  # what its row begins with, in the order of a row's fields
        self.step_name = account.definition.name if account.is_step else NO_STEP
        self.is_open = self.is_over = self._is_counted = self._is_written = False
        self.counted: ModelCall | None = None
        self.reservation = reservation

    @property
    def is_covered(self) -> bool:
        """Whether a budget counts what it spends."""
        return self.account.is_covered or bool(self.labelled.accounts)

    def send(self) -> None:
        """It is about to be sent: its row begins, unless it has taken over one that has begun."""
        if self.is_open:
            return
        self.account.opened(self)
        if delivery.of_calls:
            with _WRITING_ROW:
                call_sent(self._row("open"))

    def take_over(self, outer: OpenCall) -> None:
        """This is what `outer` asked a client below it to send: one call, which has one row."""
        outer.account.release(outer)
        if outer.is_open:
            self._call_id = outer._call_id if outer._began is None else outer._began[0]
            outer.is_open, self.is_open = False, True

    def bill_for_now(self, call: ModelCall) -> None:
        """Bill what is known of it, in place of what was known before. It stays open."""
        self.account.add(call, row=self, is_over=False)

    def settle(
        self, call: ModelCall, outcome: Outcome = "answered", response: object = None
    ) -> StepBudgetExceeded | None:
        """Bill it, and complete its row, each once. An interrupt passes when both is done.

        Args:
            call: what it spent.
            outcome: how it ended.
            response: the provider's answer, kept on the breach.

        Returns:
            The breach of a budget, for the caller to raise.
        """
        account = self.account
        is_late = account.status is not None or account._forks != _process.forks
        try:
            return account.add(call, response, row=self)
        except BaseException:  # an interrupt, which may have come before the call was counted
            account.add(call, response, row=self)
            raise
        finally:
            try:
                if not self._is_counted:
                    self._is_counted = True
                    self._count(call)
            finally:
                if delivery.of_calls:
                    self._write_settled(outcome, call, is_late=is_late)

    def _count(self, call: ModelCall) -> None:
        try:
            if metrics.are_heard():
                metrics.count_call(
                    self.step_name,
                    call.provider,
                    call.model,
                    call.certainty,
                    call.usage,
                    call.cost_picousd,
                    self.labels,
                    call.cache_savings_picousd,
                )
        except Exception as fault:
            if not _COUNTING_CALL.drops(fault):
                raise

    def _write_settled(self, outcome: Outcome, call: ModelCall | None = None, *, is_late: bool = False) -> None:
        try:
            self._write(outcome, call, is_late=is_late)
        except BaseException:  # an interrupt: the row is written all the same, and by no means twice
            self._write(outcome, call, is_late=is_late)
            raise

    def _write(self, outcome: Outcome, call: ModelCall | None, *, is_late: bool) -> None:
        if self._is_written:
            return
        with _WRITING_ROW:
            row = self._row(outcome, call, is_late=is_late)
            self._is_written = True
            call_settled(row)

    def close(self, outcome: Outcome) -> None:
        """Complete the row of a call that nobody is billed for. One whose row another call took over has none."""
        if not self.is_open:
            if self.reservation is not None:
                self.account.closed(self)
            return
        self.account.closed(self)
        if delivery.of_calls:
            self._write_settled(outcome)

    def refuse(self) -> None:
        """Leave the row of a call that a budget did not let out."""
        if delivery.of_calls:
            self._write_settled("refused")

    def _row(self, outcome: Outcome, call: ModelCall | None = None, *, is_late: bool = False) -> CallRow:
        account = self.account
        if self._began is None:
            self._began = (
                self._call_id or new_id(),
                self._run_id,
                account.step_id,
                account.parent_id,
                self.step_name,
                account.path,
                account.agent,
                self.labels,
            )
        return CallRow(  # type: ignore[call-arg]  # two tuples of known length
            *self._began,
            self.sent_at,
            self.provider,
            self.operation,
            self.requested_model,
            outcome,
            None if outcome == "open" else time_ns() - self.sent_at,
            *(_NOTHING_SPENT if call is None else _spend(call)),
            is_late,
        )


# In the order of a row's fields, because rows are made by position: it takes half the time.
_NOTHING_SPENT: Final[tuple[Any, ...]] = (None, None, None, 0, 0, 0, {}, {}, None, "unknown", None, 0, 0)


def _spend(call: ModelCall) -> tuple[Any, ...]:
    usage = NO_USAGE if call.usage is None else call.usage
    details = _get_details(usage)
    return (
        call.model,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        {name: count for name, count in zip(_DETAILS, details, strict=True) if count} if any(details) else {},
        {name: str(value) for name, value in call.terms},
        call.cost_picousd,
        call.certainty,
        call.price_book,
        call.estimated_tokens,
        call.estimated_picousd,
    )


def bill(account: Account, call: ModelCall) -> StepBudgetExceeded | None:
    """Bill a call that is over: its row is complete when it begins. Returns the breach of a budget, to be raised."""
    return OpenCall(account, call.provider, "chat", call.model, time_ns()).settle(call)
