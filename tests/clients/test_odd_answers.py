"""Answers that no provider documents: every adapter takes them, and what they do report is billed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Request
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.instrumented import Instrumented
from tests.replay.answers import events_of, recorded
from tests.replay.cases import Case, JsonObject, all_cases, case
from tests.replay.clients import Clients
from tests.replay.outcomes import Twice
from tests.replay.plausible import assert_plausible
from tests.replay.runs import Trip
from tests.replay.ways import ways_of

NAMES = {provider.name: provider for provider in ADAPTERS}
CLIENTS = {
    "bedrock": "botocore",
    "google_genai": "google-genai",
    "google_vertex": "google-genai",
    "mistral": "mistralai",
    "huggingface": "huggingface_hub",
}
# Providers with a dialect or a reported cost of their own, whoever's answer it is.
BILLED_BY = ("openai", "openrouter", "perplexity", "x_ai", "aws.bedrock", "gcp.gemini")
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**15 + 1, 10**30, -(10**30)]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["12", " 7 ", "+3", "+-3", "1_000", "²", "9" * 5000]),
    st.just({}),
    st.just([]),
    st.lists(st.one_of(st.none(), st.integers(), st.lists(st.integers(), max_size=1)), max_size=2),
    st.dictionaries(st.sampled_from(["type", "count", "usage", "total"]), st.integers(), max_size=2),
)
Path = tuple[Any, ...]


def provider_of(case: Case) -> ClientAdapter:
    if case.provider in NAMES:
        return NAMES[case.provider]
    if case.endpoint == "interactions":
        return NAMES["google-genai interactions"]
    return NAMES[CLIENTS.get(case.provider, case.client)]


def payloads_of(case: Case) -> list[Any]:
    """The JSON of an answer, or of the events of a stream."""
    if not case.stream:
        return [case.json()]
    lines = (event.removeprefix(b"data:").strip() for chunk in events_of(case) for event in chunk.splitlines())
    return [json.loads(line) for line in lines if line.startswith(b"{")]


READABLE = [
    each
    for each in all_cases().values()
    if each.status == 200 and (each.provider != "bedrock" or each.endpoint == "converse")
]


def places(payload: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    inner = payload.items() if isinstance(payload, Mapping) else enumerate(payload) if isinstance(payload, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def with_odd(payload: Any, path: Path, odd: Any) -> Any:
    if not path:
        return odd
    changed = dict(payload) if isinstance(payload, Mapping) else list(payload)
    changed[path[0]] = with_odd(payload[path[0]], path[1:], odd)
    return changed


def reading_of(case: Case, billed_by: str, payloads: list[Any]) -> ParsedResponse:
    provider = provider_of(case)
    request = Request("embeddings" if "mbed" in case.endpoint else "chat", billed_by, case.request_model)
    if not case.stream:
        return provider.parse(request, payloads[0])
    state = None
    for event in payloads:
        state = provider.fold(state, event)
    return ParsedResponse() if state is None else provider.parse(request, state)


@st.composite
def odd_answers(draw: st.DrawFn) -> tuple[Case, str, list[Any]]:
    """A recorded answer of which one place holds something odd."""
    chosen = draw(st.sampled_from(READABLE))
    payloads = payloads_of(chosen)
    event = draw(st.integers(0, len(payloads) - 1))
    path = draw(st.sampled_from(list(places(payloads[event]))))
    payloads[event] = with_odd(payloads[event], path, draw(ODD))
    return chosen, draw(st.sampled_from(BILLED_BY)), payloads


@settings(max_examples=600, derandomize=True)
@given(odd_answers())
def test_every_reader_takes_what_is_odd(answer: tuple[Case, str, list[Any]]) -> None:
    reading = reading_of(*answer)
    assert_plausible(reading)


CHAT = case("groq.chat-completions.chat_legacy")
PLAINLY = Trip(CHAT, ways_of(CHAT)[0])


@pytest.mark.parametrize("odd", [None, [], "x", 7, {"cached_tokens": [1]}, {"cached_tokens": 10**30}])
@pytest.mark.parametrize("name", ["prompt_tokens_details", "completion_tokens_details", "queue_time", "unheard_of"])
def test_an_odd_detail_loses_no_more_than_itself(name: str, odd: object, twice: Twice) -> None:
    def change(body: JsonObject) -> JsonObject:
        return {**body, "usage": {**body["usage"], name: odd}}

    outcome = twice(PLAINLY, recorded(CHAT, change))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    usage = CHAT.expected_usage or {}
    assert (outcome.record.input_tokens, outcome.record.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert outcome.record.unmetered_calls == 0


@pytest.mark.parametrize(
    ("count", "billed"),
    [("12", 12), (" +12 ", 12), (12.9, 12), (-5, 0), ("+-3", None), (10**16, None), ("9" * 5000, None)],
)
def test_a_count_is_read_as_it_can_be_meant_or_is_unknown(count: object, billed: int | None, twice: Twice) -> None:
    def change(body: JsonObject) -> JsonObject:
        return {**body, "usage": {"prompt_tokens": count, "completion_tokens": 3}}

    outcome = twice(PLAINLY, recorded(CHAT, change))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert (outcome.record.input_tokens, outcome.record.output_tokens) == (billed or 0, 3)
    assert outcome.record.unmetered_calls == (1 if billed is None else 0)


def test_tokens_are_billed_where_pricing_fails(
    monkeypatch: pytest.MonkeyPatch,
    sync_clients: Clients,
    replay: ReplayServer,
    instrumented: Instrumented,
    own_faults_dropped: None,
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("otel_harn_steps._calls.billing.price_of", fails)
    record = Twice(sync_clients, replay, instrumented)(PLAINLY).record
    assert record.input_tokens == (CHAT.expected_usage or {})["prompt_tokens"]
    assert (record.unmetered_calls, record.unpriced_calls) == (0, 1)
