"""The package at work for a stretch of a test, and the spans that it made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps


@dataclass(frozen=True, slots=True)
class Spans:
    """An SDK of the test's own, and what it exported."""

    provider: TracerProvider = field(default_factory=lambda: TracerProvider(shutdown_on_exit=False))
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def finished(self, name_starts: str = "") -> tuple[ReadableSpan, ...]:
        """The spans that have ended, of this name."""
        return tuple(span for span in self.exporter.get_finished_spans() if span.name.startswith(name_starts))


class Instrumented(Protocol):
    """Opens a stretch of code in which `otel_harn_steps` is at work, with the given settings."""

    def __call__(self, **settings: Any) -> AbstractContextManager[ModuleType]: ...


@contextmanager
def instrumented(**settings: Any) -> Iterator[ModuleType]:
    otel_harn_steps.instrument(**settings)
    try:
        yield otel_harn_steps
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
