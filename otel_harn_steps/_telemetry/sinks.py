"""Receivers of records: plain callables that take a `CompletedStep`."""

from __future__ import annotations

import json
import os

from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_harn_steps import _settings
from otel_harn_steps._arguments import path as checked_path
from otel_harn_steps._arguments import provider_or_none
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.line_file import LineFile
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps._telemetry.tracer import is_suppressed
from otel_harn_steps._version import __version__


class JsonLinesSink:
    """Appends each record to a file as one line of JSON, written out at once.

    Several threads and processes may write to one file: a line is one `write` to a file opened for appending, so lines
    do not mix. The file is opened at the first record, and made readable for its owner alone. One that was rotated away
    is noticed within about a second, and a new one is begun.

    Raises:
        TypeError, ValueError: `path` is no path, or empty.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        checked_path("path", path)
        self._file = LineFile(path)

    def __call__(self, record: CompletedStep) -> None:
        """Write `record`.

        Raises:
            OSError: the file cannot be written. The next record is tried again.
        """
        self._file.append(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False))

    def close(self) -> None:
        """Close the file. A later record opens it again."""
        self._file.close()


class LogEventSink:
    """Emits each record as an OpenTelemetry log event `harn.step.completed`, in the context of the step's span.

    Raises:
        TypeError: `logger_provider` is none.
    """

    def __init__(self, logger_provider: LoggerProvider | None = None) -> None:
        provider_or_none("logger_provider", logger_provider, "get_logger")
        self._logger_provider = logger_provider

    def __call__(self, record: CompletedStep) -> None:
        """Emit `record`, unless telemetry is suppressed here."""
        if is_suppressed(get_current()):
            return
        provider = self._logger_provider or _settings.in_force.logger_provider
        severity = SeverityNumber.INFO if record.status == "completed" else SeverityNumber.WARN
        values = record.to_dict()
        labels = values.pop("labels")
        get_logger(names.SCOPE, __version__, provider, names.SCHEMA_URL).emit(
            event_name=names.COMPLETED_EVENT,
            timestamp=record.end_time,
            severity_number=severity,
            severity_text=severity.name,
            context=_context_of(record),
            attributes={
                **{names.of_record(name): value for name, value in values.items() if value is not None},
                **names.of_labels(labels),
            },
        )


def _context_of(record: CompletedStep) -> Context | None:
    if record.trace_id is None or record.span_id is None:
        return None
    flags = TraceFlags.get_default()
    ids = SpanContext(int(record.trace_id, 16), int(record.span_id, 16), is_remote=False, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(ids), Context())
