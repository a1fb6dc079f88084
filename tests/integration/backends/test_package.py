"""The package itself, in apps of their own processes, with the real programs behind it."""

from __future__ import annotations

import json
import re
import socket
import urllib.parse
from datetime import datetime
from itertools import count

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")
pytest.importorskip("opentelemetry.exporter.prometheus", reason="needs opentelemetry-exporter-prometheus")
pytest.importorskip("openai", reason="needs the group `demo`")

from tests.integration.backends.apps import App, spent
from tests.integration.backends.backend import GrpcBackend, HttpBackend, values
from tests.integration.backends.metrics_pages import page_with, total
from tests.integration.backends.programs import Jaeger, Prometheus, fetch, free_port, wait_for
from tests.integration.backends.traces import tags

MICRO = 1e-6
STATUSES = {"completed", "failed", "skipped", "escalated"}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_demo_is_in_jaeger_with_the_tokens_and_dollars_of_its_records(
    protocol, jaeger_binary, start_collector, tmp_path, running
):
    jaeger = running.enter_context(Jaeger(jaeger_binary, tmp_path / "jaeger"))
    collector = start_collector("local-jaeger", TRACES_ENDPOINT=jaeger.otlp)
    app = running.enter_context(
        App("demo", protocol=protocol, endpoint=collector.grpc if protocol == "grpc" else collector.http)
    )
    records = app.report()["records"]
    assert len(records) == 9

    def in_jaeger():
        answer = json.loads(fetch(f"{jaeger.query}/api/traces?service=agent&limit=100") or '{"data": []}')
        spans = {span["spanID"]: span for one in answer["data"] for span in one["spans"]}
        return spans if {each["span_id"] for each in records} <= set(spans) else None

    spans = wait_for("the demo's steps in Jaeger", in_jaeger)
    for record in records:
        span = spans[record["span_id"]]
        attributes = tags(span)
        assert (span["operationName"], span["traceID"]) == (f"step {record['name']}", record["trace_id"])
        for field in ("input_tokens", "output_tokens", "cost_usd", "llm_calls", "status"):
            assert attributes[f"harn.step.{field}"] == record[field]
        assert attributes.get("harn.step.model") == record["model"]

    # A step that declares an agent is an operation too.
    calls = [
        span for span in spans.values() if tags(span).get("gen_ai.operation.name", "invoke_agent") != "invoke_agent"
    ]
    assert len(calls) == spent(records, "llm_calls")
    for record in records:
        its_calls = [
            tags(call) for call in calls if [each["spanID"] for each in call["references"]] == [record["span_id"]]
        ]
        assert len(its_calls) == record["llm_calls"]
        assert sum(call["gen_ai.usage.input_tokens"] for call in its_calls) == record["input_tokens"]
        # The Anthropic client makes its calls' spans itself, and knows no dollars.
        if all(call["otel.scope.name"] == "otel_harn_steps" for call in its_calls):
            assert {call["harn.step.name"] for call in its_calls} <= {record["name"]}
            assert sum(call["harn.call.cost_usd"] for call in its_calls) == pytest.approx(record["cost_usd"], abs=1e-12)


def test_spans_records_app_counters_and_derived_counters_are_one_sum(
    start_collector, prometheus_binary, tmp_path, running
):
    backend = running.enter_context(GrpcBackend())
    collector = start_collector("step-metrics", TRACES_ENDPOINT=backend.address, BATCH_TIMEOUT="200ms")
    ports = [free_port() for _ in range(3)]
    apps = [f"127.0.0.1:{port}" for port in ports]
    prometheus = running.enter_context(
        Prometheus(prometheus_binary, tmp_path / "prometheus", collector.metrics_url.split("/")[2], apps)
    )
    processes = [
        running.enter_context(App("many", "350", str(seed), endpoint=collector.grpc, PROMETHEUS_PORT=str(port)))
        for seed, port in enumerate(ports)
    ]
    records = [record for process in processes for record in process.report()["records"]]
    assert len(records) == 2100
    assert sum(each["status"] != "completed" for each in records) == 420
    assert {each["status"] for each in records} == STATUSES

    def steps():
        return [values(span.attributes) for span in backend.spans() if span.name.startswith("step ")]

    wait_for("all step spans", lambda: len(steps()) == len(records), within_s=60)

    def ask(query):
        answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?query={urllib.parse.quote(query)}"))
        return float(answer["data"]["result"][0]["value"][1]) if answer["data"]["result"] else None

    for job in ("apps", "agent"):
        wait_for(
            f"all steps in Prometheus from {job}",
            lambda job=job: ask(f'sum(harn_step_duration_seconds_count{{job="{job}"}})') == len(records),
        )
    by_source = {
        "spans": sum(each["harn.step.cost_usd"] for each in steps()),
        "records": spent(records),
        "app counter": ask('sum(harn_step_cost_total{job="apps"})'),
        "derived counter": ask('sum(harn_step_cost_total{job="agent"})'),
    }
    assert by_source == pytest.approx(dict.fromkeys(by_source, spent(records)), abs=MICRO / 10)
    for field in ("input_tokens", "output_tokens", "llm_calls"):
        tokens = [
            sum(each[f"harn.step.{field}"] for each in steps()),
            ask(f'sum(harn_step_{field}_total{{job="apps"}})'),
            ask(f'sum(harn_step_{field}_total{{job="agent"}})'),
        ]
        assert tokens == [spent(records, field)] * 3
    assert (
        ask('sum(harn_step_budget_breaches_total{job="apps"})')
        == ask('sum(harn_step_budget_breaches_total{job="agent"})')
        == 420
    )


def test_the_apps_own_metrics_over_otlp_are_the_same_sum(start_collector, running):
    backend = running.enter_context(GrpcBackend())
    collector = start_collector(
        "step-metrics", TRACES_ENDPOINT=backend.address, BATCH_TIMEOUT="200ms", STEP_METRICS_FROM="app"
    )
    processes = [
        running.enter_context(App("many", "50", str(seed), endpoint=collector.grpc, OTLP_METRICS="1"))
        for seed in range(3)
    ]
    records = [record for process in processes for record in process.report()["records"]]
    page = page_with(collector, len(records))
    assert total(page, "harn_step_cost_total") == pytest.approx(spent(records), abs=MICRO / 10)


def test_at_5_percent_every_breached_trace_of_the_app_is_kept_and_the_spend_is_exact(start_collector, running):
    backend = running.enter_context(GrpcBackend())
    collector = start_collector(
        "tail-sampling",
        TRACES_ENDPOINT=backend.address,
        KEEP_PERCENT="5",
        BATCH_TIMEOUT="200ms",
        DECISION_WAIT="60s",
        DECISION_WAIT_AFTER_ROOT="1s",
    )
    with App("many", "400", "1", endpoint=collector.grpc) as app:
        records = app.report()["records"]
    page = page_with(collector, len(records))
    assert total(page, "harn_step_cost_total") == pytest.approx(spent(records), abs=MICRO / 10)

    breached = {each["trace_id"] for each in records if each["status"] != "completed"}
    assert len(breached) == 160

    def kept():
        return {span.trace_id.hex() for span in backend.spans()}

    wait_for("every breached trace", lambda: breached <= kept())
    collector.stop()
    assert len(kept() - breached) <= 40  # 12 of 240 expected


def test_a_gateway_that_is_killed_while_the_app_works_loses_no_span(start_collector, running):
    backend, honeycomb = running.enter_context(GrpcBackend()), running.enter_context(HttpBackend())
    gateway = start_collector(
        "gateway",
        TRACES_ENDPOINT=backend.address,
        HONEYCOMB_ENDPOINT=honeycomb.url,
        INGEST_TOKEN="t",
        HONEYCOMB_API_KEY="k",
    )
    app = running.enter_context(
        App("many", "350", "1", endpoint=gateway.grpc, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20t")
    )
    wait_for("the first spans", backend.spans, within_s=60)
    gateway.kill()
    gateway.start()
    expected = {each["span_id"] for each in app.report()["records"]}
    assert len(expected) == 700
    wait_for("every step", lambda: expected <= {span.span_id.hex() for span in backend.spans()}, within_s=60)
    wait_for("every step", lambda: expected <= {span.span_id.hex() for span in honeycomb.spans()}, within_s=60)


def seconds_away(log):
    """From the first time that a Collector could not deliver to the last one."""
    tries = re.findall(r"^(\S+Z)\t.*Exporting failed", log, re.MULTILINE)
    return (datetime.fromisoformat(tries[-1]) - datetime.fromisoformat(tries[0])).total_seconds() if tries else 0


def test_a_backend_that_is_away_for_a_minute_costs_no_span_though_the_gateway_is_killed_meanwhile(
    start_collector, running
):
    backend, honeycomb = GrpcBackend(), running.enter_context(HttpBackend())
    gateway = start_collector(
        "gateway",
        TRACES_ENDPOINT=backend.address,
        HONEYCOMB_ENDPOINT=honeycomb.url,
        INGEST_TOKEN="t",
        HONEYCOMB_API_KEY="k",
        RETRY_MAX_INTERVAL="10s",
    )
    expected = set()
    for seed in count():
        with App(
            "many", "40", str(seed), endpoint=gateway.grpc, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20t"
        ) as app:
            expected |= {each["span_id"] for each in app.report()["records"]}
        if seed in (1, 3):
            gateway.kill()
            gateway.start()
        if seconds_away(gateway.log_text()) >= 60:
            break
    assert len(expected) == 80 * (seed + 1) >= 400
    assert backend.received == []
    running.enter_context(backend)
    for each in (backend, honeycomb):
        wait_for("every step", lambda each=each: expected <= {span.span_id.hex() for span in each.spans()})


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("collector_is", ["refusing", "silent"])
def test_an_app_without_its_collector_waits_for_no_export_and_spends_the_same(collector_is, protocol, running):
    sock = running.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    if collector_is == "silent":
        # Connections are taken by the kernel, and are never read.
        sock.listen(64)
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    endpoint = address if protocol == "grpc" else f"http://{address}"
    app = App(
        "many", "100", "1", protocol=protocol, endpoint=endpoint, OTLP_METRICS="1", OTEL_EXPORTER_OTLP_TIMEOUT="300"
    )
    running.callback(app.kill)
    report = app.report()
    assert len(report["records"]) == 200
    # All that was done was done while the first export had not come back.
    assert report["exports"] == {"begun": 1, "ended": 0}
