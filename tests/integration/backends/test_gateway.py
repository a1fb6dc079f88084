"""The gateway: who may send, where it goes, and that nothing is lost."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from tests.integration.backends.backend import GrpcBackend, HttpBackend, traces
from tests.integration.backends.programs import fetch, wait_for
from tests.integration.backends.spans import Maker, run_of_agents, send, span_ids

TOKEN = "a-token-for-tests"
APP = {"authorization": f"Bearer {TOKEN}", "x-tenant": "acme"}
SETTINGS = {
    "INGEST_TOKEN": TOKEN,
    "HONEYCOMB_API_KEY": "not-a-key",
    "RETRY_INTERVAL": "200ms",
    "RETRY_MAX_INTERVAL": "1s",
}


@pytest.fixture
def jaeger(running):
    return running.enter_context(GrpcBackend())


@pytest.fixture
def honeycomb(running):
    return running.enter_context(HttpBackend())


def test_every_span_goes_to_both_backends_with_its_tenant(jaeger, honeycomb, start_collector):
    gateway = start_collector("gateway", TRACES_ENDPOINT=jaeger.address, HONEYCOMB_ENDPOINT=honeycomb.url, **SETTINGS)
    maker = Maker()
    run_of_agents(maker, runs=50)
    spans = maker.take()
    assert send(spans, grpc=gateway.grpc, headers=APP)
    wait_for("all spans in both", lambda: jaeger.span_ids() == honeycomb.span_ids() == span_ids(spans))
    for backend in (jaeger, honeycomb):
        assert {resource["tenant.id"] for resource, _ in backend.spans_with_resource()} == {"acme"}
    for request in honeycomb.received:
        headers = request.headers
        assert (request.path, headers["x-honeycomb-team"], headers["content-encoding"]) == (
            "/v1/traces",
            "not-a-key",
            "gzip",
        )
    for backend in (jaeger, honeycomb):
        # The app's token is for the gateway alone.
        assert [each for each in backend.received if "authorization" in each.headers] == []
    for secret in (TOKEN, "not-a-key"):
        assert secret not in gateway.log_text()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer another"}], ids=["none", "wrong"])
def test_without_the_token_nothing_gets_in(headers, jaeger, honeycomb, start_collector):
    gateway = start_collector("gateway", TRACES_ENDPOINT=jaeger.address, HONEYCOMB_ENDPOINT=honeycomb.url, **SETTINGS)
    maker = Maker()
    run_of_agents(maker, runs=1)
    spans = maker.take()
    assert not send(spans, grpc=gateway.grpc, headers=headers)
    assert not send(spans, http=gateway.http, headers=headers)
    gateway.stop()
    assert (jaeger.received, honeycomb.received) == ([], [])


def test_a_backend_that_is_away_and_a_killed_gateway_lose_nothing(jaeger, honeycomb, start_collector):
    gateway = start_collector("gateway", TRACES_ENDPOINT=jaeger.address, HONEYCOMB_ENDPOINT=honeycomb.url, **SETTINGS)
    jaeger.stop()
    maker = Maker()
    run_of_agents(maker, runs=300)
    spans = maker.take()
    # Accepted, though the backend is away; the other backend has them meanwhile.
    assert send(spans[:600], grpc=gateway.grpc, headers=APP)
    wait_for("the first half at Honeycomb", lambda: honeycomb.span_ids() == span_ids(spans[:600]))
    assert "otelcol_exporter_queue_size" in (fetch(gateway.self_metrics_url) or "")

    gateway.kill()
    gateway.start()
    assert send(spans[600:], grpc=gateway.grpc, headers=APP)
    gateway.kill()
    gateway.start()
    assert jaeger.received == []
    jaeger.start()
    # At least once: a span may come twice, none may be missing.
    wait_for(
        "all spans in both",
        lambda: set(jaeger.span_ids()) == set(honeycomb.span_ids()) == set(span_ids(spans)),
        within_s=60,
    )


def test_two_tiers_share_the_traces_and_never_split_one(running, start_collector):
    shards = [running.enter_context(GrpcBackend()) for _ in range(2)]
    settings = {"INGEST_TOKEN": TOKEN, "SHARD_0_ENDPOINT": shards[0].address, "SHARD_1_ENDPOINT": shards[1].address}
    # Two gateways: whichever an app talks to, the trace goes to the same place.
    gateways = [start_collector("gateway-shards", **settings) for _ in range(2)]
    maker = Maker()
    spent = run_of_agents(maker, runs=200)
    spans = maker.take()
    assert send(spans[::2], grpc=gateways[0].grpc, headers=APP)
    assert send(spans[1::2], http=gateways[1].http, headers=APP)

    wait_for("all spans", lambda: sum(len(shard.spans()) for shard in shards) == len(spans))
    assert {len(trace) for shard in shards for trace in traces(shard.spans())} == {4}
    sizes = [len(list(traces(shard.spans()))) for shard in shards]
    assert sum(sizes) == len(spent.traces)
    assert min(sizes) > 60


def test_two_tiers_sample_whole_traces_and_count_every_dollar(running, start_collector):
    from tests.integration.backends.metrics_pages import total
    from tests.integration.backends.traces import FAST, kept

    backend = running.enter_context(GrpcBackend())
    seconds = [
        start_collector("tail-sampling", TRACES_ENDPOINT=backend.address, KEEP_PERCENT="0", **FAST) for _ in range(2)
    ]
    first = start_collector(
        "gateway-shards", INGEST_TOKEN=TOKEN, SHARD_0_ENDPOINT=seconds[0].grpc, SHARD_1_ENDPOINT=seconds[1].grpc
    )
    maker = Maker()
    spent = run_of_agents(maker, runs=200)
    assert send(maker.take(), grpc=first.grpc, headers=APP)

    wait_for("every breached trace", lambda: kept(backend) == spent.breached)

    def everywhere(name):
        return sum(total(fetch(each.metrics_url), name) for each in seconds)

    wait_for("every step counted", lambda: everywhere("harn_step_duration_seconds_count") == spent.steps)
    assert everywhere("harn_step_cost_total") == pytest.approx(spent.cost_usd, abs=1e-7)
