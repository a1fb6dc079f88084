"""Spend metrics that the Collector makes of step spans, as Prometheus reads them."""

from __future__ import annotations

import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tests.integration.backends.backend import GrpcBackend
from tests.integration.backends.metrics_pages import page_with, samples, total
from tests.integration.backends.programs import Prometheus, fetch, wait_for
from tests.integration.backends.spans import Maker, Step, run_of_agents, send, span_ids

MICRO = 1e-6


@pytest.fixture
def traces_backend(running):
    return running.enter_context(GrpcBackend())


def test_the_derived_sums_are_those_of_the_spans_to_the_micro_dollar(traces_backend, start_collector):
    collector = start_collector("step-metrics", TRACES_ENDPOINT=traces_backend.address, BATCH_TIMEOUT="200ms")
    maker = Maker()
    spent = run_of_agents(maker, runs=1000)
    spans = maker.take()
    # Many small requests at the same time: totals are made of many deltas, which must not overtake each other.
    with ThreadPoolExecutor(16) as pool:
        parts = [spans[part::16] for part in range(16)]
        assert all(pool.map(lambda part: send(part, grpc=collector.grpc, per_request=2), parts))

    page = page_with(collector, spent.steps)
    assert total(page, "harn_step_cost_total") == pytest.approx(spent.cost_usd, abs=MICRO / 10)
    assert total(page, "harn_step_input_tokens_total") == spent.input_tokens
    assert total(page, "harn_step_output_tokens_total") == spent.output_tokens
    assert total(page, "harn_step_llm_calls_total") == spent.llm_calls
    assert total(page, "harn_step_budget_breaches_total") == spent.breaches
    assert total(page, "harn_step_run_cost_sum") == pytest.approx(spent.cost_usd, abs=MICRO / 10)
    # By their ids: the Collector sends again what was not confirmed in time, so a span can come twice.
    wait_for("all spans at the trace backend", lambda: set(traces_backend.span_ids()) == set(span_ids(spans)))


def test_series_are_by_step_model_status_tenant_and_environment(traces_backend, start_collector):
    collector = start_collector("step-metrics", TRACES_ENDPOINT=traces_backend.address, BATCH_TIMEOUT="200ms")
    maker = Maker({"tenant.id": "acme", "deployment.environment.name": "staging", "host.name": "not-a-label"})
    maker.trace(Step("draft", 0.5, 100, 10, status="escalated", exceeded=True, model="gpt-4o"))
    assert send(maker.take(), http=collector.http)

    ((labels, value),) = samples(page_with(collector, 1), "harn_step_cost_total")
    assert value == 0.5
    assert labels == {
        "harn_step_name": "draft",
        "harn_step_model": "gpt-4o",
        "harn_step_status": "escalated",
        "tenant_id": "acme",
        "deployment_environment_name": "staging",
        "job": "hand-made",
    }


@pytest.mark.parametrize(("source", "expected"), [("spans", 0.25), ("app", 1.75)])
def test_a_dollar_counts_once_from_the_spans_or_from_the_app(source, expected, traces_backend, start_collector):
    collector = start_collector(
        "step-metrics", TRACES_ENDPOINT=traces_backend.address, BATCH_TIMEOUT="200ms", STEP_METRICS_FROM=source
    )
    meters = MeterProvider(
        [
            PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=collector.grpc, insecure=True), export_interval_millis=10**9
            )
        ],
        resource=Resource({"service.name": "app"}),
    )
    meter = meters.get_meter("app")
    meter.create_counter("harn.step.cost", "{USD}").add(1.75, {"harn.step.name": "draft"})
    meter.create_counter("other.things").add(3)
    meters.shutdown()
    maker = Maker()
    maker.trace(Step("draft", 0.25, 100, 10))
    assert send(maker.take(), grpc=collector.grpc)

    # The trace arrives and the app's other metric shows: both ways in were taken.
    wait_for("the trace", lambda: len(traces_backend.spans()) == 2)
    page = wait_for(
        "the spend",
        lambda: (
            (page := fetch(collector.metrics_url))
            and "other_things_total" in page
            and samples(page, "harn_step_cost_total")
            and page
        ),
    )
    assert total(page, "harn_step_cost_total") == expected


def test_prometheus_answers_with_the_sums(traces_backend, start_collector, prometheus_binary, tmp_path, running):
    collector = start_collector("step-metrics", TRACES_ENDPOINT=traces_backend.address, BATCH_TIMEOUT="200ms")
    prometheus = running.enter_context(
        Prometheus(prometheus_binary, tmp_path / "prometheus", collector.metrics_url.split("/")[2])
    )
    maker = Maker()
    spent = run_of_agents(maker, runs=50)
    assert send(maker.take(), grpc=collector.grpc)

    def ask(query):
        answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?query={urllib.parse.quote(query)}"))
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    wait_for("the scrape", lambda: ask("sum(harn_step_duration_seconds_count)") == [({}, float(spent.steps))])
    assert ask("sum(harn_step_cost_total)")[0][1] == pytest.approx(spent.cost_usd, abs=MICRO / 10)
    assert ask('sum(harn_step_budget_breaches_total{harn_step_name="draft"})') == [({}, float(spent.breaches))]
    assert {labels["job"] for labels, _ in ask("harn_step_cost_total")} == {"hand-made"}
    rules = json.loads(fetch(f"{prometheus.url}/api/v1/rules"))["data"]["groups"][0]["rules"]
    assert [each["health"] for each in rules if each["health"] == "err"] == []
