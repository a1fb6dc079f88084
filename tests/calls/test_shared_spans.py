"""A call within an open span of another instrumentation that says it is one: it has that span alone, with our price on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, use_span

from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Instrumented, Spans
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import way

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
STREAM = case("openai.chat-completions.stream.async_chat_completion_streaming")
GENERATION = {"langfuse.observation.type": "generation"}
CHAT_SPAN = {"gen_ai.operation.name": "chat"}

Call = Callable[..., None]


@pytest.fixture
def call(sync_clients: Clients, replay: ReplayServer, steps: ModuleType) -> Call:
    """Makes a call in a step, within what `around` opens there."""

    def make(around: Callable[[ExitStack], object] = lambda _: None, called: Case = CHAT, **options: Any) -> None:
        async def in_a_step() -> None:
            with steps.step("s", **options), ExitStack() as stack:
                around(stack)
                by = "create.for" if called.stream else "create"
                await travel(Trip(called, way(called, by)), sync_clients, replay)

        sync_clients.mode.run(in_a_step())

    return make


def within(spans: Spans, attributes: Mapping[str, Any], name: str = "theirs") -> Callable[[ExitStack], Span]:
    """A span of an instrumentation that nobody knows, current in the step."""
    tracer = spans.provider.get_tracer("nobody.knows")
    return lambda stack: stack.enter_context(tracer.start_as_current_span(name, attributes=attributes))


def beside(spans: Spans, attributes: Mapping[str, Any]) -> Callable[[ExitStack], Span]:
    """One that is open, and not current."""

    def start(stack: ExitStack) -> Span:
        span = spans.provider.get_tracer("nobody.knows").start_span("theirs")
        span.set_attributes(attributes)
        stack.callback(span.end)
        return span

    return start


def ours(spans: Spans) -> list[ReadableSpan]:
    return [each for each in spans.finished("chat") if each.instrumentation_scope.name == "otel_harn_steps"]


def theirs(spans: Spans) -> Mapping[str, Any]:
    (span,) = spans.finished("theirs")
    return dict(span.attributes or {})


SAYING_SO = [
    CHAT_SPAN,
    {"gen_ai.operation.name": "generate_content"},
    {"openinference.span.kind": "LLM"},
    {"llm.request.type": "chat"},
    {"traceloop.span.kind": "llm"},
    GENERATION,
    {"mlflow.spanType": '"CHAT_MODEL"'},
    {"mlflow.spanType": "LLM"},
]


@pytest.mark.parametrize("place", [within, beside])
@pytest.mark.parametrize("attributes", SAYING_SO, ids=str)
def test_a_span_that_says_it_is_a_call_is_the_calls_span_whoever_made_it(
    place: Callable[..., Any], attributes: dict[str, Any], call: Call, spans: Spans, steps: ModuleType
) -> None:
    call(place(spans, attributes), agent="planner")
    (record,) = steps.drain_completed_steps()
    assert (record.llm_calls, record.observed_calls) == (1, 0)
    assert ours(spans) == []
    added = {"harn.step.name": "s", "gen_ai.agent.name": "planner", "harn.call.cost_usd": record.cost_usd}
    assert theirs(spans) == {**attributes, **added}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "CHAIN"},
        {"langfuse.observation.type": "span"},
        {"mlflow.spanType": '"AGENT"'},
        {"http.request.method": "POST"},
    ],
    ids=str,
)
def test_any_other_span_is_left_as_it_is_and_the_call_has_ours(
    attributes: dict[str, Any], call: Call, spans: Spans, steps: ModuleType
) -> None:
    call(within(spans, attributes))
    assert theirs(spans) == attributes
    assert len(ours(spans)) == 1


def test_what_a_span_says_already_is_not_overwritten(call: Call, spans: Spans, steps: ModuleType) -> None:
    said = {**CHAT_SPAN, "harn.step.name": "x", "gen_ai.agent.name": "y", "harn.call.cost_usd": 9.0}
    call(within(spans, said), agent="planner")
    assert theirs(spans) == said


def test_a_span_that_says_nothing_in_between_does_not_hide_it(call: Call, spans: Spans, steps: ModuleType) -> None:
    def around(stack: ExitStack) -> None:
        within(spans, CHAT_SPAN)(stack)
        within(spans, {}, "attempt")(stack)

    call(around)
    assert ours(spans) == []
    assert "harn.call.cost_usd" in theirs(spans)


def test_a_tool_in_between_makes_calls_of_its_own(call: Call, spans: Spans, steps: ModuleType) -> None:
    def around(stack: ExitStack) -> None:
        within(spans, CHAT_SPAN)(stack)
        within(spans, {"gen_ai.operation.name": "execute_tool"}, "tool")(stack)

    call(around)
    assert len(ours(spans)) == 1
    assert theirs(spans) == CHAT_SPAN


def test_calls_within_one_span_add_up_on_it(
    call: Call, spans: Spans, steps: ModuleType, sync_clients: Clients, replay: ReplayServer
) -> None:
    async def in_a_step() -> None:
        with steps.step("s"), ExitStack() as stack:
            within(spans, CHAT_SPAN)(stack)
            for _ in range(2):
                await travel(Trip(CHAT, way(CHAT, "create")), sync_clients, replay)

    sync_clients.mode.run(in_a_step())
    (record,) = steps.drain_completed_steps()
    assert theirs(spans)["harn.call.cost_usd"] == record.cost_usd
    assert ours(spans) == []


def test_each_call_has_the_span_next_to_it(
    spans: Spans, steps: ModuleType, sync_clients: Clients, replay: ReplayServer
) -> None:
    async def in_a_step() -> None:
        with steps.step("s"), ExitStack() as stack:
            for _ in range(2):
                beside(spans, GENERATION)(stack)
                await travel(Trip(CHAT, way(CHAT, "create")), sync_clients, replay)

    sync_clients.mode.run(in_a_step())
    (record,) = steps.drain_completed_steps()
    prices = [span.attributes["harn.call.cost_usd"] for span in spans.finished("theirs")]
    assert prices == [record.cost_usd / 2] * 2


def test_a_span_next_to_the_call_about_another_model_is_of_another_call(
    call: Call, spans: Spans, steps: ModuleType
) -> None:
    call(beside(spans, {**CHAT_SPAN, "gen_ai.request.model": "command-r"}))
    assert len(ours(spans)) == 1
    assert "harn.call.cost_usd" not in theirs(spans)


def test_a_span_that_has_ended_is_left_alone(call: Call, spans: Spans, steps: ModuleType) -> None:
    def around(stack: ExitStack) -> None:
        span = spans.provider.get_tracer("nobody.knows").start_span("theirs", attributes=CHAT_SPAN)
        span.end()
        stack.enter_context(use_span(span))

    call(around)
    assert theirs(spans) == CHAT_SPAN
    assert len(ours(spans)) == 1


class _Misbehaving(NonRecordingSpan):
    """A recording span of which nothing works."""

    def is_recording(self) -> bool:
        return True

    def set_attributes(self, attributes: Any) -> None:
        raise RuntimeError("no")


class _Unreadable(_Misbehaving):
    @property
    def attributes(self) -> Any:
        raise RuntimeError("no")


class _Unwritable(_Misbehaving):
    attributes = CHAT_SPAN


@pytest.mark.parametrize("kind", [_Unreadable, _Unwritable])
def test_a_misbehaving_span_does_not_reach_the_app(
    kind: type[_Misbehaving], call: Call, spans: Spans, steps: ModuleType
) -> None:
    call(lambda stack: stack.enter_context(use_span(kind(SpanContext(1, 2, is_remote=False)))))
    (record,) = steps.drain_completed_steps()
    assert record.llm_calls == 1


@pytest.mark.parametrize(("wanted", "of_ours", "is_priced"), [(False, 0, True), (True, 1, False)])
def test_with_spans_of_ours_always_the_price_is_on_ours_alone(  # noqa: PLR0917
    wanted: bool,
    of_ours: int,
    is_priced: bool,
    spans: Spans,
    sync_clients: Clients,
    replay: ReplayServer,
    instrumented: Instrumented,
) -> None:
    async def in_a_step(steps: ModuleType) -> None:
        with steps.step("s"), ExitStack() as stack:
            within(spans, CHAT_SPAN)(stack)
            await travel(Trip(CHAT, way(CHAT, "create")), sync_clients, replay)

    with instrumented(tracer_provider=spans.provider, call_spans=wanted) as steps:
        sync_clients.mode.run(in_a_step(steps))
        steps.drain_completed_steps()
    assert len(ours(spans)) == of_ours
    assert ("harn.call.cost_usd" in theirs(spans)) == is_priced


@pytest.mark.parametrize("called", [CHAT, STREAM], ids=["whole", "stream"])
def test_an_enclosing_span_of_a_call_has_the_price_of_a_stream_too(
    called: Case, call: Call, spans: Spans, steps: ModuleType
) -> None:
    call(within(spans, CHAT_SPAN), called)
    (record,) = steps.drain_completed_steps()
    assert theirs(spans).get("harn.call.cost_usd") == record.cost_usd
