"""All that leaves the process by our doing, as one text to search."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_harn_steps import Journal, JsonLinesSink, LogEventSink
from tests.instrumented import Spans

_LOGGERS = ("otel_harn_steps", "opentelemetry")
MAY_SAY_ERRORS = "error"
"""The field of records, and of what is made of them, that quotes an app's exception unless it is redacted."""


class _Logs(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(args)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))  # with the traceback, where there is one


class _Rows:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def call_sent(self, row: Any) -> None:
        self.seen.append(row)

    call_settled = step_started = step_ended = call_sent


@dataclass
class Leaving:
    """Everywhere that something may leave to."""

    folder: Path
    spans: Spans = field(default_factory=Spans)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    events: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)
    rows: _Rows = field(default_factory=_Rows)
    logs: _Logs = field(default_factory=_Logs)

    def settings(self) -> dict[str, Any]:
        """What `instrument()` is given."""
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.events))
        return {
            "tracer_provider": self.spans.provider,
            "meter_provider": MeterProvider([self.reader], shutdown_on_exit=False),
            "logger_provider": loggers,
            "sinks": [
                JsonLinesSink(self.folder / "records.jsonl"), Journal(self.folder / "journal"), LogEventSink(), self.rows,
            ],
        }  # fmt: skip

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Keep what is logged, at every level."""
        before = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self.logs)
            logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).removeHandler(self.logs)
                logging.getLogger(name).setLevel(level)

    def everything(self, *, with_errors: bool = True) -> str:
        """All of it.

        Args:
            with_errors: with the messages of the app's exceptions, where records and the spans of steps have them.
        """
        spans = [json.loads(span.to_json()) for span in self.spans.exporter.get_finished_spans()]
        events = [dict(each.log_record.attributes or {}) for each in self.events.get_finished_logs()]
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        lines = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
        if not with_errors:
            for each in (*events, *lines):
                each.pop(MAY_SAY_ERRORS, None)
                each.pop(f"harn.step.{MAY_SAY_ERRORS}", None)
                each.get("record", {}).pop(MAY_SAY_ERRORS, None)
            for span in spans:
                if span["name"].startswith("step "):
                    span["status"].pop("description", None)
            rows = [{**_fields(each), MAY_SAY_ERRORS: None} for each in self.rows.seen]
        else:
            rows = [_fields(each) for each in self.rows.seen]
        metrics = self.reader.get_metrics_data()
        measured = "" if metrics is None else metrics.to_json()
        names = [str(path) for path in files]
        return "\n".join([repr(spans), repr(events), repr(lines), repr(rows), measured, repr(names), *self.logs.lines])


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in type(row).__slots__}
