"""Whose span a call gets where another instrumentation's span is current. `tests/integration/coexistence` runs the real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Instrumented, Spans
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import way

CHAT = case("openai.chat-completions.TestTokenCounts.openai")
GENAI = "opentelemetry.instrumentation.genai.somebody"
OPENINFERENCE = "openinference.instrumentation.somebody"


@pytest.mark.parametrize(
    "span",
    [
        (GENAI, "chat gpt", {}, 0),
        (GENAI, "chat gpt", {"gen_ai.operation.name": "chat"}, 0),
        (GENAI, "invoke_agent Forecaster", {}, 1),
        (GENAI, "Forecaster", {"gen_ai.operation.name": "invoke_agent"}, 1),
        (OPENINFERENCE, "ChatCompletion", {"openinference.span.kind": "LLM"}, 0),
        (OPENINFERENCE, "Forecaster", {"openinference.span.kind": "AGENT"}, 1),
        ("myapp", "chat gpt", {}, 1),
    ],
)
def test_a_call_within_a_span_of_one_call_gets_none_of_ours(
    span: tuple[str, str, dict[str, str], int],
    sync_clients: Clients,
    replay: ReplayServer,
    instrumented: Instrumented,
    spans: Spans,
) -> None:
    scope, name, attributes, ours = span

    async def call() -> None:
        theirs = spans.provider.get_tracer(scope).start_as_current_span(name, attributes=attributes)
        with steps.step("s"), theirs:
            await travel(Trip(CHAT, way(CHAT, "create")), sync_clients, replay)

    with instrumented(tracer_provider=spans.provider) as steps:
        sync_clients.mode.run(call())
        assert steps.drain_completed_steps()[0].llm_calls == 1
    made = [each for each in spans.finished("chat") if each.instrumentation_scope.name == "otel_harn_steps"]
    assert len(made) == ours


@pytest.mark.parametrize(
    ("kind", "ends", "ours"),
    [("LLM", "in the step", 0), ("CHAIN", "in the step", 1), ("LLM", "after the step", 1)],
)
def test_a_span_beside_the_call_is_waited_for(
    kind: str, ends: str, ours: int, spans: Spans, openinference_call: Callable[..., None]
) -> None:
    openinference_call(kind, in_step=ends == "in the step")
    made = [each for each in spans.finished("chat") if each.instrumentation_scope.name == "otel_harn_steps"]
    assert len(made) == ours
    (theirs,) = spans.finished("beside")
    (step,) = spans.finished("step ")
    for each in made:  # as long as the call was, however late it is made
        assert theirs.start_time <= each.start_time < each.end_time <= theirs.end_time
        assert each.parent.span_id == step.context.span_id


@pytest.fixture
def openinference_call(
    sync_clients: Clients, replay: ReplayServer, instrumented: Instrumented, spans: Spans
) -> Callable[..., None]:
    """Makes a call beside a span that is not current, and describes the call when it ends, as OpenInference's do."""

    def make(kind: str, *, in_step: bool) -> None:
        attributes = {
            "openinference.span.kind": kind,
            "llm.model_name": str(CHAT.response_model),
            "llm.token_count.prompt": (CHAT.expected_usage or {})["prompt_tokens"],
            "llm.token_count.completion": (CHAT.expected_usage or {})["completion_tokens"],
        }

        async def call() -> None:
            with steps.step("s"):
                beside = spans.provider.get_tracer(OPENINFERENCE).start_span("beside")
                await travel(Trip(CHAT, way(CHAT, "create")), sync_clients, replay)
                beside.set_attributes(attributes)
                if in_step:
                    beside.end()
            if not in_step:
                beside.end()

        with instrumented(tracer_provider=spans.provider) as steps:
            sync_clients.mode.run(call())
            assert steps.drain_completed_steps()[0].llm_calls == 1

    return make
