"""An app as users have it: the real package, real provider clients, the OpenTelemetry SDK, exporting over OTLP.

    python -m tests.integration.backends.app demo            the agent of examples/demo.py
    python -m tests.integration.backends.app varied RUNS SEED PAUSE_S   RUNS runs of three steps, with something for every panel of the dashboards
    python -m tests.integration.backends.app many RUNS SEED  RUNS runs of two steps, concurrent; two of five second steps cross their budget

The provider is a stand-in on loopback. The addresses and the protocol come from the environment, as OpenTelemetry reads them; if
PROMETHEUS_PORT is set, the app has a metrics page of its own. When the work is done, one line of JSON says what the steps spent, how many exports
had begun by then, and how many had come back. Then the app exports the rest, and waits for the end of its standard input, so that its metrics page
can be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from openai import AsyncOpenAI, OpenAI
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, StepEscalated, step
from tests.integration.backends.chat_model import served
from tests.integration.backends.varied import varied

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MODELS = ("gpt-4o-mini", "gpt-4o")


class Exports(SpanExporter):
    """An exporter, and how often it was called and came back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.begun = self.ended = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and count."""
        self.begun += 1
        result = self._exporter.export(spans)
        self.ended += 1
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()


@contextmanager
def telemetry() -> Iterator[None]:
    """The SDK as the environment has it; on leaving, everything is exported."""
    provider = TracerProvider()
    exporter = (
        GrpcSpanExporter(insecure=True) if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc" else HttpSpanExporter()
    )
    exports = Exports(exporter)
    # The default queue of 2048 drops spans of a burst.
    provider.add_span_processor(BatchSpanProcessor(exports, max_queue_size=100_000, schedule_delay_millis=200))
    trace.set_tracer_provider(provider)
    readers: list[MetricReader] = []
    if "PROMETHEUS_PORT" in os.environ:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import start_http_server

        readers.append(PrometheusMetricReader())
        start_http_server(int(os.environ["PROMETHEUS_PORT"]), addr="127.0.0.1")
    if "OTLP_METRICS" in os.environ:
        exporter_of_metrics = (
            HttpMetricExporter() if os.environ["OTLP_METRICS"] == "http" else GrpcMetricExporter(insecure=True)
        )
        readers.append(PeriodicExportingMetricReader(exporter_of_metrics, export_interval_millis=500))
    meters = MeterProvider(readers)
    metrics.set_meter_provider(meters)
    otel_harn_steps.instrument(unseen_calls="varied" in sys.argv)
    yield
    report = {
        "records": [each.to_dict() for each in otel_harn_steps.drain_completed_steps()],
        "exports": {"begun": exports.begun, "ended": exports.ended},
        "median_run_s": median(durations) if durations else None,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    provider.force_flush(60_000)
    meters.force_flush(60_000)
    sys.stdin.read()
    meters.shutdown()
    provider.shutdown()


durations: list[float] = []


def timed(run: Callable[[int], object], number: int) -> None:
    """Run it, and note how long it took."""
    started = time.perf_counter()
    run(number)
    durations.append(time.perf_counter() - started)


def demo() -> None:
    """The agent of `make demo`, against its own recordings."""
    sys.path.insert(0, str(EXAMPLES))
    from demo import run_agent
    from stand_in import stand_in

    with stand_in() as url:
        run_agent(url)


def usage_asked_for(prompt: str) -> dict[str, int]:
    """The usage that "INPUT OUTPUT" asks for."""
    tokens_in, tokens_out = map(int, prompt.split())
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def many(runs: int, seed: int) -> None:
    """Half of the runs in threads, half as tasks, all at the same time."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    chance = random.Random(seed)
    prompts = [
        (f"{chance.randint(1, 9000)} {chance.randint(1, 900)}", f"{chance.randint(1, 9000)} {chance.randint(1, 900)}")
        for _ in range(runs)
    ]
    boundaries = ("fail", "continue", "escalate")
    arguments = {"api_key": "not needed", "base_url": served(usage_asked_for)}
    client, client_async = OpenAI(**arguments), AsyncOpenAI(**arguments)

    def draft_of(number: int) -> step:
        # 1 token is less than any answer: two of five drafts cross their budget.
        breach = number % 5 < 2
        return step(
            "draft", max_tokens=1 if breach else None, error_boundary=boundaries[number % 3] if breach else None
        )

    def ask(number: int, which: int) -> dict[str, object]:
        return {"model": MODELS[number % 2], "messages": [{"role": "user", "content": prompts[number][which]}]}

    def in_thread(number: int) -> None:
        with step("plan"):
            client.chat.completions.create(**ask(number, 0))
            try:
                with draft_of(number):
                    client.chat.completions.create(**ask(number, 1))
            except (StepBudgetExceeded, StepEscalated):
                return

    async def as_task(number: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            with step("plan"):
                await client_async.chat.completions.create(**ask(number, 0))
                try:
                    with draft_of(number):
                        await client_async.chat.completions.create(**ask(number, 1))
                except (StepBudgetExceeded, StepEscalated):
                    return

    async def tasks() -> None:
        gate = asyncio.Semaphore(8)
        await asyncio.gather(*(as_task(number, gate) for number in range(0, runs, 2)))

    with ThreadPoolExecutor(9) as pool:
        loop = pool.submit(asyncio.run, tasks())
        for done in [pool.submit(timed, in_thread, number) for number in range(1, runs, 2)]:
            done.result()
        loop.result()


if __name__ == "__main__":
    with telemetry():
        if sys.argv[1] == "demo":
            demo()
        elif sys.argv[1] == "varied":
            varied(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        else:
            many(int(sys.argv[2]), int(sys.argv[3]))
