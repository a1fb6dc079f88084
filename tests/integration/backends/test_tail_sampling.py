"""Sampling after the fact: what must be kept is kept, and no dollar is lost from the metrics."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from tests.integration.backends.backend import GrpcBackend, traces
from tests.integration.backends.metrics_pages import page_with, total
from tests.integration.backends.programs import wait_for
from tests.integration.backends.spans import Maker, Step, run_of_agents, send
from tests.integration.backends.traces import FAST, kept


@pytest.fixture
def backend(running):
    return running.enter_context(GrpcBackend())


def test_at_5_percent_every_breached_trace_is_kept_whole_and_the_spend_is_exact(backend, start_collector):
    collector = start_collector("tail-sampling", TRACES_ENDPOINT=backend.address, KEEP_PERCENT="5", **FAST)
    maker = Maker()
    spent = run_of_agents(maker, runs=500)
    assert send(maker.take(), grpc=collector.grpc)

    wait_for("every breached trace", lambda: spent.breached <= kept(backend))
    page = page_with(collector, spent.steps)
    assert total(page, "harn_step_cost_total") == pytest.approx(spent.cost_usd, abs=1e-7)
    assert total(page, "harn_step_budget_breaches_total") == spent.breaches == 100
    # Stopped, it decides on what it still holds: after that nothing more comes.
    collector.stop()
    assert {len(spans) for spans in traces(backend.spans())} == {4}
    ordinary = kept(backend) - spent.breached
    # 400 ordinary traces at 5 %: 20 expected; outside 2 to 60 is not chance.
    assert 2 <= len(ordinary) <= 60


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step("draft", 0.01, 1, 1, exceeded=True), id="breach"),
        pytest.param(Step("draft", 0.01, 1, 1, status="failed"), id="failed"),
        pytest.param(Step("draft", 0.01, 1, 1, status="skipped"), id="skipped"),
        pytest.param(Step("draft", 0.01, 1, 1, status="escalated"), id="escalated"),
        pytest.param(Step("draft", 0.01, 1, 1, status="cancelled"), id="cancelled"),
        pytest.param(Step("draft", 0.25, 1, 1), id="expensive"),
        pytest.param(Step("draft", 0.01, 1, 1, total_cost_usd=1.0), id="expensive-with-nested"),
    ],
)
def test_a_trace_worth_a_look_is_kept_and_a_cheap_one_is_not(step, backend, start_collector):
    collector = start_collector("tail-sampling", TRACES_ENDPOINT=backend.address, KEEP_PERCENT="0", **FAST)
    maker = Maker()
    maker.marks_errors = False
    worth = maker.trace(Step("plan", 0.01, 1, 1), step)
    maker.trace(Step("plan", 0.01, 1, 1), Step("draft", 0.2499, 1, 1))
    assert send(maker.take(), http=collector.http)
    wait_for("the trace", lambda: kept(backend) == {worth})
    collector.stop()
    assert kept(backend) == {worth}


def test_a_span_that_comes_after_the_decision_follows_it(backend, start_collector):
    collector = start_collector("tail-sampling", TRACES_ENDPOINT=backend.address, KEEP_PERCENT="0", **FAST)
    maker = Maker()
    worth = maker.trace(Step("plan", 0.01, 1, 1), Step("draft", 0.01, 1, 1, status="failed"))
    *late, root = maker.take()
    assert send([span for span in late if span.name == "step draft"] + [root], grpc=collector.grpc)
    wait_for("the first part", lambda: len(backend.spans()) == 2)
    assert send([span for span in late if span.name != "step draft"], grpc=collector.grpc)
    wait_for("the late part", lambda: len(backend.spans()) == 4)
    assert kept(backend) == {worth}
