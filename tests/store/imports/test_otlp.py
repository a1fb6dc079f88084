"""Spans in files: steps, and each call once, whether it has a span or not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from otel_harn_steps import Journal, StepSpanProcessor, record_llm_usage, step
from otel_harn_steps.store import JournalReader, RunSummary, Store
from otel_harn_steps.store.imports import import_files
from tests.instrumented import Spans, instrumented
from tests.provider import PRICES, provider
from tests.store.imports.sources import imported, indexed, paths_and_calls, write_lines

FILES = Path(__file__).parent / "files" / "otlp"
"""Written by a Collector 0.155, in the encoding of its file exporter."""
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 70,
    "gen_ai.usage.output_tokens": 7,
}
ADDED_UP = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cost_picousd",
    "unpriced_calls",
    "unmetered_calls",
    "priced_calls",
)


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def sdk():
    return Spans(TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False))


@pytest.fixture
def file(tmp_path, sdk):
    """Writes the spans that have ended to a file, as the Collector does: ids are hex."""

    def write(*, lines=1, without=()):
        spans = [span for span in sdk.exporter.get_finished_spans() if not span.name.startswith(without or "\0")]
        parts = [spans[start::lines] for start in range(lines)]
        return write_lines(tmp_path / "traces.jsonl", [as_json(part) for part in parts])

    return write


def as_json(spans):
    request = MessageToDict(encode_spans(spans))
    for of_resource in request["resourceSpans"]:
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return request


@pytest.fixture
def llm(replay, sdk):
    with instrumented(tracer_provider=sdk.provider, prices=PRICES), provider(replay) as made:
        yield made


def totals(spend):
    return {name: getattr(spend, name) for name in ADDED_UP}


def test_what_a_collector_has_written(records):
    report, summary = imported("otlp", FILES, records)

    assert (report.damaged_lines, report.new) == (0, 2)
    assert paths_and_calls(summary) == [("", 1), ("plan", 2), ("plan/research", 3)]
    assert (summary.total.input_tokens, summary.total.output_tokens) == (1950, 125)
    assert summary.certainties == {"measured": 4, "observed": 2}
    with Store(records) as store:
        store.update()
        run = store.run("14d211667441b4d849fd36f1e23c1f27")
    assert (run.run.program, run.run.name, run.run.source) == ("shop", "plan", "otlp")
    assert [(each.name, each.agent, each.detail, each.limits) for each in run.steps] == [
        ("plan", None, "ticket 7", {"max_usd": 1.0}),
        ("research", "librarian", None, {}),
    ]


def test_the_calls_of_steps_are_those_of_their_spans(llm, sdk, file, records, tmp_path):
    with instrumented(tracer_provider=sdk.provider, prices=PRICES, sinks=[Journal(tmp_path / "journal")]):
        with step("plan"):
            llm.ask(100, 20)
            with step("research"):
                llm.ask(1000, 50)
                llm.ask(7, 1)

    _, summary = imported("otlp", file(), records)

    journaled = RunSummary(JournalReader(tmp_path / "journal").poll())
    assert totals(summary.total) == totals(journaled.total)
    assert paths_and_calls(summary) == paths_and_calls(journaled) == [("plan", 1), ("plan/research", 2)]
    assert summary.certainties == journaled.certainties == {"measured": 3}
    assert indexed(records).to_dict() == summary.total.to_dict()


def test_calls_without_spans_have_equal_shares_of_what_their_step_has_counted(llm, sdk, file, records):
    with step("plan"):
        llm.ask(100, 20)
        llm.ask(201, 20)
        record_llm_usage("no such model", 10, 1)

    _, summary = imported("otlp", file(without="chat"), records)

    total = summary.total
    assert (total.calls, total.input_tokens, total.output_tokens) == (3, 311, 41)
    assert (total.unpriced_calls, total.cost_picousd) == (1, (301 * 3 + 40 * 7) * 10**6)
    with Store(records) as store:
        store.update()
        assert {call.operation for call in store.calls()} == {"unknown"}


def test_calls_of_which_some_have_spans(llm, sdk, file, records):
    with step("plan"):
        llm.ask(100, 20)
        record_llm_usage("gpt-5", 500, 10, 0.25)

    imported("otlp", file(), records)

    with Store(records) as store:
        store.update()
        calls = {call.operation: (call.input_tokens, call.cost_picousd) for call in store.calls()}
    assert calls == {"chat": (100, (300 + 140) * 10**6), "unknown": (500, 250 * 10**9)}


def test_a_late_call_is_not_a_part_of_what_its_step_has_counted(sdk, file, records):
    tracer = sdk.provider.get_tracer("otel_harn_steps")
    with instrumented(tracer_provider=sdk.provider):
        with step("plan"):
            late = tracer.start_span("chat gpt-5-mini", attributes=CALL | {"harn.call.cost_usd": 0.5})
        late.end()

    _, summary = imported("otlp", file(), records)

    assert (summary.total.calls, summary.total.cost_picousd) == (1, 5 * 10**11)
    with Store(records) as store:
        store.update()
        assert [(call.step, call.late) for call in store.calls()] == [("plan", True)]


def test_spans_of_other_instrumentations_are_observed_calls_at_list_prices(sdk, file, records):
    tracer = sdk.provider.get_tracer("opentelemetry.instrumentation.other")
    with tracer.start_as_current_span("chat gpt-5-mini", attributes=CALL):
        pass

    report, summary = imported("otlp", file(), records)

    assert (report.steps, summary.total.calls, summary.certainties) == (0, 1, {"observed": 1})
    assert summary.total.cost_picousd == 70 * 250_000 + 7 * 2_000_000


def test_of_spans_within_each_other_the_inner_one_counts(sdk, file, records):
    tracer = sdk.provider.get_tracer("opentelemetry.instrumentation.other")
    with tracer.start_as_current_span("invoke_agent", attributes=CALL | {"gen_ai.operation.name": "invoke_agent"}):
        with tracer.start_as_current_span("chat", attributes=CALL):
            with tracer.start_as_current_span("POST"):
                with tracer.start_as_current_span("chat", attributes=CALL):
                    pass

    assert imported("otlp", file(), records)[1].total.calls == 1


def test_of_spans_of_the_same_answer_one_counts(sdk, file, records):
    for scope in ("opentelemetry.instrumentation.one", "opentelemetry.instrumentation.two"):
        with sdk.provider.get_tracer("around").start_as_current_span("app") as around:
            pass
        for name in (scope, f"{scope}.again"):
            tracer = sdk.provider.get_tracer(name)
            tracer.start_span("chat", set_span_in_context(around), attributes=CALL | {"gen_ai.response.id": "r1"}).end()

    assert imported("otlp", file(), records)[1].total.calls == 2  # one in each trace


def test_an_observed_call_of_a_step_is_counted_once(sdk, file, records):
    sdk.provider.add_span_processor(StepSpanProcessor())
    tracer = sdk.provider.get_tracer("opentelemetry.instrumentation.other")
    with instrumented(tracer_provider=sdk.provider):
        with step("plan"):
            with tracer.start_as_current_span("chat gpt-5-mini", attributes=CALL):
                pass

    _, summary = imported("otlp", file(), records)

    assert paths_and_calls(summary) == [("plan", 1)]
    assert (summary.total.input_tokens, summary.certainties) == (70, {"observed": 1})


def test_a_call_that_failed_is_billed_to_nobody(sdk, file, records):
    with instrumented(tracer_provider=sdk.provider):
        with step("plan"):
            span = sdk.provider.get_tracer("otel_harn_steps").start_span(
                "chat m", attributes={"gen_ai.operation.name": "chat"}
            )
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    assert imported("otlp", file(), records)[1].total.calls == 0


def test_a_step_that_failed_or_was_stopped(sdk, file, records):
    with instrumented(tracer_provider=sdk.provider):
        with step("plan", max_tokens=5, error_boundary="continue"):
            record_llm_usage("gpt-5", 10, 10)
        with pytest.raises(ZeroDivisionError), step("draft"):
            1 / 0  # noqa: B018

    imported("otlp", file(), records)

    with Store(records) as store:
        store.update()
        found = {each.name: (each.status, each.breach, each.error) for each in store.step_runs()}
    assert found == {
        "plan": ("skipped", "max_tokens", "otel_harn_steps.StepBudgetExceeded"),
        "draft": ("failed", None, "ZeroDivisionError"),
    }


def test_a_trace_in_several_batches_is_one_run(llm, sdk, file, records):
    with step("plan"):
        llm.ask(100, 20)
        with step("research"):
            llm.ask(1000, 50)

    report, summary = imported("otlp", file(lines=3), records)

    assert (report.new, summary.total.calls, summary.total.input_tokens) == (1, 2, 1100)
    assert import_files("otlp", [file()], records).same == 1


def test_a_part_of_a_trace_does_not_take_the_place_of_more_of_it(llm, sdk, file, records):
    with step("plan"):
        llm.ask(100, 20)
        with step("research"):
            llm.ask(1000, 50)
    import_files("otlp", [file()], records)

    report, summary = imported("otlp", file(without="step plan"), records)

    assert (len(report.less), report.changed, summary.total.calls) == (1, 0, 2)


def test_a_trace_whose_steps_have_written_journals_is_left_out(llm, sdk, file, records):
    with instrumented(tracer_provider=sdk.provider, prices=PRICES, sinks=[Journal(records)]):
        with step("plan"):
            llm.ask(100, 20)

    report, _ = imported("otlp", file(), records)

    assert (len(report.journaled), report.new) == (1, 0)
    assert indexed(records).calls == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"traceId": "xyz"}, "a span whose traceId is 'xyz'"),
        ({"spanId": None}, "a span whose spanId is None"),
        ({"startTimeUnixNano": -1}, "a span whose startTimeUnixNano is -1"),
        ({"startTimeUnixNano": "now"}, "invalid literal for int() with base 10: 'now'"),
    ],
)
def test_a_damaged_span_is_named(records, tmp_path, change, reason):
    request = json.loads((FILES / "traces.jsonl").read_text())
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= change

    report, _ = imported("otlp", write_lines(tmp_path / "traces.jsonl", [request, {"resourceMetrics": []}]), records)

    assert [(each.line, each.reason) for each in report.damaged] == [
        (1, reason),
        (2, "has resourceMetrics and no spans"),
    ]
