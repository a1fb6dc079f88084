"""The conventions' own metrics of calls, counted where the call's span is ours."""

from __future__ import annotations

import openai
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otel_harn_steps as harn
from otel_harn_steps import step
from otel_harn_steps._telemetry.names import SCHEMA_URL
from tests.instrumented import instrumented
from tests.provider import MODEL, provider

DURATION, USAGE = "gen_ai.client.operation.duration", "gen_ai.client.inference.usage"


@pytest.fixture
def reader():
    return InMemoryMetricReader()


def counted(reader):
    data = reader.get_metrics_data()
    scopes = [] if data is None else data.resource_metrics[0].scope_metrics
    assert {each.scope.schema_url for each in scopes} <= {SCHEMA_URL}
    return {
        metric.name: list(metric.data.data_points)
        for each in scopes
        for metric in each.metrics
        if metric.name.startswith("gen_ai.")
    }


def test_each_call_has_a_duration_and_its_tokens(spans, replay, reader):
    with instrumented(tracer_provider=spans.provider, meter_provider=MeterProvider([reader])):
        with provider(replay) as llm, step("s"):
            llm.ask(10, 5)
            for _ in llm.ask(20, 7, stream=True):
                pass
        found = counted(reader)
    assert set(found) == {DURATION, f"{USAGE}.input_tokens", f"{USAGE}.output_tokens"}
    (duration,), (tokens,) = found[DURATION], found[f"{USAGE}.input_tokens"]
    took = [(each.end_time - each.start_time) / 1e9 for each in spans.finished("chat")]
    assert (duration.count, duration.sum) == (2, pytest.approx(sum(took)))
    assert tokens.value == 30
    assert found[f"{USAGE}.output_tokens"][0].value == 12
    of_call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
    }
    at = {name: value for name, value in duration.attributes.items() if name.startswith("server.")}
    assert dict(duration.attributes) == {**of_call, **at}
    assert dict(tokens.attributes) == {**of_call, **at, "gen_ai.token.modality": "unknown"}


def test_a_call_that_fails_has_a_duration_with_the_type_of_its_error(replay, reader):
    with instrumented(meter_provider=MeterProvider([reader])), provider(replay) as llm:
        request = llm.request()
        request["messages"][0]["content"] = '{"in": 1, "out": 1, "status": 400}'
        with step("s"), pytest.raises(openai.BadRequestError):
            llm.client.chat.completions.create(**request)
        found = counted(reader)
    assert set(found) == {DURATION}
    assert found[DURATION][0].attributes["error.type"] == "openai.BadRequestError"


def test_they_do_not_depend_on_the_sampling_of_traces(replay, reader):
    tracers = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with instrumented(tracer_provider=tracers, meter_provider=MeterProvider([reader])):
        with provider(replay) as llm, step("s"):
            llm.ask(10, 5)
        found = counted(reader)
    assert found[DURATION][0].count == 1
    assert found[f"{USAGE}.input_tokens"][0].value == 10


@pytest.mark.parametrize("settings", [{"metrics": False}, {"call_spans": False}])
def test_without_metrics_or_without_spans_of_calls_there_are_none(settings, replay, reader):
    with instrumented(meter_provider=MeterProvider([reader]), **settings):
        with provider(replay) as llm, step("s"):
            llm.ask()
        assert counted(reader) == {}


def test_where_somebody_else_makes_the_span_somebody_else_counts(spans, replay, reader):
    theirs = spans.provider.get_tracer("opentelemetry.instrumentation.openai_v2")
    with instrumented(tracer_provider=spans.provider, meter_provider=MeterProvider([reader])):
        with provider(replay) as llm, step("s"), theirs.start_as_current_span("chat m"):
            llm.ask(10, 5)
        assert counted(reader) == {}
        assert [each.llm_calls for each in harn.drain_completed_steps()] == [1]
