"""What a call's span says by the GenAI conventions: whose it is, where it went, how its answer came. Never its text."""

from __future__ import annotations

import pytest

import otel_harn_steps as harn
from otel_harn_steps import step
from otel_harn_steps._telemetry.names import SCHEMA_URL
from otel_harn_steps.testing._modes import SYNC
from tests.instrumented import instrumented
from tests.provider import provider
from tests.replay.answers import recorded
from tests.replay.cases import case
from tests.replay.native import call, client_for, native_cases

AGENT, CONVERSATION, OPERATION = "gen_ai.agent.name", "gen_ai.conversation.id", "gen_ai.operation.name"


def ask_in_an_agents_inner_step(replay):
    with provider(replay) as llm, harn.labels(conversation="c-1", thread="t-2"), step("outer", agent="writer"):
        with step("inner"):
            llm.ask()


def test_the_agent_and_the_conversation_are_on_every_span_and_the_agents_own_step_invokes_it(steps, spans, replay):
    ask_in_an_agents_inner_step(replay)
    (of_call, inner, outer) = spans.finished()
    assert [each.attributes[AGENT] for each in (of_call, inner, outer)] == ["writer"] * 3
    assert [each.attributes[CONVERSATION] for each in (of_call, inner, outer)] == ["c-1"] * 3
    operations = [each.attributes.get(OPERATION) for each in (of_call, inner, outer)]
    assert operations == ["chat", None, "invoke_agent"]


def test_the_conversation_is_the_value_of_the_label_that_the_setting_names(spans, replay):
    with instrumented(tracer_provider=spans.provider, conversation_label="thread"):
        ask_in_an_agents_inner_step(replay)
    assert {each.attributes[CONVERSATION] for each in spans.finished()} == {"t-2"}


def test_a_label_around_the_call_alone_is_on_the_call_alone(steps, spans, replay):
    with provider(replay) as llm, step("s"), harn.labels(conversation="c-1"):
        llm.ask()
    assert [each.attributes.get(CONVERSATION) for each in spans.finished()] == ["c-1", None]


def test_what_a_backend_sums_over_spans_is_on_calls_alone_beside_a_step_that_invokes_an_agent(steps, spans, replay):
    ask_in_an_agents_inner_step(replay)
    (record,) = [each for each in harn.drain_completed_steps() if each.name == "inner"]
    for side in ("input", "output"):
        name = f"gen_ai.usage.{side}_tokens"
        assert [each.attributes.get(name) for each in spans.finished()] == [
            getattr(record, f"{side}_tokens"),
            None,
            None,
        ]


def test_a_stream_says_that_it_is_one_and_when_its_first_event_came(steps, spans, replay):
    with provider(replay) as llm, step("s"):
        for _ in llm.ask(10, 3, stream=True):
            pass
        llm.ask(10, 3)
    streamed, whole = spans.finished("chat")
    assert streamed.attributes["gen_ai.request.stream"] is True
    took = (streamed.end_time - streamed.start_time) / 1e9
    assert 0 < streamed.attributes["gen_ai.response.time_to_first_chunk"] <= took
    assert [each.attributes["gen_ai.response.finish_reasons"] for each in (streamed, whole)] == [("stop",)] * 2
    assert not {"gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"} & set(whole.attributes)


def test_a_stream_that_the_app_leaves_has_no_reason_for_its_end(steps, spans, replay):
    with provider(replay) as llm, step("s"):
        stream = llm.ask(10, 30, stream=True)
        next(iter(stream))
        stream.close()
    (span,) = spans.finished("chat")
    assert span.attributes["gen_ai.request.stream"] is True
    assert "gen_ai.response.finish_reasons" not in span.attributes


REASONS = {
    "cohere.v2-chat.stream.stream_with_events_with_content": ("COMPLETE",),
    "cohere.v1-chat.stream.cohere_chat_legacy_with_streaming": ("COMPLETE",),
    "google_genai.generateContent.validate_token_counts": ("STOP",),
    "google_genai.streamGenerateContent.stream.validate_token_counts_stream": ("STOP",),
    "mistral.chat-completions.multimodal_tool_return_matrix_tool_return_c": ("tool_calls",),
    "mistral.chat-completions.stream.mistralai_streaming_chat_with_events_with_c": ("stop",),
    "ollama.chat.ollama_async_chat_legacy": ("stop",),
    "ollama.generate.stream.ollama_streaming_metrics": ("stop",),
}


@pytest.mark.parametrize("name", [name for name in REASONS if name in {each.id for each in native_cases()}])
def test_an_answers_end_is_told_in_the_providers_words(name, steps, spans, replay):
    chosen = case(name)
    exchange = replay.serve(recorded(chosen))
    address = f"{replay.address}/{exchange.token}"
    with step("s"), client_for(chosen, SYNC, address) as client:
        answer = call(client, chosen, SYNC)
        if chosen.stream:
            for _ in answer:
                pass
    (span,) = [each for each in spans.finished() if not each.name.startswith("step")]
    assert span.attributes["gen_ai.response.finish_reasons"] == REASONS[name]
    assert (span.attributes["server.address"], span.attributes["server.port"]) == (
        "127.0.0.1",
        int(replay.address.rpartition(":")[2]),
    )


def test_the_port_of_https_is_left_out(steps, spans, replay):
    with provider(replay) as llm, step("s"):
        llm.ask()
    (span,) = spans.finished("chat")
    assert span.attributes["server.address"]
    assert ("server.port" in span.attributes) == (llm.client.base_url.port not in (None, 443))


def test_all_spans_name_the_schema_of_their_names(steps, spans, replay):
    ask_in_an_agents_inner_step(replay)
    assert {each.instrumentation_scope.schema_url for each in spans.finished()} == {SCHEMA_URL}
