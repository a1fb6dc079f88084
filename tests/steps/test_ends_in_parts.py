"""What goes wrong in one part of a step's end, or at one sink, keeps none of the others from happening."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, Tracer

import otel_harn_steps as harn
from otel_harn_steps import CompletedStep, current_step, drain_completed_steps, step
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Spans, instrumented
from tests.provider import PRICES, Provider, provider
from tests.steps.sinks import Ledger


class StopEverything(BaseException):
    """Of somebody else's, and no `Exception`."""


class Unspeakable(Exception):  # noqa: N818 -- a name of an app's
    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    def __str__(self) -> str:
        raise self.raises


class VendorSpan(trace.Span):
    """A span of a vendor's, one of whose methods raises."""

    def __init__(self, around: trace.Span, broken: str, raises: BaseException) -> None:
        self.around, self.broken, self.raises = around, broken, raises
        self.called: list[str] = []

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        self.called.append(method)
        if method == self.broken:
            raise self.raises
        return getattr(self.around, method)(*args, **options)

    def get_span_context(self) -> trace.SpanContext:
        return self.around.get_span_context()

    def is_recording(self) -> bool:
        return bool(self._call("is_recording"))

    def set_attributes(self, attributes: Any) -> None:
        self._call("set_attributes", attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._call("set_attribute", key, value)

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._call("set_status", status, description)

    def end(self, end_time: int | None = None) -> None:
        self._call("end", end_time)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._call("add_event", name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        self._call("update_name", name)

    def record_exception(self, exception: BaseException, *args: Any, **options: Any) -> None:
        self._call("record_exception", exception)


class VendorProvider(TracerProvider):
    """Makes spans, one of whose methods is broken once a step has begun."""

    def __init__(self, broken: str, raises: BaseException) -> None:
        super().__init__(shutdown_on_exit=False)
        self.made: list[VendorSpan] = []
        self.broken, self.raises = broken, raises

    def get_tracer(self, *args: Any, **options: Any) -> Tracer:
        tracer, made = super().get_tracer(*args, **options), self.made

        class Vendor(Tracer):
            def start_span(_, *args: Any, **options: Any) -> Any:  # noqa: N805 -- `self` is the provider
                span = VendorSpan(tracer.start_span(*args, **options), self.broken, self.raises)
                made.append(span)
                return span

            start_as_current_span: Any = None

        return Vendor()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def work(replay: ReplayServer, ledger: Ledger, reader: InMemoryMetricReader) -> Iterator[Callable[..., Provider]]:
    """Puts the package to work, with the sinks and settings of a test."""
    harn.reset_steps()
    opened: list[Any] = []

    def begin(*sinks: Any, **settings: Any) -> Provider:
        meters = MeterProvider([reader], shutdown_on_exit=False)
        opened.append(instrumented(sinks=[*sinks, ledger], prices=PRICES, meter_provider=meters, **settings))
        opened[-1].__enter__()
        opened.append(provider(replay))
        made: Provider = opened[-1].__enter__()
        return made

    yield begin
    while opened:
        opened.pop().__exit__(None, None, None)
    assert current_step() is None
    assert trace.get_current_span() is trace.INVALID_SPAN


def metric_names(reader: InMemoryMetricReader) -> set[str]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def check_the_end(ledger: Ledger, reader: InMemoryMetricReader, calls: int = 0) -> CompletedStep:
    """The record of the one step, which every sink, the log and the metrics have."""
    (record,) = drain_completed_steps()
    assert ledger.of("ended") == [record]
    assert {"harn.step.duration", "harn.step.run.cost"} <= metric_names(reader)
    assert record.llm_calls == calls
    return record


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raises", [ValueError("no words"), StopEverything(), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_whose_message_cannot_be_read_is_named_by_its_class(
    raises: BaseException,
    work: Callable[..., Provider],
    ledger: Ledger,
    reader: InMemoryMetricReader,
    spans: Spans,
) -> None:
    work(tracer_provider=spans.provider)
    error = Unspeakable(raises)
    with pytest.raises(Unspeakable) as caught, step("s"):
        raise error
    assert caught.value is error
    record = check_the_end(ledger, reader)
    assert record.error is not None
    assert record.error.endswith("Unspeakable")
    (span,) = spans.finished("step s")
    assert span.attributes is not None
    assert span.attributes["harn.step.status"] == "failed"


# -- spans of vendors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["is_recording", "set_attributes", "set_status", "end"])
@pytest.mark.parametrize("error", [None, LookupError("the app's")])
def test_a_vendors_span_that_raises_costs_no_record_no_call_and_no_metric(
    broken: str,
    error: Exception | None,
    work: Callable[..., Provider],
    ledger: Ledger,
    reader: InMemoryMetricReader,
) -> None:
    vendor = VendorProvider(broken, RuntimeError("the vendor's"))
    llm = work(tracer_provider=vendor, call_spans=False)
    with suppress(LookupError), step("s") as active:
        answer = llm.ask()
        if error is not None:
            raise error
    assert answer.usage.prompt_tokens == active.input_tokens == 10
    record = check_the_end(ledger, reader, calls=1)
    assert (record.input_tokens, record.output_tokens) == (10, 5)
    (row,) = ledger.of("settled")
    assert (row.input_tokens, row.outcome) == (10, "answered")
    (span,) = vendor.made
    assert span.called.count("end") == 1
    assert {"set_attributes"} <= set(span.called) | {broken}


def test_a_vendors_span_that_exits_ends_the_program_after_everything_else(
    work: Callable[..., Provider], ledger: Ledger, reader: InMemoryMetricReader
) -> None:
    vendor = VendorProvider("end", SystemExit(7))
    llm = work(tracer_provider=vendor, call_spans=False)
    with pytest.raises(SystemExit) as caught, step("s"):
        llm.ask()
    assert caught.value.code == 7
    check_the_end(ledger, reader, calls=1)


def test_a_span_that_nobody_records_ends_without_a_word(work: Callable[..., Provider], ledger: Ledger) -> None:
    work()
    with trace.use_span(NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True))), step("s"):
        pass
    assert [record.status for record in ledger.of("ended")] == ["completed"]


# -- sinks -----------------------------------------------------------------------------------------------------------


class Raising:
    """A sink of everything that raises at one kind of news."""

    def __init__(self, at: str, raises: Callable[[], Any]) -> None:
        self._at, self._raises = at, raises

    def _take(self, kind: str) -> None:
        if kind == self._at:
            self._raises()

    def call_sent(self, row: Any) -> None:
        self._take("sent")

    def call_settled(self, row: Any) -> None:
        self._take("settled")

    def step_started(self, started: Any) -> None:
        self._take("started")

    def step_ended(self, record: Any) -> None:
        self._take("ended")


def exits() -> None:
    raise SystemExit(5)


def too_deep() -> None:
    too_deep()


@pytest.mark.parametrize("at", ["started", "sent", "settled", "ended"])
def test_a_sink_that_exits_is_the_last_to_keep_news_from_the_others(
    at: str, work: Callable[..., Provider], ledger: Ledger, spans: Spans
) -> None:
    llm = work(Raising(at, exits), tracer_provider=spans.provider)
    with pytest.raises(SystemExit) as caught, step("s"):
        llm.ask()
    assert caught.value.code == 5
    kinds = [kind for kind, _ in ledger.events]
    # Where the start of a step or of a call is not let through, there is nothing to be settled.
    assert kinds.count(at) == 1
    assert kinds[-1] == "ended"
    assert len(drain_completed_steps()) == 1


def test_an_exit_of_a_sink_passes_when_every_sink_of_every_processor_has_its_record(
    work: Callable[..., Provider], ledger: Ledger, spans: Spans
) -> None:
    first, last = list[CompletedStep](), list[CompletedStep]()
    processors = [
        harn.StepSpanProcessor(first.append, Raising("ended", exits)),
        harn.StepSpanProcessor(Raising("ended", exits), last.append),
    ]
    spans.provider.add_span_processor(processors[0])
    work(tracer_provider=spans.provider)
    with pytest.raises(SystemExit), step("s"):
        pass
    assert [record.name for each in (first, last, ledger.of("ended")) for record in each] == ["s", "s", "s"]
    for processor in processors:
        processor.shutdown()


def test_a_sink_that_recurses_too_deep_costs_the_others_nothing(
    work: Callable[..., Provider], ledger: Ledger, reader: InMemoryMetricReader
) -> None:
    llm = work(Raising("ended", too_deep), Raising("settled", too_deep))
    with step("s"):
        llm.ask()
    check_the_end(ledger, reader, calls=1)
    assert len(ledger.of("settled")) == 1


def test_steps_at_the_end_of_the_stack_are_left_all_the_same(work: Callable[..., Provider], ledger: Ledger) -> None:
    work()

    @step("deep")
    def deep() -> None:
        deep()

    with pytest.raises(RecursionError):
        deep()
    assert current_step() is None
    # The deepest of them may have had no room to write their records.
    assert len(ledger.of("started")) > 100
    assert len(ledger.of("ended")) > len(ledger.of("started")) - 3


# -- interrupts at the end of a stream ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, StopEverything])
def test_an_interrupt_while_open_streams_are_settled_is_passed_on_once(
    kind: type[BaseException], work: Callable[..., Provider], ledger: Ledger
) -> None:
    llm = work()
    with pytest.raises(kind), step("s") as active:
        streams = [llm.ask(10, 3, stream=True) for _ in range(3)]
        for stream in streams:
            next(stream)

        def interrupt() -> None:
            raise kind

        active.on_leave(interrupt)
    assert active.status == {KeyboardInterrupt: "cancelled", SystemExit: "completed"}.get(kind, "failed")
    for stream in streams:
        stream.close()
    assert sum(record.llm_calls for record in ledger.of("ended")) == 3
    assert [row.outcome for row in ledger.of("settled")] == ["cut"] * 3


class Interrupting(SpanProcessor):
    """A processor that is interrupted when a step's span ends, as one that exports at once may be."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.name.startswith("step "):
            raise KeyboardInterrupt


def test_an_interrupt_while_a_span_is_exported_leaves_nothing_undone(
    work: Callable[..., Provider], ledger: Ledger, reader: InMemoryMetricReader, spans: Spans
) -> None:
    spans.provider.add_span_processor(Interrupting())
    llm = work(tracer_provider=spans.provider)
    with pytest.raises(KeyboardInterrupt), step("s"):
        llm.ask()
    record = check_the_end(ledger, reader, calls=1)
    assert record.status == "completed"
    assert sys.exc_info() == (None, None, None)
