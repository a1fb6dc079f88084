"""Clients that are not patched: what another instrumentation's span reports is billed, once, and never what the engine billed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context, use_span

from otel_harn_steps import StepBudgetExceeded, StepSpanProcessor
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Spans
from tests.replay.answers import recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.ways import Call

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
CHAT_STREAM = case("openai.chat-completions.stream.async_chat_completion_streaming")
ASKED = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "command-r", "gen_ai.provider.name": "cohere"}
ANSWER = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}


@pytest.fixture
def tracer(spans: Spans, steps: ModuleType) -> Tracer:
    """Another instrumentation's."""
    return spans.provider.get_tracer("another.instrumentation")


def make_call(tracer: Tracer, answer: Mapping[str, Any] = ANSWER, asked: Mapping[str, Any] = ASKED) -> None:
    """A call by a client that we do not know."""
    with tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, attributes=dict(asked)) as span:
        span.set_attributes(dict(answer))


def billed(steps: ModuleType) -> tuple[int, int, int, int]:
    (record,) = steps.drain_completed_steps()
    return record.observed_calls, record.llm_calls, record.input_tokens, record.output_tokens


DIALECTS = {
    "gen_ai": (ASKED, ANSWER),
    "gen_ai, old names": (
        {"gen_ai.system": "Cohere", "gen_ai.request.model": "command-r"},
        {"gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20},
    ),
    "openinference": (
        {"openinference.span.kind": "LLM", "llm.model_name": "command-r", "llm.provider": "cohere"},
        {"llm.token_count.prompt": 100, "llm.token_count.completion": 20, "llm.token_count.total": 120},
    ),
    "openllmetry": (
        {"llm.request.type": "chat", "gen_ai.request.model": "command-r"},
        {"llm.usage.prompt_tokens": 100, "llm.usage.completion_tokens": 20, "llm.usage.total_tokens": 120},
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_span_in_any_dialect_is_billed_to_its_step(dialect: str, steps: ModuleType, tracer: Tracer) -> None:
    asked, answer = DIALECTS[dialect]
    with steps.step("s") as active:
        make_call(tracer, answer, asked)
        assert active.observed_calls == 1
    assert billed(steps) == (1, 1, 100, 20)


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"), 100),
        (("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_creation_input_tokens"), 100),
        (("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"), 4),
        (("llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_write"), 100),
    ],
)
def test_cached_tokens_are_part_of_the_input(
    names: tuple[str, str], whole: int, steps: ModuleType, tracer: Tracer
) -> None:
    with steps.step("s"):
        make_call(tracer, {**ANSWER, "gen_ai.usage.input_tokens": whole, names[0]: 50, names[1]: 10})
    (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.cache_read_tokens, record.cache_write_tokens) == (max(whole, 64), 50, 10)


def test_a_call_is_priced_by_its_provider_and_model(steps: ModuleType, tracer: Tracer) -> None:
    asked = {**ASKED, "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
    with steps.step("s"):
        make_call(tracer, asked=asked)
    (record,) = steps.drain_completed_steps()
    assert record.cost_usd == pytest.approx((100 * 0.15 + 20 * 0.6) / 1e6, abs=1e-12)
    assert record.model == "gpt-4o-mini"


def test_the_innermost_step_where_the_span_started_is_billed(steps: ModuleType, tracer: Tracer) -> None:
    with steps.step("outer"), steps.step("inner"):
        span = tracer.start_span("chat", attributes=ASKED)
        span.set_attributes(ANSWER)
        make_call(tracer, asked={**ASKED, "gen_ai.request.model": "command-a"})
        span.end()
    inner, outer = steps.drain_completed_steps()
    assert (inner.observed_calls, inner.input_tokens) == (2, 200)
    assert (outer.observed_calls, outer.input_tokens, outer.total_input_tokens) == (0, 0, 200)


def test_outside_any_step_nothing_is_billed(steps: ModuleType, tracer: Tracer) -> None:
    make_call(tracer)
    assert steps.drain_completed_steps() == []


def test_a_span_that_ends_in_another_thread_is_billed(steps: ModuleType, tracer: Tracer) -> None:
    def end(span: Span) -> None:
        span.set_attributes(ANSWER)
        span.end()

    with steps.step("s"):
        thread = threading.Thread(target=end, args=(tracer.start_span("chat", attributes=ASKED),))
        thread.start()
        thread.join()
    assert billed(steps) == (1, 1, 100, 20)


def test_a_span_whose_context_holds_its_parent_alone_belongs_to_its_parents_step(
    steps: ModuleType, tracer: Tracer
) -> None:
    with steps.step("s"), tracer.start_as_current_span("chain") as parent:
        bare = set_span_in_context(parent, otel_context.Context())
        span = tracer.start_span("chat", bare, attributes=ASKED)
        span.set_attributes(ANSWER)
        span.end()
    assert billed(steps) == (1, 1, 100, 20)


@pytest.mark.parametrize(
    "kind",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN"},
        {"traceloop.span.kind": "workflow"},
    ],
    ids=str,
)
def test_a_span_that_repeats_the_totals_of_others_is_not_billed(
    kind: dict[str, str], steps: ModuleType, tracer: Tracer
) -> None:
    attributes = {"gen_ai.request.model": "command-r", **kind}
    with steps.step("s"), tracer.start_as_current_span("agent", attributes=attributes) as agent:
        make_call(tracer)
        make_call(tracer)
        agent.set_attributes({"gen_ai.usage.input_tokens": 200, "gen_ai.usage.output_tokens": 40})
    assert billed(steps) == (2, 2, 200, 40)


def test_nested_spans_of_two_instrumentations_are_one_call(steps: ModuleType, tracer: Tracer, spans: Spans) -> None:
    framework = spans.provider.get_tracer("a.framework")
    with steps.step("s"), framework.start_as_current_span("chat", attributes=ASKED) as outer:
        make_call(tracer)
        outer.set_attributes(ANSWER)
    assert billed(steps) == (1, 1, 100, 20)


def test_spans_of_two_instrumentations_side_by_side_are_one_call(
    steps: ModuleType, tracer: Tracer, spans: Spans
) -> None:
    callback = spans.provider.get_tracer("a.callback").start_span
    with steps.step("s"):
        beside = callback("chat", attributes=ASKED)
        make_call(tracer)
        beside.set_attributes(ANSWER)
        beside.end()
    assert billed(steps) == (1, 1, 100, 20)


def test_calls_of_one_instrumentation_that_overlap_are_as_many_calls(steps: ModuleType, tracer: Tracer) -> None:
    with steps.step("s"):
        open_spans = [tracer.start_span("chat", attributes=ASKED) for _ in range(3)]
        for span in open_spans:
            span.set_attributes(ANSWER)
            span.end()
    assert billed(steps) == (3, 3, 300, 60)


def test_two_processors_bill_a_span_once(steps: ModuleType, spans: Spans, tracer: Tracer) -> None:
    spans.provider.add_span_processor(StepSpanProcessor())
    with steps.step("s"):
        make_call(tracer)
    assert billed(steps) == (1, 1, 100, 20)


def test_a_processor_that_was_shut_down_bills_nothing(steps: ModuleType, spans: Spans, tracer: Tracer) -> None:
    steps.uninstrument()
    with steps.step("s"):
        make_call(tracer)
    assert billed(steps) == (0, 0, 0, 0)


def test_an_embedding_has_no_output(steps: ModuleType, tracer: Tracer) -> None:
    asked = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "embed-v4"}
    with steps.step("s"):
        make_call(tracer, {"gen_ai.usage.input_tokens": 7}, asked)
    (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.output_tokens, record.unmetered_calls) == (7, 0, 0)


@pytest.mark.parametrize(
    "answer", [{}, {"gen_ai.usage.input_tokens": "many"}, {"http.response.status_code": 200}], ids=str
)
def test_a_span_that_tells_no_usage_is_not_billed(answer: dict[str, Any], steps: ModuleType, tracer: Tracer) -> None:
    with steps.step("s"):
        make_call(tracer, answer)
    assert billed(steps) == (0, 0, 0, 0)


def test_a_budget_crossed_by_a_span_raises_at_the_steps_exit(steps: ModuleType, tracer: Tracer) -> None:
    reached = []
    with pytest.raises(StepBudgetExceeded) as caught, steps.step("s", max_tokens=100):
        make_call(tracer)
        reached.append("the end of the body")
    assert reached
    assert caught.value.consumed_tokens == 120


def test_a_budget_crossed_by_a_span_refuses_the_next_call(
    steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    exchange = replay.serve(recorded(CHAT))
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), clients.mode)

    async def in_a_step() -> None:
        with steps.step("s", max_tokens=100):
            make_call(tracer)
            await call.make(call.method)

    with pytest.raises(StepBudgetExceeded):
        clients.mode.run(in_a_step())
    assert exchange.requests == []


class Around:
    """Where another instrumentation's span may stand to a call that the engine bills."""

    def __init__(self, tracer: Tracer, usage: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._usage = dict(usage)
        self._asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": CHAT.request_model or ""}

    def open(self, *, is_current: bool) -> Any:
        span = self._tracer.start_span("chat", attributes=self._asked)
        return _Open(span, use_span(span) if is_current else None, self._usage)


class _Open:
    def __init__(self, span: Span, current: Any, usage: dict[str, Any]) -> None:
        self._span, self._current, self._usage = span, current, usage

    def __enter__(self) -> None:
        if self._current is not None:
            self._current.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._current is not None:
            self._current.__exit__(*raised)
        self._span.set_attributes(self._usage)
        self._span.end()


@pytest.mark.parametrize("is_current", [True, False], ids=["around", "beside"])
@pytest.mark.parametrize(
    "usage",
    [
        {"gen_ai.usage.input_tokens": 23, "gen_ai.usage.output_tokens": 6},
        {"gen_ai.usage.input_tokens": 22, "gen_ai.usage.output_tokens": 7},
    ],
    ids=["the same count", "a wrong count"],
)
def test_a_call_that_the_engine_bills_is_not_billed_from_a_span(  # noqa: PLR0917
    is_current: bool, usage: dict[str, int], steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    exchange = replay.serve(recorded(CHAT))
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), clients.mode)

    async def in_a_step() -> None:
        with steps.step("s"), Around(tracer, usage).open(is_current=is_current):
            await call.make(call.method)

    clients.mode.run(in_a_step())
    (record,) = steps.drain_completed_steps()
    assert record.observed_calls == 0
    assert Bill.of_record(record) == bill_of(CHAT)


def test_a_span_around_the_engines_call_is_not_billed_whatever_it_tells(
    steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    """A gateway's own name for the model, its own count and its own id: only where the span stands gives it away."""
    exchange = replay.serve(recorded(CHAT))
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), clients.mode)

    async def in_a_step() -> None:
        with steps.step("s"), tracer.start_as_current_span("chat", attributes=ASKED) as span:
            await call.make(call.method)
            span.set_attributes({**ANSWER, "gen_ai.response.id": "gateway-1"})

    clients.mode.run(in_a_step())
    assert billed(steps) == (0, 1, 23, 6)


def test_a_span_made_when_the_answer_is_there_is_known_by_the_answers_id(
    steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    exchange = replay.serve(recorded(CHAT))
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), clients.mode)

    async def in_a_step() -> None:
        with steps.step("s"):
            answer = await call.make(call.method)
            make_call(tracer, {**ANSWER, "gen_ai.response.id": answer.id})
            make_call(tracer, {**ANSWER, "gen_ai.response.id": "another"})

    clients.mode.run(in_a_step())
    assert billed(steps) == (1, 2, 123, 26)


def test_an_unknown_client_beside_a_known_one_is_billed_too(
    steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    exchange = replay.serve(recorded(CHAT))
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), clients.mode)

    async def in_a_step() -> None:
        with steps.step("s"):
            span = tracer.start_span("chat", attributes=ASKED)
            await call.make(call.method)
            span.set_attributes(ANSWER)
            span.end()

    clients.mode.run(in_a_step())
    assert billed(steps) == (1, 2, 123, 26)


def test_a_span_that_starts_while_a_stream_is_read_does_not_repeat_the_stream(
    steps: ModuleType, tracer: Tracer, clients: Clients, replay: ReplayServer
) -> None:
    """Logfire records what was streamed in a span of its own, just before the stream ends."""
    exchange = replay.serve(recorded(CHAT_STREAM))
    call = Call(CHAT_STREAM, clients.for_case(CHAT_STREAM, exchange.url_at(CHAT_STREAM.host)), clients.mode)
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": CHAT_STREAM.request_model or ""}

    async def in_a_step() -> None:
        with steps.step("s"):
            stream = await call.make(call.method)
            async for event in clients.mode.each(stream):
                if event.usage is not None:
                    make_call(tracer, {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5}, asked)

    clients.mode.run(in_a_step())
    assert billed(steps) == (0, 1, 12, 5)


def test_nothing_is_kept_of_a_span_once_it_has_ended(steps: ModuleType, tracer: Tracer) -> None:
    from otel_harn_steps._calls import foreign_spans

    with steps.step("s") as active:
        for _ in range(3):
            make_call(tracer)
        assert foreign_spans._open == {}
        watch = foreign_spans.watch_in(active)
        assert watch.open == {}
        assert len(watch.calls) == 1
    steps.drain_completed_steps()
