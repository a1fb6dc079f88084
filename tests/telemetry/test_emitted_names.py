"""The dollars of a call under others' names, as `emit` says, on the spans of calls alone."""

from __future__ import annotations

import json

import pytest

import otel_harn_steps as harn
from otel_harn_steps import step
from otel_harn_steps._telemetry import names
from tests.instrumented import instrumented
from tests.provider import PRICES, provider
from tests.replay.cases import case
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of

DOLLARS = ("gen_ai.usage.cost", "operation.cost", "llm.cost.total")
LANGFUSE = (names.LANGFUSE_COST, names.LANGFUSE_USAGE, names.LANGFUSE_TYPE, names.LANGFUSE_FIRST_CHUNK)


def two_calls_in_nested_steps(replay):
    with provider(replay) as llm, step("outer", agent="writer"):
        llm.ask(1000, 10)
        with step("inner"):
            for _ in llm.ask(2000, 20, stream=True):
                pass


@pytest.mark.parametrize("emit", [[], [DOLLARS[0]], [*DOLLARS], [*DOLLARS, "langfuse"]])
def test_calls_have_what_is_asked_for_and_steps_have_none_of_it(emit, spans, replay):
    with instrumented(tracer_provider=spans.provider, prices=PRICES, emit=emit):
        two_calls_in_nested_steps(replay)
        spent = sum(each.cost_usd for each in harn.drain_completed_steps())
    calls, around = spans.finished("chat"), spans.finished("step")
    for name in DOLLARS:
        assert sum(each.attributes.get(name, 0) for each in calls) == pytest.approx(spent if name in emit else 0)
    assert all(("langfuse" in emit) == (name in calls[1].attributes) for name in LANGFUSE)
    assert not [name for each in around for name in each.attributes if name in (*DOLLARS, *LANGFUSE)]
    assert sum(each.attributes["harn.call.cost_usd"] for each in calls) == pytest.approx(spent) != 0


def test_a_call_of_unknown_price_has_no_dollars_under_any_name(spans, replay):
    with instrumented(tracer_provider=spans.provider, emit=[*DOLLARS, "langfuse"]):
        two_calls_in_nested_steps(replay)
    for call in spans.finished("chat"):
        assert not [name for name in (*DOLLARS, names.LANGFUSE_COST) if name in call.attributes]
        assert names.LANGFUSE_USAGE in call.attributes


async def test_phoenix_is_told_the_model_of_the_price_and_what_it_does_not_find_by_itself(spans, sync_clients, replay):
    chosen = case("openai.chat-completions.openai_chat_prompt_cache_e2e")
    with instrumented(tracer_provider=spans.provider, emit=["phoenix"]), step("s"):
        await travel(Trip(chosen, ways_of(chosen)[0]), sync_clients, replay)
    (call,), (around,) = spans.finished("chat"), spans.finished("step")
    assert call.attributes[names.PHOENIX_MODEL] == call.attributes["gen_ai.response.model"]
    assert call.attributes[names.PHOENIX_CACHE_WRITE] == call.attributes["gen_ai.usage.cache_write.input_tokens"]
    assert names.PHOENIX_MODEL not in around.attributes


async def test_what_langfuse_adds_up_is_every_token_once(spans, sync_clients, replay):
    chosen = case("openai.chat-completions.openai_chat_prompt_cache_e2e")
    with instrumented(tracer_provider=spans.provider, emit=["langfuse"]), step("s"):
        await travel(Trip(chosen, ways_of(chosen)[0]), sync_clients, replay)
    (call,) = spans.finished("chat")
    usage = json.loads(call.attributes[names.LANGFUSE_USAGE])
    total = usage.pop("total")
    assert usage["input_cache_creation"] == call.attributes["gen_ai.usage.cache_write.input_tokens"] > 0
    assert sum(usage.values()) == total == chosen.expected_usage["total_tokens"]
    assert json.loads(call.attributes[names.LANGFUSE_COST]) == {"total": call.attributes["harn.call.cost_usd"]}


@pytest.mark.parametrize(
    ("emit", "said"),
    [
        ("langfuse", "emit must be a list of names such as"),
        (
            ["langfuze"],
            r"emit must be of gen_ai.usage.cost, operation.cost, llm.cost.total, langfuse, phoenix, not 'langfuze'; did",
        ),
        ([1], "emit must be of gen_ai.usage.cost, .* not 1"),
        ({"langfuse": True}, "emit must be a list of names such as"),
    ],
)
def test_a_wrong_value_is_said_with_what_is_allowed(emit, said):
    with pytest.raises((TypeError, ValueError), match=said):
        harn.instrument(emit=emit)


@pytest.mark.parametrize("label", ["", 1, None])
def test_a_label_without_a_name_is_refused(label):
    with pytest.raises(TypeError, match="conversation_label must be the name of a label, such as 'conversation', not"):
        harn.instrument(conversation_label=label)
