"""What the Collector asks of Honeycomb, at a stand-in for it."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from tests.integration.backends.backend import HttpBackend, values
from tests.integration.backends.programs import wait_for
from tests.integration.backends.spans import Maker, Step, run_of_agents, send

KEY = "hcaik_01testtesttesttesttesttesttest"


@pytest.fixture
def honeycomb(running):
    return running.enter_context(HttpBackend())


def test_traces_and_metrics_are_gzipped_otlp_with_the_key_and_the_dataset(honeycomb, start_collector):
    collector = start_collector(
        "honeycomb", HONEYCOMB_ENDPOINT=honeycomb.url, HONEYCOMB_API_KEY=KEY, BATCH_TIMEOUT="200ms"
    )
    maker = Maker()
    maker.trace(Step("draft", 0.012345, 1234, 56))
    assert send(maker.take(), http=collector.http)
    meters = MeterProvider(
        [
            PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=f"{collector.http}/v1/metrics"), export_interval_millis=10**9
            )
        ]
    )
    meters.get_meter("app").create_counter("harn.step.cost", "{USD}").add(0.012345, {"harn.step.name": "draft"})
    meters.shutdown()

    wait_for("spans and metrics", lambda: len(honeycomb.spans()) == 2 and honeycomb.metric_names())
    assert honeycomb.metric_names() == {"harn.step.cost"}
    for request in honeycomb.received:
        headers = request.headers
        assert (headers["x-honeycomb-team"], headers["content-encoding"], headers["content-type"]) == (
            KEY,
            "gzip",
            "application/x-protobuf",
        )
    datasets = {request.path: request.headers.get("x-honeycomb-dataset") for request in honeycomb.received}
    assert datasets == {"/v1/traces": None, "/v1/metrics": "step-metrics"}
    (step,) = [span for span in honeycomb.spans() if span.name == "step draft"]
    assert values(step.attributes)["harn.step.cost_usd"] == 0.012345


def test_the_key_is_in_no_log_even_when_honeycomb_refuses_it(honeycomb, start_collector):
    honeycomb.refuse_with = 401
    collector = start_collector(
        "honeycomb", HONEYCOMB_ENDPOINT=honeycomb.url, HONEYCOMB_API_KEY=KEY, BATCH_TIMEOUT="200ms"
    )
    maker = Maker()
    maker.trace(Step("draft", 0.01, 1, 1))
    assert send(maker.take(), http=collector.http)
    wait_for("the refusal in the log", lambda: "401" in collector.log_text())
    assert KEY not in collector.log_text()
    assert honeycomb.received


def test_sampling_keeps_the_sums_every_step_span_and_weights_for_the_others(honeycomb, start_collector):
    collector = start_collector(
        "honeycomb",
        HONEYCOMB_ENDPOINT=honeycomb.url,
        HONEYCOMB_API_KEY=KEY,
        HONEYCOMB_KEEP_PERCENT="10",
        BATCH_TIMEOUT="200ms",
    )
    maker = Maker()
    spent = run_of_agents(maker, runs=500)
    assert send(maker.take(), grpc=collector.grpc)

    def steps():
        return [values(span.attributes) for span in honeycomb.spans() if span.name.startswith("step ")]

    wait_for("every step span", lambda: len(steps()) == spent.steps)
    collector.stop()
    assert len(steps()) == spent.steps
    assert sum(each["harn.step.cost_usd"] for each in steps()) == pytest.approx(spent.cost_usd, abs=1e-7)
    # Honeycomb multiplies by SampleRate: on a step span there must be none.
    assert [each for each in steps() if "SampleRate" in each] == []
    others = [span for span in honeycomb.spans() if not span.name.startswith("step ")]
    assert {values(span.attributes)["SampleRate"] for span in others} == {10}
    assert 20 <= len({span.trace_id for span in others}) <= 90  # 50 of 500 expected
