"""The agent of `agent.py`, its spans and metrics exported over OTLP/HTTP. `docs/export.md` says to whom.

Of OpenTelemetry's environment variables these hold: OTEL_EXPORTER_OTLP_ENDPOINT (default http://localhost:4318),
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, and OTEL_METRICS_EXPORTER=none for backends that take no metrics.
"""

from __future__ import annotations

import os

from demo import run_agent
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from stand_in import stand_in

import otel_harn_steps


def main() -> None:
    """Run the agent, and leave when everything is exported."""
    os.environ.setdefault("OTEL_SERVICE_NAME", "newsletter")
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(traces)
    wanted = os.environ.get("OTEL_METRICS_EXPORTER") != "none"
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())] if wanted else [])
    metrics.set_meter_provider(meters)
    otel_harn_steps.instrument()

    with stand_in() as url:
        run_agent(url)

    traces.shutdown()
    meters.shutdown()
    steps = otel_harn_steps.drain_completed_steps()
    print(f"{len(steps)} steps spent ${sum(each.cost_usd for each in steps):.6f}")


if __name__ == "__main__":
    main()
