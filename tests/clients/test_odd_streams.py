"""Streams that report their usage in parts, or take it back: what a server has counted once stays counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import Answer, recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import Case, JsonObject, case
from tests.replay.clients import Clients
from tests.replay.native import HELLO, App, google, json_answer, mistral, native_bill
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import READS_BYTES, ways_of

CHAT = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
MESSAGES = case("anthropic.messages.stream.anthropic_prompt_caching_async_stream_legac")
SEARCHED = case("anthropic.beta-messages.stream.anthropic_model_web_search_tool_stream")


def trips(*chosen: Case) -> list[Trip]:
    return [Trip(case, way) for case in chosen for way in ways_of(case) if way.name not in READS_BYTES]


def chunk(**more: Any) -> bytes:
    """A chunk of the recorded chat stream, with something in it."""
    like = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06", "choices": []}
    return b"data: " + json.dumps({**like, **more}).encode() + b"\n\n"


def chat(*last: bytes, first: Mapping[str, Any] | None = None) -> Answer:
    """The recorded chat stream, in which these chunks come last, and the first says more."""

    def change(event: JsonObject) -> JsonObject:
        seen.append(event)
        return {**event, **(first or {})} if len(seen) == 1 else event

    seen: list[JsonObject] = []
    answer = recorded(CHAT, change)
    *events, done = answer.chunks
    return replace(answer, chunks=(*events, *last, done))


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
BILL = Bill(llm_calls=1, input_tokens=11, output_tokens=7, cache_read_tokens=5, reasoning_tokens=2)
ZEROS = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
INPUT = {"prompt_tokens": 11, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 5}}
OUTPUT = {"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 2}}
REPORTS = {
    "then empty": [USAGE, {}],
    "then zeros": [USAGE, ZEROS],
    "then null": [USAGE, None],
    "input, then output": [INPUT, OUTPUT],
    "with zeros for what comes later": [{**INPUT, "completion_tokens": 0}, {**OUTPUT, "prompt_tokens": 0}],
    "with every chunk": [{**USAGE, "completion_tokens": 3, "total_tokens": 14}, USAGE],
    "a correction": [{**USAGE, "prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": 32}}, USAGE],
}
ASKED = replace(CHAT, request={**CHAT.request, "stream_options": {"include_usage": True}})


@pytest.mark.parametrize("reports", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("trip", trips(CHAT, ASKED), ids=str)
def test_chat_usage_that_comes_in_parts_is_billed_once_and_whole(trip: Trip, reports: list[Any], twice: Twice) -> None:
    outcome = twice(trip, chat(*(chunk(usage=usage) for usage in reports)))
    if "stream_options" in trip.case.request:
        assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == BILL


def test_usage_of_a_model_without_a_name_is_kept_too(twice: Twice) -> None:
    unnamed = Answer(
        200,
        (chunk(model="", usage=USAGE), chunk(model=""), b"data: [DONE]\n\n"),
        streamed=True,
        headers={"content-type": "text/event-stream"},
    )
    assert Bill.of_record(twice(trips(CHAT)[0], unnamed).record) == BILL


@pytest.mark.parametrize(
    ("first", "last", "usd"),
    [
        ({"service_tier": "priority"}, {}, 11 * 4.25e-6 - 5 * (4.25e-6 - 2.125e-6) + 7 * 17e-6),
        ({"service_tier": "priority"}, {"service_tier": "default"}, 11 * 2.5e-6 - 5 * 1.25e-6 + 7 * 10e-6),
        ({}, {}, 11 * 2.5e-6 - 5 * 1.25e-6 + 7 * 10e-6),
    ],
    ids=["told first", "told again", "not told"],
)
@pytest.mark.parametrize("trip", trips(CHAT), ids=str)
def test_the_tier_of_the_first_chunk_is_that_of_the_call(
    trip: Trip, first: dict[str, Any], last: dict[str, Any], usd: float, twice: Twice
) -> None:
    outcome = twice(trip, chat(chunk(usage=USAGE, **last), first={"service_tier": None, **first}))
    assert outcome.record.cost_usd == pytest.approx(usd, abs=1e-12)


# -- Anthropic's protocol ------------------------------------------------------------------------------------------------

NO_INPUT = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


def deltas(**usage: Any) -> Any:
    """Changes the usage of each delta."""

    def change(event: JsonObject) -> JsonObject:
        return {**event, "usage": {**event["usage"], **usage}} if event.get("type") == "message_delta" else event

    return change


@pytest.mark.parametrize("told", [{"input_tokens": 0}, NO_INPUT], ids=["input", "caches too"])
@pytest.mark.parametrize("trip", trips(MESSAGES), ids=str)
def test_input_that_a_message_started_with_does_not_become_less(trip: Trip, told: dict[str, int], twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, deltas(**told)))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == bill_of(trip.case)


@pytest.mark.parametrize("trip", trips(SEARCHED), ids=str)
def test_input_that_has_grown_replaces_what_a_message_started_with(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip)
    assert Bill.of_record(outcome.record) == bill_of(trip.case)
    assert outcome.record.input_tokens > 10_000


@pytest.mark.parametrize("trip", trips(MESSAGES), ids=str)
def test_input_that_turns_out_to_be_cached_is_counted_once(trip: Trip, twice: Twice) -> None:
    usage = trip.case.expected_usage or {}
    size = sum(usage.get(name) or 0 for name in NO_INPUT)
    outcome = twice(trip, recorded(trip.case, deltas(**{**NO_INPUT, "cache_read_input_tokens": size})))
    assert (outcome.record.input_tokens, outcome.record.cache_read_tokens) == (size, size)


def split_alone(body: JsonObject) -> JsonObject:
    """The answer with the cache's writes by how long they are kept, and without their sum."""
    usage = {
        "input_tokens": 10,
        "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 5,
    }
    if body.get("type") == "message":
        return {**body, "model": "claude-sonnet-4-5-20250929", "usage": usage}
    if body.get("type") == "message_start":
        return {**body, "message": {**body["message"], "model": "claude-sonnet-4-5-20250929", "usage": usage}}
    return {**body, "usage": {"output_tokens": 5}} if body.get("type") == "message_delta" else body


@pytest.mark.parametrize(
    "trip", trips(MESSAGES, case("anthropic.messages.anthropic_prompt_caching_async_legacy")), ids=str
)
def test_cache_writes_are_summed_where_their_sum_is_missing(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, split_alone))
    assert Bill.of_record(outcome.record) == Bill(
        llm_calls=1, input_tokens=510, output_tokens=5, cache_write_tokens=500
    )
    assert outcome.record.cost_usd == pytest.approx(10 * 3e-6 + 300 * 3.75e-6 + 200 * 6e-6 + 5 * 15e-6, abs=1e-12)


# -- Google, Mistral -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [{}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": 0, "totalTokenCount": 0}])
def test_a_last_event_of_gemini_that_counts_nothing_takes_nothing_back(
    odd: dict[str, Any], clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    pytest.importorskip("google.genai")
    app, streamed = (
        App(google, clients.mode, replay),
        case("google_genai.streamGenerateContent.stream.code_execution_stream"),
    )
    answer = recorded(streamed)
    last = json.dumps({"candidates": [], "usageMetadata": odd, "modelVersion": streamed.response_model}).encode()

    async def go(client: Any) -> None:
        stream = await app.mode.settle(
            client.models.generate_content_stream(model=streamed.request_model, contents="hi")
        )
        async for _ in app.mode.each(stream):
            pass

    script = replace(answer, chunks=(*answer.chunks, b"data: " + last + b"\r\n\r\n"))
    record, _ = app.run(steps, (script,), go)
    assert Bill.of_record(record) == native_bill(streamed)


def test_thoughts_that_gemini_counts_in_its_total_alone_are_output(
    clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    pytest.importorskip("google.genai")
    app, plain = App(google, clients.mode, replay), case("google_genai.generateContent.generate_metrics")
    body = plain.json()
    told = {name: value for name, value in body["usageMetadata"].items() if name != "thoughtsTokenCount"}

    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_content(model=plain.request_model, contents="hi"))

    record, _ = app.run(steps, (json_answer({**body, "usageMetadata": told}),), go)
    assert Bill.of_record(record) == native_bill(plain)


def test_usage_that_mistral_takes_back_stays(clients: Clients, replay: ReplayServer, steps: ModuleType) -> None:
    pytest.importorskip("mistralai")
    app, streamed = App(mistral, clients.mode, replay), case(MISTRAL_STREAM)
    answer = recorded(streamed)
    *events, done = answer.chunks
    last = {"id": "c", "model": streamed.response_model, "choices": [], "usage": dict.fromkeys(COUNTS, 0)}

    async def go(client: Any) -> None:
        method = client.chat.stream_async if app.mode.name == "async" else client.chat.stream
        async for _ in app.mode.each(await app.mode.settle(method(model=streamed.request_model, messages=HELLO))):
            pass

    script = replace(answer, chunks=(*events, b"data: " + json.dumps(last).encode() + b"\n\n", done))
    record, _ = app.run(steps, (script,), go)
    assert Bill.of_record(record) == native_bill(streamed)


COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
MISTRAL_STREAM = "mistral.chat-completions.stream.mistralai_streaming_chat_with_events_with_c"
