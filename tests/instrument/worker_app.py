"""An app with an SDK of its own and workers, started by `test_workers.py`: what each process exports is in a file.

python -m tests.instrument.worker_app FILE HOW METHOD
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import otel_harn_steps
from otel_harn_steps import JsonLinesSink, LogEventSink, record_llm_usage, step

FILE = "EXPORTED"
COST_USD = 0.25


def _write(kind: str, value: Any) -> None:
    descriptor = os.open(os.environ[FILE], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, (json.dumps({"process": os.getpid(), "kind": kind, "value": value}) + "\n").encode())
    os.close(descriptor)


class Spans(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            _write("span", span.name)
        return SpanExportResult.SUCCESS


class Events(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        for each in batch:
            _write("event", each.log_record.event_name)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True

    def shutdown(self) -> None:
        pass


class Numbers(MetricExporter):
    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
        sums: dict[str, float] = {}
        for metric in _metrics(metrics_data):
            sums[metric.name] = sum(getattr(point, "value", 0) for point in metric.data.data_points)
        _write("metrics", sums)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        pass


def _metrics(data: MetricsData) -> Iterable[Any]:
    return (each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics)


def set_up() -> None:
    """An SDK, and us."""
    spans = TracerProvider()
    spans.add_span_processor(BatchSpanProcessor(Spans(), schedule_delay_millis=1e6))
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(Numbers(), export_interval_millis=1e6)]))
    logs = LoggerProvider()
    logs.add_log_record_processor(BatchLogRecordProcessor(Events(), schedule_delay_millis=1e6))
    set_logger_provider(logs)
    otel_harn_steps.instrument(sinks=[JsonLinesSink(f"{os.environ[FILE]}.ledger"), LogEventSink()])


def work(number: int = 0) -> int:
    """One step of `COST_USD`."""
    with step("works"):
        record_llm_usage("m", 1, 1, COST_USD)
    return number


def wsgi(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    work()
    start_response("200 OK", [("Content-Length", "0")])
    return []


def _pool(context: Any) -> int:
    with context.Pool(2) as pool:  # which terminates its workers
        return sum(pool.map(work, range(8), chunksize=1))


def _executor(context: Any) -> int:
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        return sum(executor.map(work, range(8)))


def _process(context: Any) -> int:
    processes = [context.Process(target=work) for _ in range(8)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    return sum(each.exitcode for each in processes) + 28


def _wait(ready: Any, *, handles: bool) -> None:
    if handles:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    work()
    ready.set()
    signal.pause()


def _terminated(context: Any, *, handles: bool = False) -> int:
    ready = context.Event()
    process = context.Process(target=_wait, args=(ready,), kwargs={"handles": handles})
    process.start()
    ready.wait()
    process.terminate()
    process.join()
    return process.exitcode


def _handling(context: Any) -> int:
    return _terminated(context, handles=True)


def _forked(_context: Any) -> int:
    child = os.fork()
    if not child:
        work()
        sys.exit(0)
    return 28 + os.waitpid(child, 0)[1]


HOW = {
    "pool": _pool,
    "executor": _executor,
    "process": _process,
    "terminated": _terminated,
    "handling": _handling,
    "forked": _forked,
}

if FILE in os.environ:  # not where a test imports this
    set_up()

if __name__ == "__main__":
    work()
    sys.stdout.write(f"{HOW[sys.argv[1]](multiprocessing.get_context(sys.argv[2]))}\n")
