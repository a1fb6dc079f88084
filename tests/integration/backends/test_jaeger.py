"""App -> Collector -> Jaeger: what a user sees there."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from tests.integration.backends.programs import Jaeger, fetch, wait_for
from tests.integration.backends.spans import SERVICE, Maker, Step, send
from tests.integration.backends.traces import tags


@pytest.fixture
def jaeger(jaeger_binary, tmp_path, running):
    return running.enter_context(Jaeger(jaeger_binary, tmp_path / "jaeger"))


def trace_of(jaeger, trace_id, spans):
    """The trace from Jaeger's query API, once it has that many spans."""

    def found():
        answer = fetch(f"{jaeger.query}/api/traces/{trace_id:032x}")
        data = json.loads(answer)["data"] if answer else []
        return data[0] if data and len(data[0]["spans"]) == spans else None

    return wait_for("the trace in Jaeger", found)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_step_span_arrives_with_its_exact_tokens_and_dollars(protocol, jaeger, start_collector):
    collector = start_collector("local-jaeger", TRACES_ENDPOINT=jaeger.otlp)
    maker = Maker()
    trace_id = maker.trace(
        Step("newsletter", 0.012345, 1234, 56, total_cost_usd=0.072346),
        Step("draft", 0.060001, 5678, 90, llm_calls=3, status="escalated", exceeded=True),
    )
    assert send(maker.take(), **({"grpc": collector.grpc} if protocol == "grpc" else {"http": collector.http}))

    spans = trace_of(jaeger, trace_id, spans=4)["spans"]
    by_name = {span["operationName"]: span for span in spans}
    of_calls = [tags(each)["harn.call.cost_usd"] for each in spans if each["operationName"].startswith("chat ")]
    assert sorted(of_calls) == [0.012345, 0.060001]
    newsletter, draft = tags(by_name["step newsletter"]), tags(by_name["step draft"])
    assert (
        newsletter["harn.step.input_tokens"],
        newsletter["harn.step.output_tokens"],
        newsletter["harn.step.cost_usd"],
    ) == (1234, 56, 0.012345)
    assert newsletter["harn.step.total.cost_usd"] == 0.072346
    assert (
        draft["harn.step.llm_calls"],
        draft["harn.step.status"],
        draft["harn.step.budget.exceeded"],
        draft["error"],
    ) == (3, "escalated", True, True)

    parents = {span["spanID"]: span["operationName"] for span in by_name.values()}
    assert parents[by_name["step draft"]["references"][0]["spanID"]] == "step newsletter"


def test_traces_are_found_by_service_and_by_a_steps_tags(jaeger, start_collector):
    collector = start_collector("local-jaeger", TRACES_ENDPOINT=jaeger.otlp)
    maker = Maker()
    maker.trace(Step("plan", 0.01, 10, 1))
    breached = maker.trace(Step("draft", 0.06, 10, 1, status="failed", exceeded=True))
    assert send(maker.take(), grpc=collector.grpc)
    trace_of(jaeger, breached, spans=2)

    wanted = '{"harn.step.budget.exceeded":"true"}'.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    answer = json.loads(fetch(f"{jaeger.query}/api/traces?service={SERVICE}&tags={wanted}"))
    assert [each["traceID"] for each in answer["data"]] == [f"{breached:032x}"]
