"""The SpanProcessor that emits the records of steps as their spans end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otel_harn_steps._calls.budget_estimate import bill_at_once
from otel_harn_steps._calls.foreign_spans import OpenSpan, claim, release, span_ended, span_started, watch_spans
from otel_harn_steps._calls.meter import current_meter
from otel_harn_steps._calls.peers import LATE_SCOPES
from otel_harn_steps._calls.span_dialects import parse_span_attributes
from otel_harn_steps._cost.price_book import price_of
from otel_harn_steps._cost.usage import LIST_PRICE
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.options import checked_queue, checked_sinks
from otel_harn_steps._steps.totals import ModelCall
from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
from otel_harn_steps._telemetry.delivery import (
    Handlers,
    Sink,
    add_receiver,
    hand_to_sinks,
    remove_receiver,
    take_record,
)
from otel_harn_steps._telemetry.names import SCOPE
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps._telemetry.sink_queue import SinkQueue

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
else:
    try:
        from opentelemetry.sdk.trace import SpanProcessor
    except ImportError:  # no SDK: sinks still receive every record
        SpanProcessor = object


class StepSpanProcessor(SpanProcessor):
    """Hands the `CompletedStep` of every step to its sinks, once, when the step's span ends.

    A step whose span is not recorded (sampled out, or made by another provider) is handed over when it ends. The
    in-process log has every record anyway. A sink is any callable that takes a `CompletedStep`, or an object with some
    of the methods of `LedgerSink`, which receive calls as well; its faults are logged once and never reach the app.

    It also bills the calls of clients that are not patched, where another instrumentation's span reports their usage.
    A budget that such a call crosses is noted, and raises at the step's next call or at its exit.
    """

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
        self._queue = None if size is None or not sinks else SinkQueue(size)
        self._on_record = _wanted(self.sinks, "step_ended", "a record", or_called=True)
        self._on_start = _wanted(self.sinks, "step_started", "the start of a step")
        self._on_sent = _wanted(self.sinks, "call_sent", "a call")
        self._on_settled = _wanted(self.sinks, "call_settled", "a call")
        self.takes_starts = bool(self._on_start)
        self.takes_calls = bool(self._on_sent or self._on_settled)
        self._is_shut_down = False
        self._sees_spans = False
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

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a span of another instrumentation that starts in a step. It may report a call when it ends."""
        if self._is_shut_down:
            return
        if not self._sees_spans:
            self._sees_spans = True
            watch_spans(self, is_on=True)
        scope = span.instrumentation_scope
        if scope is not None and scope.name == SCOPE:
            return
        with guard("remembering a span"):
            span_id = span.get_span_context().span_id
            parent_id = None if span.parent is None else span.parent.span_id
            is_in_call = current_meter(parent_context) is not None
            is_late = scope is not None and scope.name.startswith(LATE_SCOPES)
            span_started(span_id, parent_id, parent_context, is_in_call=is_in_call, is_late=is_late)

    def _on_ending(self, span: Span) -> None:
        """Do nothing: the SDK has frozen the span by now."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take the record that leaves with a step's span. Bill the call that any other span reports."""
        context = span.context
        if context is None or self._is_shut_down:
            return
        foreign = span_ended(context.span_id)
        if foreign is not None:
            with guard("reading a span"):
                _bill(span, foreign)
                release(foreign.active)
            return
        record = take_record(context.trace_id, context.span_id, self)
        if record is not None:
            self.receive(record)

    def shutdown(self) -> None:
        """Receive no more records, let the sinks take what waits for them, and close the sinks that can be closed."""
        self._is_shut_down = True
        remove_receiver(self)
        watch_spans(self, is_on=False)
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


def _bill(span: ReadableSpan, foreign: OpenSpan) -> None:
    reported = None if foreign.is_billed or span.attributes is None else parse_span_attributes(span.attributes)
    if reported is None:
        return
    scope = "" if span.instrumentation_scope is None else span.instrumentation_scope.name
    start_time_ns = span.start_time or 0
    if claim(foreign, reported, scope, start_time_ns, span.end_time or 0):
        cost, book = price_of(reported.provider, reported.model, reported.usage, LIST_PRICE, start_time_ns / 1e9)
        provider = reported.provider or "unknown"
        call = ModelCall(provider, reported.model, reported.usage, cost, certainty="observed", price_book=book)
        foreign.active.observe(call)
        bill_at_once(foreign.active, call, start_time_ns / 1e9)
