"""What the garbage collector frees, it frees in the middle of any code, which may hold a lock."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

import otel_harn_steps as harn
from otel_harn_steps import step
from tests.provider import Provider


class LockedExporter(SpanExporter):
    """Collects garbage while it holds a lock that it also takes for every span, as any code may."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.names: list[str] = []
        self.stuck: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        names = [span.name for span in spans]
        if not self.lock.acquire(blocking=False):
            self.stuck += names
            return SpanExportResult.FAILURE
        try:
            gc.collect()
            self.names += names
        finally:
            self.lock.release()
        return SpanExportResult.SUCCESS


@pytest.fixture
def exporter() -> LockedExporter:
    return LockedExporter()


@pytest.fixture
def tracer_provider(exporter: LockedExporter) -> TracerProvider:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


class Cycle:
    """Only the garbage collector frees it, and what it holds."""

    def __init__(self, held: object) -> None:
        self.held, self.me = held, self


@pytest.fixture(autouse=True)
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_stream_that_is_freed_in_the_middle_of_an_export_is_billed_at_the_next_call(
    exporter: LockedExporter, llm: Provider
) -> None:
    with step("s"):
        stream = llm.ask(10, 2, stream=True)
        next(stream)
        Cycle(stream)
        del stream
        with step("nested"):  # its span's export collects the stream
            pass
        assert harn.current_step().llm_calls == 0
        llm.ask(5, 1)
        assert harn.current_step().llm_calls == 2
    assert exporter.stuck == []
    assert {record.name: record.llm_calls for record in harn.drain_completed_steps()} == {"nested": 0, "s": 2}


def test_a_generator_that_is_freed_in_the_middle_of_an_export_ends_its_step_later(
    exporter: LockedExporter, llm: Provider
) -> None:
    def generate() -> Iterator[None]:
        with step("generated"):
            yield

    generator = generate()
    next(generator)
    Cycle(generator)
    del generator
    with step("s"):
        pass
    assert exporter.stuck == []
    assert [record.name for record in harn.drain_completed_steps()] == ["s", "generated"]
    assert harn.current_step() is None


def test_a_step_that_is_freed_in_the_middle_of_an_export_ends_at_the_next_step(
    exporter: LockedExporter, llm: Provider
) -> None:
    @step("decorated")
    def generate() -> Iterator[None]:
        yield

    generator = generate()
    next(generator)
    Cycle(generator)
    del generator
    with step("s"):
        pass
    with step("next"):
        pass
    assert exporter.stuck == []
    assert exporter.names == ["step s", "step decorated", "step next"]
