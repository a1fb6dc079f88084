"""Hands the records of steps, and the rows of calls, to sinks. It needs no SDK."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.options import checked_queue, checked_sinks
from otel_harn_steps._telemetry.delivery import (
    Handlers,
    Sink,
    add_receiver,
    hand_to_sinks,
    remove_receiver,
)

if TYPE_CHECKING:
    from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
    from otel_harn_steps._telemetry.record import CompletedStep
    from otel_harn_steps._telemetry.sink_queue import SinkQueue


class SinkReceiver:
    """Hands what happens to its sinks, as `StepSpanProcessor` does, which is one that sees spans as well."""

    def __init__(self, *sinks: Sink, sink_queue: int | None = None) -> None:
        """Start to receive records.

        Args:
            sinks: receive what happens.
            sink_queue: how much of it may wait for them: see `instrument()`. None: they are called in the app's thread.

        Raises:
            TypeError, ValueError: a sink is not callable, or is a class; the queue's size is no number above 0.
        """
        self.sinks = checked_sinks(sinks)
        size = checked_queue(sink_queue)
        self._queue = None if size is None or not sinks else _queue(size)
        self._on_record = _wanted(self.sinks, "step_ended", "a record", or_called=True)
        self._on_start = _wanted(self.sinks, "step_started", "the start of a step")
        self._on_sent = _wanted(self.sinks, "call_sent", "a call")
        self._on_settled = _wanted(self.sinks, "call_settled", "a call")
        self.takes_records = bool(self._on_record)
        self.takes_starts = bool(self._on_start)
        self.takes_calls = bool(self._on_sent or self._on_settled)
        self._is_shut_down = False
        add_receiver(self)

    def receive(self, record: CompletedStep) -> None:
        """Hand `record` to every sink."""
        self._pass(record, self._on_record)

    def call_sent(self, row: CallRow) -> None:
        """Hand the row of a call that is about to be sent to every sink that wants it."""
        self._pass(row, self._on_sent)

    def call_settled(self, row: CallRow) -> None:
        """Hand the row of a call that has ended to every sink that wants it."""
        self._pass(row, self._on_settled)

    def step_started(self, step: StartedStep) -> None:
        """Hand a step that has begun to every sink that wants it."""
        self._pass(step, self._on_start)

    def _pass(self, what: object, handlers: Handlers) -> None:
        if self._queue is None:
            hand_to_sinks(what, iter(handlers))
        elif handlers:
            self._queue.put(partial(_hand, handlers), what)

    def shutdown(self) -> None:
        """Receive no more records, let the sinks take what waits for them, and close the sinks that can be closed."""
        self._is_shut_down = True
        remove_receiver(self)
        if self._queue is not None:
            self._queue.close()
        for sink in self.sinks:
            close = getattr(sink, "close", None)
            if close is not None:
                with guard(f"closing {sink!r}", ours=False):
                    close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for the sinks to take what is in their queue. False: they needed longer."""
        return self._queue is None or self._queue.flush(timeout_millis / 1000)


def _queue(size: int) -> SinkQueue:
    from otel_harn_steps._telemetry.sink_queue import SinkQueue  # noqa: PLC0415 -- only where one is wanted

    return SinkQueue(size)


def _wanted(sinks: tuple[Sink, ...], method: str, what: str, *, or_called: bool = False) -> Handlers:
    """The methods of that name, each with the guard that it is called in; `or_called`: else the sink itself."""
    found = []
    for sink in sinks:
        handler = getattr(sink, method, sink if or_called and callable(sink) else None)
        if handler is not None:
            found.append((handler, guard(f"writing {what} to {sink!r}", ours=False)))
    return tuple(found)


def _hand(handlers: Handlers, what: object) -> None:
    hand_to_sinks(what, iter(handlers))
