"""The SpanProcessor that emits the records of steps as their spans end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_harn_steps._calls.budget_estimate import bill_at_once
from otel_harn_steps._calls.foreign_spans import (
    OpenSpan,
    claim,
    open_spans,
    release,
    span_ended,
    span_started,
    watch_spans,
)
from otel_harn_steps._calls.meter import current_meter
from otel_harn_steps._calls.peers import LATE_SCOPES
from otel_harn_steps._calls.span_dialects import parse_span_attributes
from otel_harn_steps._cost.price_book import cache_savings_of, price_of
from otel_harn_steps._cost.usage import LIST_PRICE
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.receiver import SinkReceiver
from otel_harn_steps._steps.totals import ModelCall
from otel_harn_steps._telemetry.delivery import Sink, take_record
from otel_harn_steps._telemetry.names import SCOPE

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
else:
    try:
        from opentelemetry.sdk.trace import SpanProcessor
    except ImportError:  # no SDK: sinks still receive every record
        SpanProcessor = object


class StepSpanProcessor(SinkReceiver, SpanProcessor):
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
        super().__init__(*sinks, sink_queue=sink_queue)
        self._sees_spans = False

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
            parent_id = None if span.parent is None else span.parent.span_id
            is_in_call = current_meter(parent_context) is not None
            is_late = scope is not None and scope.name.startswith(LATE_SCOPES)
            span_started(span, parent_id, parent_context, is_in_call=is_in_call, is_late=is_late)

    def _on_ending(self, span: Span) -> None:
        """Do nothing: the SDK has frozen the span by now."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take the record that leaves with a step's span. Bill the call that any other span reports."""
        if self._is_shut_down or not (open_spans or self.takes_records):
            return
        context = span.context
        if context is None:
            return
        foreign = span_ended(context.span_id)
        if foreign is not None:
            with guard("reading a span"):
                _bill(span, foreign)
                release(foreign.active)
            return
        if self.takes_records:
            record = take_record(context.trace_id, context.span_id, self)
            if record is not None:
                self.receive(record)

    def shutdown(self) -> None:
        """Receive no more records, let the sinks take what waits for them, and close the sinks that can be closed."""
        watch_spans(self, is_on=False)
        super().shutdown()


def _bill(span: ReadableSpan, foreign: OpenSpan) -> None:
    reported = None if foreign.is_billed or span.attributes is None else parse_span_attributes(span.attributes)
    if reported is None:
        return
    scope = "" if span.instrumentation_scope is None else span.instrumentation_scope.name
    start_time_ns = span.start_time or 0
    if claim(foreign, reported, scope, start_time_ns, span.end_time or 0):
        cost, book = price_of(reported.provider, reported.model, reported.usage, LIST_PRICE, start_time_ns / 1e9)
        provider = reported.provider or "unknown"
        saved = cache_savings_of(reported.provider, reported.model, reported.usage, LIST_PRICE, start_time_ns / 1e9)
        call = ModelCall(
            provider,
            reported.model,
            reported.usage,
            cost,
            certainty="observed",
            price_book=book,
            cache_savings_picousd=saved,
        )
        foreign.active.observe(call)
        bill_at_once(foreign.active, call, start_time_ns / 1e9)
