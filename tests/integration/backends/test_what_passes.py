"""What passes through redaction.yaml and honeycomb.yaml as it is, and how what was taken out is counted."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_harn_steps import CompletedStep
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.record import ModelSpend
from otel_harn_steps.cli import _programs
from tests.integration.backends.backend import GrpcBackend, HttpBackend
from tests.integration.backends.programs import CONFIGS, fetch, wait_for

TRACE, SPAN = "0102030405060708090a0b0c0d0e0f10", "0102030405060708"
OF_KIND = {"int": 123, "double": 0.0625, "boolean": True, "string": "gpt-5-2025-08-07", "string[]": ["notified:0.5", "would have stopped:max_usd"]}  # fmt: skip
OURS = {each.name: OF_KIND[each.kind] for each in names.ATTRIBUTES if each.name != names.STEP_DETAIL}
OTHERS = {
    "llm.token_count.prompt": 12, "llm.cost.total": 0.0004, "llm.usage.total_tokens": 34, "operation.cost": 0.0004, "gen_ai.usage.cost": 0.0004,
    "gen_ai.response.finish_reasons": ["stop", "tool_calls"], "gen_ai.tool.name": "get_weather", "harn.label.tenant": "acme", "server.address": "api.openai.com",
    "langfuse.observation.cost_details": '{"input":0.0003,"output":0.0001,"total":0.0004}', "langfuse.observation.usage_details": '{"input": 12, "output": 3}',
    "langfuse.observation.completion_start_time": '"2026-11-27T03:00:00.000001+00:00"', "langfuse.observation.type": "generation",
    "openinference.span.kind": "LLM", "harn.step.budget.events": ["notified:0.5", "would have stopped:max_usd", "told:0.9"],
}  # fmt: skip


def value(of):
    """A value as OTLP/JSON has it."""
    if isinstance(of, list):
        return {"arrayValue": {"values": [value(each) for each in of]}}
    if isinstance(of, dict):
        return {"kvlistValue": {"values": attributes(of)}}
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}[type(of)]
    return {kind: of}


def attributes(of):
    """Attributes as OTLP/JSON has them."""
    return [{"key": key, "value": value(each)} for key, each in of.items() if each is not None]


def plain(found):
    """Attributes of protobuf, as a dict."""

    def one(each):
        kind = each.WhichOneof("value")
        if kind == "array_value":
            return [one(item) for item in each.array_value.values]
        if kind == "kvlist_value":
            return {item.key: one(item.value) for item in each.kvlist_value.values}
        return getattr(each, kind)

    return {each.key: one(each.value) for each in found}


def span(name="chat gpt-5", **more):
    return {"traceId": TRACE, "spanId": SPAN, "name": name, "startTimeUnixNano": "1", "endTimeUnixNano": "2", **more}


def traces(*spans, resource=None):
    inside = {"scope": {"name": "otel_harn_steps", "version": "1.2.0"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {"service.name": "agent"})}, "scopeSpans": [inside]}]}  # fmt: skip


def post(collector, signal, request):
    body = json.dumps(request).encode()
    assert fetch(f"{collector.http}/v1/{signal}", body, {"Content-Type": "application/json"}) is not None


@pytest.fixture(params=["redaction", "honeycomb"])
def through(request, collector_binary, tmp_path, running):
    """Start that configuration; what it is sent to is `through.backend`."""
    backend = running.enter_context(GrpcBackend() if request.param == "redaction" else HttpBackend())
    settings = (
        {"TRACES_ENDPOINT": backend.address}
        if request.param == "redaction"
        else {"HONEYCOMB_ENDPOINT": backend.url, "HONEYCOMB_API_KEY": "k", "BATCH_TIMEOUT": "200ms"}
    )
    collector = running.enter_context(
        _programs.Collector(
            collector_binary,
            CONFIGS / f"{request.param}.yaml",
            tmp_path / "it",
            **settings,
            SELF_METRICS_LEVEL="normal",
        )
    )
    collector.backend, collector.is_honeycomb = backend, request.param == "honeycomb"
    return collector


def arrived(through):
    (found,) = wait_for("the span", through.backend.spans)
    got = plain(found.attributes)
    if through.is_honeycomb:
        got.pop("SampleRate", None)
    return found, got


def test_every_attribute_of_ours_and_the_numbers_of_others_arrive_as_they_were(through):
    sent = {**OURS, **OTHERS}
    post(through, "traces", traces(span("step plan", attributes=attributes(sent), status={"code": 1})))
    found, got = arrived(through)
    assert got == sent
    assert (found.name, found.status.code) == ("step plan", 1)


def test_what_is_taken_out_of_a_span_is_counted_on_it(through):
    sent = {
        "prompt": "p",
        "pydantic_ai.all_messages": "m",
        names.REQUEST_MODEL: "two words",
        names.CALL_INPUT_TOKENS: "many",
    }
    events = [
        {"name": "exception", "attributes": attributes({"exception.type": "E", "exception.message": "m"})},
        {"name": "x"},
    ]
    post(through, "traces", traces(span("chat two words", attributes=attributes(sent), events=events, status={"code": 2, "message": "m"})))  # fmt: skip
    found, got = arrived(through)
    # two attributes, an event, an attribute of an event, the name of the span, the text of the status
    assert got == {names.REQUEST_MODEL: "****", names.CALL_INPUT_TOKENS: "****", "redaction.redacted.count": 6, "redaction.masked.count": 2}  # fmt: skip
    assert (found.name, found.status.message) == ("chat", "")
    assert [(each.name, plain(each.attributes)) for each in found.events] == [("exception", {"exception.type": "E"})]


def test_what_a_collector_in_front_has_counted_is_added_to(through):
    before = {"redaction.redacted.count": 2, "redaction.masked.count": 1}
    post(
        through,
        "traces",
        traces(span(attributes=attributes({**before, "prompt": "p", names.REQUEST_MODEL: "two words"}))),
    )
    _, got = arrived(through)
    assert (got["redaction.redacted.count"], got["redaction.masked.count"]) == (3, 2)


def test_a_resource_keeps_what_says_whose_it_is_and_counts_the_rest(through):
    kept = {
        "service.name": "my agent",
        "service.version": "1.2",
        "tenant.id": "acme",
        "k8s.pod.name": "p-1",
        "process.pid": 12,
    }
    post(through, "traces", traces(span(), resource={**kept, "process.command_line": "ask 'why?'", "note": "n"}))
    ((resource, _),) = wait_for("the span", through.backend.spans_with_resource)
    assert resource == {**kept, "redaction.redacted.count": 2}


LINKED = span("step plan", links=[{"traceId": TRACE, "spanId": SPAN, "attributes": attributes({"note": "n"})}])


def test_a_span_loses_its_links_and_they_are_counted(through):
    post(through, "traces", traces(LINKED))
    found, got = arrived(through)
    assert (found.name, list(found.links), got) == ("step plan", [], {"redaction.redacted.count": 1})


def test_where_a_collector_cannot_take_links_off_such_a_span_is_dropped_and_counted(
    collector_binary, tmp_path, running
):
    backend = running.enter_context(GrpcBackend())
    program = tmp_path / "otelcol"
    program.write_text(f'#!/bin/sh\nexec "{collector_binary}" "$@" --feature-gates=-ottl.set.allowNil\n')
    program.chmod(0o755)
    settings = {"TRACES_ENDPOINT": backend.address, "SELF_METRICS_LEVEL": "normal"}
    collector = running.enter_context(
        _programs.Collector(program, CONFIGS / "redaction.yaml", tmp_path / "it", **settings)
    )
    post(collector, "traces", traces(LINKED, span("chat gpt-5")))
    (found,) = wait_for("the span", backend.spans)
    assert found.name == "chat gpt-5"

    def dropped():
        page = fetch(collector.self_metrics_url) or ""
        return [line.split()[-1] for line in page.splitlines() if line.startswith("otelcol_processor_filter_spans")]

    wait_for("the count", lambda: dropped() == ["1"])


RECORD = CompletedStep(
    name="ask claude", function="ask", model="claude-sonnet-4-5", input_tokens=12, output_tokens=3, cost_usd=0.0625, llm_calls=1, status="failed",
    error="ValueError('the prompt')", cache_read_tokens=1, max_usd=0.05, error_boundary="skip", start_time=1795000000000000000, end_time=1795000001000000000,
    trace_id=TRACE, span_id=SPAN, parent_step="newsletter", path="newsletter/ask claude", run_id="0f8fad5b-d9cb-469f-a165-70867728950e", step_id=SPAN,
    agent="Research Agent", labels={"tenant": "acme"}, breach="max_usd", by_model=(ModelSpend("anthropic", "claude-sonnet-4-5", 1, 12, 3, cost_usd=0.0625),),
    price_book="genai-prices 0.0.31", detail="ticket 7", budget_events=("notified:0.5", "stopped:max_usd"),
)  # fmt: skip


def test_a_record_arrives_without_its_error_its_labels_and_its_detail(collector_binary, tmp_path, running):
    backend = running.enter_context(GrpcBackend())
    collector = running.enter_context(
        _programs.Collector(
            collector_binary, CONFIGS / "redaction.yaml", tmp_path / "it", TRACES_ENDPOINT=backend.address
        )
    )
    sent = {key: each for key, each in RECORD.to_dict().items() if each is not None}
    record = {
        "eventName": "harn.step.completed",
        "severityText": "WARN",
        "timeUnixNano": "1",
        "attributes": attributes(sent),
    }
    threshold = {
        "name": "plan",
        "budget_of": "run",
        "share": 0.5,
        "action": "notify",
        "tokens": 12,
        "cost_usd": 0.5,
        "llm_calls": 3,
        "run_id": "r-1",
    }
    other = {"eventName": "harn.step.budget.threshold", "timeUnixNano": "1", "attributes": attributes(threshold)}
    prefixed = {f"harn.step.{key}": each for key, each in sent.items() if key not in ("error", "labels", "detail")}
    prefixed |= {
        "harn.label.tenant": "acme",
        "harn.step.budget.share": 0.5,
        "harn.step.budget.of": "run",
        "harn.step.budget.action": "notify",
    }
    third = {"eventName": "harn.step.completed", "timeUnixNano": "1", "attributes": attributes(prefixed)}
    inside = {"scope": {"name": "otel_harn_steps"}, "logRecords": [record, other, third]}
    post(collector, "logs", {"resourceLogs": [{"resource": {}, "scopeLogs": [inside]}]})
    (request,) = wait_for("the records", lambda: backend.received)
    one, two, three = ExportLogsServiceRequest.FromString(request.body).resource_logs[0].scope_logs[0].log_records
    left = {key: each for key, each in sent.items() if key not in ("error", "labels", "detail")}
    assert plain(one.attributes) == {**left, "redaction.redacted.count": 3}
    assert (one.event_name, one.severity_text) == ("harn.step.completed", "WARN")
    assert plain(two.attributes) == threshold
    assert plain(three.attributes) == prefixed


def test_metrics_of_ours_arrive_with_their_attributes_and_those_of_the_app_do_not(through):
    kept = {names.STEP_NAME: "ask claude", names.MODEL: "gpt-5", "harn.label.tenant": "acme", names.BUDGET_SHARE: 0.5}

    def counter(name, **more):
        point = {
            "attributes": attributes({**kept, "question": "why?"}),
            "asDouble": 0.0625,
            "timeUnixNano": "2",
            "startTimeUnixNano": "1",
            **more,
        }
        return {
            "name": name,
            "unit": "{USD}",
            "description": "d",
            "sum": {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": True},
        }

    exemplar = {
        "asDouble": 1,
        "timeUnixNano": "1",
        "traceId": TRACE,
        "spanId": SPAN,
        "filteredAttributes": attributes({"question": "why?"}),
    }
    metrics = [counter(each.name) for each in names.METRICS] + [
        counter("gen_ai.client.token.usage", exemplars=[exemplar]),
        counter("app.questions"),
    ]
    post(
        through,
        "metrics",
        {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {"name": "s"}, "metrics": metrics}]}]},
    )
    (request,) = wait_for("the metrics", lambda: through.backend.received)
    found = ExportMetricsServiceRequest.FromString(request.body).resource_metrics[0].scope_metrics[0].metrics
    assert {each.name for each in found} == {each.name for each in names.METRICS} | {"gen_ai.client.token.usage"}
    for each in found:
        (point,) = each.sum.data_points
        assert (plain(point.attributes), point.as_double, each.unit, each.description) == (kept, 0.0625, "{USD}", "")
        assert [(one.trace_id.hex(), list(one.filtered_attributes)) for one in point.exemplars] in ([], [(TRACE, [])])
