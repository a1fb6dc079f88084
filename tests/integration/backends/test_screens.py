"""What Langfuse, Honeycomb and MLflow make of our spans, by their documentation, at stand-ins for them."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs opentelemetry-exporter-otlp")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import otel_harn_steps as harn
from otel_harn_steps import step
from tests.instrumented import instrumented
from tests.integration.backends.backend import HttpBackend, values
from tests.integration.backends.programs import wait_for
from tests.integration.backends.spans import Maker, Step, send
from tests.provider import PRICES, provider


@pytest.fixture
def backend(running):
    return running.enter_context(HttpBackend())


def exported(backend, replay, path, headers, **settings):
    """The records of an agent's run whose spans our exporter has sent there."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{backend.url}{path}", headers=headers)))
    with instrumented(tracer_provider=tracers, prices=PRICES, **settings):
        with provider(replay) as llm, harn.labels(conversation="c-1"), step("write", agent="writer"):
            llm.ask(1000, 20)
            with step("look up", agent="reader"):
                for _ in llm.ask(2000, 30, stream=True):
                    pass
        records = harn.drain_completed_steps()
    tracers.shutdown()
    return records


# -- Langfuse: https://langfuse.com/integrations/native/opentelemetry, "property mapping" ------------------------------

LANGFUSE_TYPES = {"span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "evaluator", "guardrail"}  # fmt: skip


def observation(attributes):
    """What Langfuse reads of a span: its own names come first, then the conventions'."""
    kind = attributes.get("langfuse.observation.type")
    assert kind is None or kind in LANGFUSE_TYPES
    first_chunk = attributes.get("langfuse.observation.completion_start_time")
    usage = json.loads(attributes.get("langfuse.observation.usage_details", "{}"))
    cost = json.loads(attributes.get("langfuse.observation.cost_details", "{}"))
    assert all(type(each) is int for each in usage.values())
    assert all(type(each) is float for each in cost.values())
    if "total" in usage:  # it takes what it is given, and adds up the parts in its charts
        assert usage["total"] == sum(count for name, count in usage.items() if name != "total")
    return {
        "type": kind or {"chat": "generation", "invoke_agent": "agent"}.get(attributes.get("gen_ai.operation.name")),
        "usage": usage.get("total", 0),
        "cost": cost.get("total", sum(cost.values())),
        "first_chunk": None if first_chunk is None else datetime.fromisoformat(first_chunk),
    }


def test_langfuse_is_told_the_dollars_and_tokens_of_each_call_once(backend, replay):
    headers = {"Authorization": "Basic cGstbGY6c2stbGY="}
    records = exported(backend, replay, "/api/public/otel/v1/traces", headers, emit=["langfuse"])
    for request in backend.received:
        assert request.path == "/api/public/otel/v1/traces"
        assert request.headers["authorization"] == headers["Authorization"]
        assert request.headers["content-type"] == "application/x-protobuf"  # it takes no gRPC
    seen = [observation(values(span.attributes)) for span in backend.spans()]
    assert sorted(each["type"] for each in seen) == ["agent", "agent", "generation", "generation"]
    assert sum(each["cost"] for each in seen) == pytest.approx(sum(each.cost_usd for each in records))
    assert sum(each["usage"] for each in seen) == sum(each.input_tokens + each.output_tokens for each in records)
    (streamed,) = [span for span in backend.spans() if observation(values(span.attributes))["first_chunk"]]
    at = observation(values(streamed.attributes))["first_chunk"].timestamp() * 1e9
    assert streamed.start_time_unix_nano - 1e6 < at < streamed.end_time_unix_nano + 1e6


# -- Honeycomb: https://docs.honeycomb.io/send-data/agents --------------------------------------------------------------

REQUIRED = ("gen_ai.conversation.id", "gen_ai.agent.name", "gen_ai.operation.name")
OPERATIONS = {
    "chat", "create_agent", "embeddings", "execute_tool", "generate_content", "invoke_agent", "invoke_workflow", "retrieval",
    "text_completion",
}  # fmt: skip
LLM_CALLS = {"chat", "generate_content", "text_completion"}


def test_honeycombs_agent_timeline_gets_what_it_requires_of_each_span(backend, replay):
    records = exported(backend, replay, "/v1/traces", {"x-honeycomb-team": "a-key"})
    spans = [values(span.attributes) for span in backend.spans()]
    assert [name for each in spans for name in REQUIRED if name not in each] == []
    assert {each["gen_ai.operation.name"] for each in spans} <= OPERATIONS
    calls = [each for each in spans if each["gen_ai.operation.name"] in LLM_CALLS]
    assert len(calls) == sum(each.llm_calls for each in records) == 2
    for side in ("input", "output"):
        summed = sum(each.get(f"gen_ai.usage.{side}_tokens", 0) for each in spans)
        assert summed == sum(getattr(each, f"{side}_tokens") for each in records)
    assert {each["gen_ai.agent.name"] for each in spans} == {"writer", "reader"}
    assert sum(each["harn.call.cost_usd"] for each in calls) == pytest.approx(sum(each.cost_usd for each in records))


# -- MLflow: `mlflow.llm.cost` is a map with `total_cost`, which it adds up over a trace ---------------------------------


def test_mlflow_is_told_the_dollars_of_each_call_once(backend, start_collector):
    collector = start_collector("mlflow", MLFLOW_ENDPOINT=backend.url, MLFLOW_EXPERIMENT_ID="7", BATCH_TIMEOUT="200ms")
    maker = Maker()
    maker.trace(Step("newsletter", 0.012345, 1234, 56), Step("draft", 0.060001, 5678, 90))
    assert send(maker.take(), http=collector.http)
    wait_for("all spans", lambda: len(backend.spans()) == 4)
    assert {(each.path, each.headers["x-mlflow-experiment-id"]) for each in backend.received} == {("/v1/traces", "7")}
    told = [
        (span.name, {each.key: each.value.double_value for each in attribute.value.kvlist_value.values})
        for span in backend.spans()
        for attribute in span.attributes
        if attribute.key == "mlflow.llm.cost"
    ]
    assert sorted(told, key=repr) == [("chat gpt-4o-mini", {"total_cost": cost}) for cost in (0.012345, 0.060001)]
