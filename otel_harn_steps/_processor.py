"""The SpanProcessor that emits the records of steps as their spans end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_harn_steps._delivery import Sink, add_receiver, remove_receiver, take_record
from otel_harn_steps._guard import guard
from otel_harn_steps._records import CompletedStep

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
    in-process log has every record anyway. A sink is any callable that takes a `CompletedStep`; its faults are logged
    once and never reach the app.
    """

    def __init__(self, *sinks: Sink) -> None:
        """Start to receive records.

        Raises:
            TypeError: a sink is not callable.
        """
        for sink in sinks:
            if not callable(sink):
                raise TypeError(f"a sink is a callable that takes a CompletedStep, not {sink!r}")
        self._sinks = sinks
        add_receiver(self)

    def receive(self, record: CompletedStep) -> None:
        """Hand `record` to every sink."""
        for sink in self._sinks:
            with guard(f"writing a record to {sink!r}", ours=False):
                sink(record)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a step's attributes are there from its start."""

    def _on_ending(self, span: Span) -> None:
        """Do nothing: the SDK has frozen the span by now."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take the record that leaves with this span, if it is a step's."""
        context = span.context
        if context is None:
            return
        record = take_record(context.trace_id, context.span_id, self)
        if record is not None:
            self.receive(record)

    def shutdown(self) -> None:
        """Receive no more records, and close the sinks that can be closed."""
        remove_receiver(self)
        for sink in self._sinks:
            close = getattr(sink, "close", None)
            if close is not None:
                with guard(f"closing {sink!r}", ours=False):
                    close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 -- the signature of the base class
        """Nothing is held back, so there is nothing to flush."""
        return True
