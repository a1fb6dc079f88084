"""What is shown: spans, metrics, events, sinks; and that nothing depends on it. House plan, sections 2.5 and 3."""

import json
import multiprocessing
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

import otel_harn_steps as harn
from otel_harn_steps import (
    CompletedStep,
    JsonLinesSink,
    LogEventSink,
    StepBudgetExceeded,
    StepSpanProcessor,
    drain_completed_steps,
    step,
)
from otel_harn_steps._telemetry import names
from tests.replay.cases import case
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of
from tests.steps.spending import spend


def test_a_step_span_carries_its_declaration_from_the_start(steps):
    @step("planning", model="m", max_tokens=100, max_usd=0.5, error_boundary="escalate", agent="helper")
    def plan():
        return dict(trace.get_current_span().attributes), trace.get_current_span()

    attributes, span = plan()
    assert (span.name, span.kind) == ("step planning", SpanKind.INTERNAL)
    assert attributes == {
        "harn.step.name": "planning",
        "harn.step.function": "plan",
        "harn.step.default_model": "m",
        "harn.step.error_boundary": "escalate",
        "harn.step.budget.max_tokens": 100,
        "harn.step.budget.max_usd": 0.5,
        "gen_ai.agent.name": "helper",
        "gen_ai.operation.name": "invoke_agent",
    }


def test_a_span_says_neither_twice_what_its_step_is_called_nor_that_nothing_happened(steps, spans):
    @step(max_tokens=100)
    def plan():
        with step("inner"):
            pass

    plan()
    inner, plan_span = spans.finished("step")
    assert {name for name in plan_span.attributes if name.startswith("harn.step.budget")} == {
        "harn.step.budget.max_tokens"
    }
    assert not {"harn.step.function", "harn.step.path"} & set(plan_span.attributes)
    assert inner.attributes["harn.step.path"] == "plan/inner"


def test_a_live_span_carries_what_its_own_calls_have_spent_and_at_its_end_what_is_nested_in_it(steps, spans):
    with step("outer"):
        with step("inner"):
            inner = trace.get_current_span()
            harn.record_llm_usage("m", 100, 30, 0.25, cache_read_tokens=40)
            assert inner.attributes["harn.step.input_tokens"] == 100
            assert inner.attributes["harn.step.cost_usd"] == 0.25
            assert inner.attributes["harn.step.cache_read_tokens"] == 40
            assert inner.attributes["harn.step.model"] == "m"
            harn.record_llm_usage("n", 1, 1, 0.5)
            assert (inner.attributes["harn.step.input_tokens"], inner.attributes["harn.step.model"]) == (101, "n")
    (outer,) = spans.finished("step outer")
    assert outer.attributes["harn.step.total.output_tokens"] == 31
    assert outer.attributes["harn.step.total.cost_usd"] == 0.75


ALWAYS = ("input_tokens", "output_tokens", "cost_usd", "llm_calls")


def test_a_finished_span_shows_the_numbers_of_the_record_but_few_zeros_and_no_gen_ai_usage(steps, spans):
    with step("s"):
        harn.record_llm_usage("m", 10, 2, 0.5, cache_read_tokens=4)
    with step("idle"):
        pass
    (record, _), (span, idle) = drain_completed_steps(), spans.finished("step")
    for name in (*ALWAYS, "cache_read_tokens"):
        assert span.attributes[f"harn.step.{name}"] == getattr(record, name)
    for name in ALWAYS:
        assert idle.attributes[f"harn.step.{name}"] == 0
    zeros = ("cache_write_tokens", "reasoning_tokens", "unpriced_calls", "unmetered_calls", "observed_calls")
    nested = tuple(f"total.{name}" for name in ALWAYS)
    for name in (*zeros, *nested, "budget.exceeded", "estimated_tokens", "estimated_cost_usd"):
        assert f"harn.step.{name}" not in span.attributes
        assert f"harn.step.{name}" not in idle.attributes
    assert isinstance(idle.attributes["harn.step.cost_usd"], float)
    assert not [name for each in (span, idle) for name in each.attributes if name.startswith("gen_ai.")]


def test_every_attribute_of_a_step_span_is_in_the_names_module(steps, spans):
    with pytest.raises(StepBudgetExceeded), step("s", model="m", max_tokens=1, agent="a", error_boundary="fail"):
        spend(10, 0.5)
    (span,) = spans.finished()
    assert set(span.attributes) <= {each.name for each in names.ATTRIBUTES}


def expected_records():
    with step("outer"):
        spend(10, 0.5)
        with step("inner"):
            spend(7, 0.25)
    with pytest.raises(StepBudgetExceeded), step("over", max_tokens=5):
        spend(6)
    return [
        (record.name, record.input_tokens + record.output_tokens, record.cost_usd, record.status)
        for record in drain_completed_steps()
    ]


THE_RECORDS = [("inner", 7, 0.25, "completed"), ("outer", 10, 0.5, "completed"), ("over", 6, 0.0, "failed")]


@pytest.mark.parametrize(
    "make_provider",
    [TracerProvider, lambda: TracerProvider(sampler=ALWAYS_OFF), trace.NoOpTracerProvider, lambda: None],
    ids=["recorded", "sampled out", "no-op", "no SDK"],
)
def test_records_budgets_and_sinks_do_not_depend_on_the_sdk(make_provider):
    seen = []
    harn.instrument(tracer_provider=make_provider(), sinks=[seen.append])
    try:
        assert expected_records() == THE_RECORDS
        assert [record.name for record in seen] == ["inner", "outer", "over"]
    finally:
        harn.uninstrument()
        harn.reset_steps()


def test_each_processor_receives_each_record_once(spans):
    one, other, elsewhere = [], [], []
    spans.provider.add_span_processor(StepSpanProcessor(one.append))
    spans.provider.add_span_processor(second := StepSpanProcessor(other.append, other.append))
    TracerProvider().add_span_processor(third := StepSpanProcessor(elsewhere.append))
    harn.instrument(tracer_provider=spans.provider)
    try:
        with step("s"):
            pass
    finally:
        harn.uninstrument()
    assert (len(one), len(other), len(elsewhere), len(drain_completed_steps())) == (1, 2, 1, 1)
    second.shutdown()
    third.shutdown()
    with step("after"):
        pass
    assert (len(other), len(elsewhere)) == (2, 1)
    harn.reset_steps()


def test_a_record_leaves_while_the_span_ends(spans):
    order = []

    class Other(SpanProcessor):
        def on_end(self, span):
            order.append("span")

    spans.provider.add_span_processor(StepSpanProcessor(lambda _: order.append("record")))
    spans.provider.add_span_processor(Other())
    harn.instrument(tracer_provider=spans.provider)
    with step("s"):
        pass
    harn.uninstrument()
    harn.reset_steps()
    assert order == ["record", "span"]


def test_faults_of_other_processors_and_of_sinks_do_not_reach_the_app(caplog):
    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("on_start")

        def on_end(self, span):
            raise RuntimeError("on_end")

    def broken(_):
        raise RuntimeError("sink")

    seen = []
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    harn.instrument(tracer_provider=provider, sinks=[broken, seen.append])
    try:
        assert expected_records() == THE_RECORDS
    finally:
        harn.uninstrument()
        harn.reset_steps()
    assert len(seen) == 3
    assert len([record for record in caplog.records if "otel_harn_steps failed while" in record.getMessage()]) >= 1


def test_what_is_no_sink_is_refused():
    with pytest.raises(TypeError, match="sinks must hold callables"):
        StepSpanProcessor("records.jsonl")


def test_under_suppression_there_is_no_telemetry_and_the_step_is_billed(spans):
    reader = InMemoryMetricReader()
    harn.instrument(tracer_provider=spans.provider, meter_provider=MeterProvider([reader]))
    try:
        with suppress_instrumentation():
            assert expected_records() == THE_RECORDS
    finally:
        harn.uninstrument()
        harn.reset_steps()
    assert spans.finished() == ()
    assert reader.get_metrics_data() is None


def points(reader):
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: (metric.unit, list(metric.data.data_points)) for metric in metrics}


def test_metrics_count_what_was_spent_by_step_model_provider_and_status():
    reader = InMemoryMetricReader()
    harn.instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF), meter_provider=MeterProvider([reader]))
    try:
        with step("spends"):
            harn.record_llm_usage("m", 100, 30, 0.25, provider="openai")
            harn.record_llm_usage("m", 10, 3, 0.5, provider="openai")
            harn.record_llm_usage("nobody-knows-it", 1, 1, provider="acme")
        with pytest.raises(StepBudgetExceeded), step("over", max_tokens=5):
            spend(6)
    finally:
        harn.uninstrument()
        harn.reset_steps()
    found = points(reader)
    assert {name: unit for name, (unit, _) in found.items()} == {
        "harn.step.cost": "{USD}",
        "harn.step.input_tokens": "{token}",
        "harn.step.output_tokens": "{token}",
        "harn.step.llm_calls": "{call}",
        "harn.step.budget.breaches": "{breach}",
        "harn.step.unpriced_calls": "{call}",
        "harn.step.duration": "s",
        "harn.step.run.cost": "{USD}",
        "harn.step.budget.used": "{share}",
        "harn.call.cost": "{USD}",
        "harn.call.tokens": "{token}",
        "harn.calls": "{call}",
    }

    def by(metric, **labels):
        wanted = {
            "gen_ai.provider.name" if key == "provider" else f"harn.step.{key}": value for key, value in labels.items()
        }
        return [point for point in found[metric][1] if wanted.items() <= dict(point.attributes).items()]

    (spent,) = by("harn.step.cost", name="spends", model="m", provider="openai", status="completed")
    assert spent.value == 0.75
    assert by("harn.step.input_tokens", name="spends", model="m")[0].value == 110
    assert by("harn.step.llm_calls", name="spends", model="m")[0].value == 2
    assert by("harn.step.unpriced_calls", model="nobody-knows-it")[0].value == 1
    assert by("harn.step.run.cost", name="spends")[0].sum == 0.75
    assert by("harn.step.duration", name="over", status="failed")[0].count == 1
    breach = found["harn.step.budget.breaches"][1][0]
    assert (breach.value, dict(breach.attributes)) == (
        1,
        {"harn.step.name": "over", "harn.step.budget.limit": "max_tokens"},
    )


def test_a_log_event_carries_the_record_in_the_context_of_its_span(spans):
    exporter = InMemoryLogRecordExporter()
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    harn.instrument(tracer_provider=spans.provider, logger_provider=loggers, sinks=[LogEventSink()])
    with harn.labels(tenant="acme"), step("s", max_usd=2):
        spend(10, 0.5)
    (record,) = drain_completed_steps()
    harn.uninstrument()
    (event,) = [each.log_record for each in exporter.get_finished_logs()]
    assert (event.event_name, event.timestamp) == ("harn.step.completed", record.end_time)
    assert (event.severity_number, event.severity_text) == (SeverityNumber.INFO, "INFO")
    attributes = dict(event.attributes)
    assert attributes.pop("harn.label.tenant") == "acme"
    assert attributes.pop("harn.step.total.cost_usd") == attributes["harn.step.cost_usd"] == 0.5
    assert attributes.pop("harn.step.budget.max_usd") == 2
    of_record = record.to_dict()
    assert {name: attributes[f"harn.step.{name}"] for name in ("name", "run_id", "status", "start_time")} == {
        name: of_record[name] for name in ("name", "run_id", "status", "start_time")
    }
    assert len(attributes) == len([value for value in of_record.values() if value is not None]) - 3
    assert all(name.startswith("harn.step.") for name in attributes)
    assert (f"{event.trace_id:032x}", f"{event.span_id:016x}") == (record.trace_id, record.span_id)


def test_a_share_of_a_budget_that_is_reached_is_a_log_event_in_the_calls_context(spans):
    exporter = InMemoryLogRecordExporter()
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    harn.instrument(tracer_provider=spans.provider, logger_provider=loggers)
    with step("s", max_usd=1, at={0.5: "notify"}) as active:
        spend(10, 0.25)
        spend(10, 0.25)
        with suppress_instrumentation(), step("quiet", max_usd=1, at={0.5: "notify"}):
            spend(10, 0.5)
    harn.uninstrument()
    harn.reset_steps()
    (event,) = [each.log_record for each in exporter.get_finished_logs()]
    assert event.event_name == "harn.step.budget.threshold"
    assert f"{event.span_id:016x}" == active.step_id
    left_out = ("harn.step.run_id", "harn.step.budget.tokens")
    assert {name: value for name, value in event.attributes.items() if name not in left_out} == {
        "harn.step.name": "s",
        "harn.step.budget.of": "step",
        "harn.step.budget.share": 0.5,
        "harn.step.budget.action": "notify",
        "harn.step.budget.cost_usd": 0.5,
        "harn.step.budget.llm_calls": 2,
    }


def test_under_suppression_there_is_no_log_event():
    exporter = InMemoryLogRecordExporter()
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    harn.instrument(logger_provider=loggers, sinks=[LogEventSink()])
    with suppress_instrumentation(), step("s"):
        pass
    harn.uninstrument()
    harn.reset_steps()
    assert exporter.get_finished_logs() == ()


def test_instrumenting_again_replaces_the_sinks_and_the_provider(spans):
    first, second = [], []
    harn.instrument(sinks=[first.append])
    harn.instrument(tracer_provider=spans.provider, sinks=[second.append])
    with step("s"):
        pass
    harn.uninstrument()
    harn.reset_steps()
    assert (len(first), len(second), len(spans.finished("step"))) == (0, 1, 1)


def test_json_lines_are_there_at_once(steps, tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLinesSink(path)
    with step("ä\n"):
        pass
    (record,) = drain_completed_steps()
    sink(record)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [record.to_dict()]
    sink.close()
    sink(record)
    assert len(path.read_text().splitlines()) == 2
    sink.close()


def write_many(path, process):
    sink = JsonLinesSink(path)
    harn.instrument(sinks=[sink])
    for number in range(200):
        with step(f"{process}-{number}-{'x' * 500}"):
            pass


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_several_processes_may_write_to_one_file(method, tmp_path):
    path = tmp_path / "records.jsonl"
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=write_many, args=(path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seen = [json.loads(line)["name"].split("-")[:2] for line in path.read_text().splitlines()]
    assert sorted(seen) == sorted([str(n), str(number)] for n in range(3) for number in range(200))


def test_a_span_has_totals_with_nested_steps_where_these_have_spent(steps, spans):
    with step("outer"):
        spend(1, 0.25)
        with step("inner"):
            spend(10, 0.5)
        with step("idle"):
            pass
    (inner, idle, outer) = spans.finished("step")
    records = {each.name: each for each in drain_completed_steps()}
    for name in ALWAYS:
        assert outer.attributes[f"harn.step.{name}"] == getattr(records["outer"], name)
        assert outer.attributes[f"harn.step.total.{name}"] == getattr(records["outer"], f"total_{name}")
    assert not [name for each in (inner, idle) for name in each.attributes if name.startswith("harn.step.total.")]


async def test_a_call_span_is_a_child_of_its_step_by_the_conventions(steps, spans, sync_clients, replay):
    chosen = case("openai.chat-completions.openai_chat_prompt_cache_e2e")
    way = next(way for way in ways_of(chosen) if way.name == "create")
    with step("s"):
        await travel(Trip(chosen, way), sync_clients, replay)
    (call,), (around,) = spans.finished("chat"), spans.finished("step")
    usage = chosen.expected_usage
    assert (call.kind, call.parent.span_id) == (SpanKind.CLIENT, around.context.span_id)
    assert call.name == f"chat {chosen.request['model']}"
    attributes = dict(call.attributes)
    assert attributes.pop("harn.call.cost_usd") == around.attributes["harn.step.cost_usd"] == 0.020172
    assert attributes.pop("gen_ai.response.id")
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": chosen.request["model"],
        "gen_ai.response.model": around.attributes["harn.step.model"],
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "api.openai.com",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_write.input_tokens": usage["prompt_tokens_details"]["cache_write_tokens"],
        "harn.step.name": "s",
    }


def test_instrumenting_twice_adds_one_processor_and_uninstrumenting_restores_every_original():
    import anthropic._base_client
    import openai._base_client

    owners = [
        getattr(module, name)
        for module in (openai._base_client, anthropic._base_client)
        for name in ("SyncAPIClient", "AsyncAPIClient")
    ]
    originals = [(owner.__dict__["request"], owner.__dict__["_process_response"]) for owner in owners]
    provider = TracerProvider()
    for _ in range(2):
        harn.instrument(tracer_provider=provider)
    assert len(provider._active_span_processor._span_processors) == 1
    assert all(owner.__dict__["request"] is not original[0] for owner, original in zip(owners, originals, strict=True))
    for _ in range(2):
        harn.uninstrument()
    assert [(owner.__dict__["request"], owner.__dict__["_process_response"]) for owner in owners] == originals


def test_the_entry_point_is_an_instrumentor():
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="harn_steps")
    instrumentor = entry.load()()
    assert instrumentor.instrumentation_dependencies() == ()
    instrumentor.instrument(skip_dep_check=True)
    instrumentor.uninstrument()


def test_a_client_that_is_imported_later_is_patched_then():
    script = """
import otel_harn_steps, sys
otel_harn_steps.instrument()
assert "openai" not in sys.modules and "anthropic" not in sys.modules and "genai_prices" not in sys.modules
import openai._base_client
assert hasattr(openai._base_client.SyncAPIClient.request, "__wrapped__")
otel_harn_steps.uninstrument()
import anthropic._base_client
assert not hasattr(anthropic._base_client.SyncAPIClient.request, "__wrapped__")
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_missing_target_is_told_once_and_the_rest_works(caplog):
    from otel_harn_steps._calls.client import Seam

    class Gone:
        name = "json"
        seams = (Seam("json", "Client.request", "call"), Seam("json", "Client.other", "fill", is_optional=True))

    try:
        harn.instrument(providers=[Gone()])
        harn.instrument(providers=[Gone()])
    finally:
        harn.uninstrument()
    assert [record.getMessage() for record in caplog.records] == [
        "json.Client.request is missing in the installed version of json: its calls are not billed to steps"
    ]


def test_a_lone_surrogate_loses_no_line(steps, tmp_path):
    path = tmp_path / "records.jsonl"
    sink = JsonLinesSink(path)
    name = "caf\udc80\u00e9"
    with step(name):
        pass
    (record,) = drain_completed_steps()
    sink(record)
    sink.close()
    assert CompletedStep.from_dict(json.loads(path.read_text(encoding="utf-8"))).name == name
