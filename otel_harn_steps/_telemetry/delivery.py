"""From a finished step to everyone who receives its record: the in-process log, and the sinks of every processor.

Each receives each record once, whether the span was recorded, sampled out, or never made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from operator import methodcaller
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import ref

from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._process import in_forked_child

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
    from otel_harn_steps._telemetry.record import CompletedStep

Sink = Callable[["CompletedStep"], object] | object
"""Receives records: a callable that takes a `CompletedStep`, or an object with methods of `LedgerSink`.

What it returns is ignored; its exceptions are logged once and dropped.
"""

DEFAULT_CAPACITY = 10_000


class RecordLog:
    """The last records of this process, oldest first. Full, it drops the oldest and counts them.

    It keeps what they are made of, and makes each when somebody takes it.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        # A deque's own operations are atomic, so the log needs no lock that a fork could leave held.
        self._records: deque[LeavingRecord] = deque(maxlen=capacity)
        self.dropped = 0

    def __call__(self, leaving: LeavingRecord) -> Literal[True]:
        """Keep a record. Returns whether it is kept."""
        if len(self._records) == self._records.maxlen:
            self.dropped += 1
        self._records.append(leaving)
        return True

    def drain(self) -> list[CompletedStep]:
        """Take out all records."""
        taken = []
        while self._records:
            taken.append(self._records.popleft())
        return _made(taken)

    def clear(self) -> None:
        """Begin anew: no records, and none dropped."""
        self._records.clear()
        self.dropped = 0

    def peek(self) -> list[CompletedStep]:
        """A copy of all records."""
        return _made(list(self._records))


def _made(leaving: list[LeavingRecord]) -> list[CompletedStep]:
    return [record for each in leaving if (record := each.record) is not None]


class LedgerSink(Protocol):
    """A sink of the ledger. Each of the methods is optional.

    They are called in the thread of the app's call, or in one of their own where `instrument(sink_queue=...)` asks for
    that. A call that
    is over when it begins (`record_llm_usage`, another instrumentation's span, a call that a budget refused) is settled
    without having been sent.
    """

    def call_sent(self, row: CallRow) -> object:
        """A call is about to be sent."""

    def call_settled(self, row: CallRow) -> object:
        """A call has ended. The row is complete: nothing of the one that was sent is needed."""

    def step_started(self, step: StartedStep) -> object:
        """A step has been entered."""

    def step_ended(self, record: CompletedStep) -> object:
        """A step has ended, or is amended."""


class Receiver(Protocol):
    """A processor with sinks.

    Attributes:
        takes_records: whether one of them receives the records of steps.
        takes_calls: whether one of them receives the rows of calls.
        takes_starts: whether one of them is to know when steps begin.
    """

    takes_records: bool
    takes_calls: bool
    takes_starts: bool

    def receive(self, record: CompletedStep) -> None:
        """Hand `record` to the sinks."""

    def call_sent(self, row: CallRow) -> None:
        """Hand the row to the sinks that want it."""

    def call_settled(self, row: CallRow) -> None:
        """Hand the row to the sinks that want it."""

    def step_started(self, step: StartedStep) -> None:
        """Hand the step to the sinks that want it."""


class LeavingRecord:
    """A record on its way, and who has it. What is done of it is not done again.

    Args:
        make: makes the record, when somebody takes it. What it makes it of does not change any more. None: it cannot be
            made, and nobody gets it. The span ends all the same.

    Attributes:
        received_by: the receivers that have it.
        is_kept: whether the in-process log has it, or is not to have it.
    """

    __slots__ = ("_has_ended_span", "_make", "_record", "is_kept", "received_by")

    def __init__(self, make: Callable[[], CompletedStep] | None) -> None:
        self._make = make
        self._record: CompletedStep | None = None
        self.received_by: tuple[Receiver, ...] = ()
        self.is_kept = make is None
        self._has_ended_span = False

    @property
    def record(self) -> CompletedStep | None:
        """The record. None: it could not be made."""
        if self._make is not None:
            with _MAKING:
                self._record = self._make()
            self._make = None
        return self._record

    def end_span(self, span: Span | None, end_time_ns: int) -> None:
        """End `span`, on which its processors take the record; then hand it to everyone who has not received it so.

        Args:
            span: the step's span. None: it does not record.
            end_time_ns: when the step ended.
        """
        key: tuple[int, int] | None = None
        try:
            if span is not None and not self._has_ended_span:
                if of_records:
                    context = span.get_span_context()
                    key = context.trace_id, context.span_id
                    _leaving[key] = self
                self._has_ended_span = True
                span.end(end_time_ns)
        except Exception as fault:
            if not _ENDING_SPAN.drops(fault):
                raise
        finally:
            if key is not None:
                _leaving.pop(key, None)
            if of_records:
                _to_each(iter(of_records), self._hand_to)

    def take(self, receiver: Receiver) -> CompletedStep | None:
        """The record, for a receiver that has not had it."""
        if receiver in self.received_by:
            return None
        record = self.record
        if record is not None:
            self.received_by = (*self.received_by, receiver)
        return record

    def _hand_to(self, receiver: Receiver) -> None:
        record = self.take(receiver)
        if record is not None:
            receiver.receive(record)


_MAKING = guard("making a record")
_ENDING_SPAN = guard("ending a step's span", ours=False)
log = RecordLog()
in_forked_child(log.clear)
_receivers: tuple[ref[Receiver], ...] = ()
# Those of them that take these, so that there is nothing to do where nobody does.
of_records: tuple[ref[Receiver], ...] = ()
of_calls: tuple[ref[Receiver], ...] = ()
of_starts: tuple[ref[Receiver], ...] = ()
_leaving: dict[tuple[int, int], LeavingRecord] = {}
_changing = RLock()


@in_forked_child
def _forked() -> None:
    global _changing  # noqa: PLW0603 -- another thread may have held it
    _changing = RLock()


def drain_completed_steps() -> list[CompletedStep]:
    """Return the records of the steps that ended in this process since the last drain, and forget them."""
    finish_freed()
    return log.drain()


def peek_completed_steps() -> list[CompletedStep]:
    """A copy of the records that `drain_completed_steps` would return."""
    finish_freed()
    return log.peek()


def dropped_completed_steps() -> int:
    """How many records the in-process log has dropped because it was not drained."""
    return log.dropped


def add_receiver(receiver: Receiver) -> None:
    """Let `receiver` have every record from now on, as long as it lives."""
    with _changing:
        _use_receivers(*_others(receiver), ref(receiver))


def remove_receiver(receiver: Receiver) -> None:
    """Let `receiver` have no more records."""
    with _changing:
        _use_receivers(*_others(receiver))


def _others(receiver: Receiver) -> list[ref[Receiver]]:
    return [each for each in _receivers if each() not in (None, receiver)]


def _use_receivers(*receivers: ref[Receiver]) -> None:
    global _receivers, of_records, of_calls, of_starts  # noqa: PLW0603 -- replaced whole: no reader sees them half changed
    living = [(each, receiver) for each in receivers if (receiver := each()) is not None]
    _receivers = receivers
    of_records = tuple(each for each, receiver in living if receiver.takes_records)
    of_calls = tuple(each for each, receiver in living if receiver.takes_calls)
    of_starts = tuple(each for each, receiver in living if receiver.takes_starts)


def call_sent(row: CallRow) -> None:
    """Hand the row of a call that is about to be sent to everyone who receives such rows."""
    _to_each(iter(of_calls), methodcaller("call_sent", row))


def call_settled(row: CallRow) -> None:
    """Hand the row of a call that has ended to everyone who receives such rows."""
    _to_each(iter(of_calls), methodcaller("call_settled", row))


def step_started(step: StartedStep) -> None:
    """Tell everyone who is to know that a step has begun."""
    _to_each(iter(of_starts), methodcaller("step_started", step))


def deliver(record: CompletedStep) -> None:
    """Hand a record that leaves without a span to everyone who receives records."""
    log(LeavingRecord(lambda: record))
    _to_each(iter(of_records), methodcaller("receive", record))


def _to_each(receivers: Iterator[ref[Receiver]], hand: Callable[[Receiver], object]) -> None:
    """Call `hand` with each receiver. What interrupts one is passed on when the others have had their turn."""
    try:
        for each in receivers:
            receiver = each()
            if receiver is not None:
                hand(receiver)
    except BaseException:
        _to_each(receivers, hand)
        raise


Handler = tuple[Callable[[Any], object], AbstractContextManager[object]]
"""What a sink is called with, and the guard that it is called in."""
Handlers = tuple[Handler, ...]


def hand_to_sinks(what: object, handlers: Iterator[Handler]) -> None:
    """Hand `what` to each sink. What interrupts one, as an exit does, is passed on when the others have had theirs."""
    try:
        for handler, guarded in handlers:
            with guarded:
                handler(what)
    except BaseException:
        hand_to_sinks(what, handlers)
        raise


def take_record(trace_id: int, span_id: int, receiver: Receiver) -> CompletedStep | None:
    """The record that leaves with the span, for a processor that has not had it."""
    leaving = _leaving.get((trace_id, span_id))
    return None if leaving is None else leaving.take(receiver)
