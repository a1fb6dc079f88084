"""Prometheus's own `increase()` sees the first breach of a step: its series was at 0 before."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")
pytest.importorskip("opentelemetry.exporter.prometheus", reason="needs opentelemetry-exporter-prometheus")

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

import otel_harn_steps as harn
from otel_harn_steps import step
from tests.integration.backends.backend import GrpcBackend
from tests.integration.backends.metrics_pages import asked
from tests.integration.backends.programs import Prometheus, free_port, wait_for
from tests.integration.backends.spans import Maker, Step, send

BREACHES = "harn_step_budget_breaches_total"


@pytest.fixture
def page(running):
    """The metrics page of this process, while the package counts there."""
    provider = MeterProvider([PrometheusMetricReader()])
    running.callback(provider.shutdown)
    address = f"127.0.0.1:{free_port()}"
    server, thread = start_http_server(int(address.rpartition(":")[2]), addr="127.0.0.1")
    running.callback(lambda: (server.shutdown(), thread.join(), server.server_close()))
    harn.reset_steps()
    harn.instrument(meter_provider=provider)
    yield address
    harn.uninstrument()
    harn.reset_steps()


def test_of_the_apps_own_metrics_where_the_limit_was_declared(page, prometheus_binary, tmp_path, running):
    @step(max_tokens=5, error_boundary="continue")
    def declared():
        harn.record_llm_usage("m", 6, 0, 0.25)

    prometheus = running.enter_context(Prometheus(prometheus_binary, tmp_path, page))
    wait_for("the scraped zero", lambda: asked(prometheus, f'{BREACHES}{{harn_step_name="declared"}}') == [0.0])
    declared()
    with step("entered", max_tokens=5, error_boundary="continue"):
        harn.record_llm_usage("m", 6, 0, 0.25)
    wait_for("both breaches", lambda: asked(prometheus, BREACHES) == [1.0, 1.0])
    grown = f"sum by (harn_step_name) (increase({BREACHES}[5m])) > 0"
    # The other series came with its first value: `increase` takes it for the state before.
    wait_for("two scrapes with both", lambda: min(asked(prometheus, f"count_over_time({BREACHES}[5m])")) >= 2)
    assert asked(prometheus, grown, "harn_step_name") == ["declared"]


def test_of_the_metrics_made_of_spans_where_another_run_came_before(
    start_collector, prometheus_binary, tmp_path, running
):
    traces = running.enter_context(GrpcBackend())
    collector = start_collector("step-metrics", TRACES_ENDPOINT=traces.address, BATCH_TIMEOUT="200ms")
    target = collector.metrics_url.split("/")[2]
    prometheus = running.enter_context(Prometheus(prometheus_binary, tmp_path / "prometheus", target))
    maker = Maker()
    maker.trace(Step("draft", 0.01, 10, 1))
    assert send(maker.take(), grpc=collector.grpc)
    wait_for("the scraped zero", lambda: asked(prometheus, BREACHES) == [0.0])
    maker.trace(Step("draft", 0.01, 10, 1, status="failed", exceeded=True, model="gpt-4o"))
    assert send(maker.take(), grpc=collector.grpc)
    wait_for("the breach", lambda: asked(prometheus, BREACHES) == [1.0])
    assert asked(prometheus, f"increase({BREACHES}[5m]) > 0") != []
