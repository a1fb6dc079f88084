"""The most output that a request allows, in the requests of every client, and lowering it without changing what is the app's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps._cost.estimate import lower_output_cap, output_cap, request_size
from tests.replay.cases import all_cases

HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"max_tokens": {"type": "integer"}, "n": {"type": "integer"}},
    "max_tokens": 7,
}


class NotGiven:
    """As clients have it, for what an app leaves out."""


@dataclass(frozen=True)
class Config:
    max_output_tokens: Any = None
    candidate_count: Any = None


REQUESTS: list[dict[str, Any]] = [
    {"model": "m", "messages": HELLO, "max_tokens": 90},
    {"model": "m", "messages": HELLO, "max_completion_tokens": 90, "max_tokens": None},
    {"model": "m", "input": "hello", "max_output_tokens": 90},
    {"model": "m", "prompt": "hello", "max_tokens": 30, "n": 2, "best_of": 3},
    {"model": "m", "messages": HELLO, "max_tokens": 45, "n": 2},
    {"model": "m", "messages": HELLO, "max_tokens": 10, "extra_body": {"max_completion_tokens": 90}},
    {"model": "m", "prompt": "hello", "max_tokens_to_sample": 90},
    {"model": "m", "contents": "hello", "config": {"max_output_tokens": 90}},
    {"model": "m", "contents": "hello", "config": Config(max_output_tokens=45, candidate_count=2)},
    {"contents": [], "generationConfig": {"maxOutputTokens": 45, "candidateCount": 2}},
    {"request": SimpleNamespace(body=SimpleNamespace(generation_config={"max_output_tokens": 90}))},
    {"modelId": "m", "messages": [], "inferenceConfig": {"maxTokens": 90}},
    {"modelId": "m", "messages": [], "inferenceConfig": {}, "additionalModelRequestFields": {"max_tokens": 90}},
    {"modelId": "m", "body": json.dumps({"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 90}})},
    {"modelId": "m", "body": json.dumps({"prompt": "hello", "max_gen_len": 90}).encode()},
    {"modelId": "m", "body": bytearray(json.dumps({"prompt": "h", "maxTokens": 30, "numResults": 3}).encode())},
    {"json": {"model": "m", "messages": HELLO, "options": {"num_predict": 90}}},
    {"json": {"inputs": "hello", "parameters": {"max_new_tokens": 90}}},
    {"model": "m", "message": "hello", "max_tokens": 30, "num_generations": 3},
    {"model": "m", "inputs": "hello", "completion_args": MappingProxyType({"max_tokens": 90})},
]
UNLIMITED: list[Any] = [
    {"model": "m", "messages": HELLO},
    {"messages": [{"role": "user", "content": "hello", "max_tokens": 7}]},
    {"messages": HELLO, "tools": [{"name": "f", "max_tokens": 7, "parameters": SCHEMA, "input_schema": SCHEMA}]},
    {"messages": HELLO, "response_format": {"json_schema": {"max_tokens": 7}}},
    {"messages": HELLO, "n": 3},
    *({"messages": HELLO, "max_tokens": value} for value in (None, NotGiven(), NotGiven, True, 0, -1, 9.5, "90", [90])),
    {"json": {"options": {"num_predict": -2}}},
    {"body": "no JSON"},
    {"body": b"\xff"},
    {"config": None},
    {},
    None,
    "max_tokens",
    7,
    [{"max_tokens": 7}],
]


@pytest.mark.parametrize("body", REQUESTS, ids=lambda body: str(body)[:70])
def test_a_limit_is_found_where_each_client_has_it(body: dict[str, Any]) -> None:
    assert output_cap(body) == 90


@pytest.mark.parametrize("body", UNLIMITED, ids=lambda body: str(body)[:70])
def test_what_sets_no_limit_has_none(body: Any) -> None:
    assert output_cap(body) is None


def test_the_recorded_requests_have_the_limits_that_they_were_sent_with() -> None:
    found = {case.id: cap for case in all_cases().values() if (cap := output_cap(case.request)) is not None}
    named = {
        case.id: limits
        for case in all_cases().values()
        if (
            limits := limits_in(
                {name: value for name, value in case.request.items() if name not in ("messages", "tools")}
            )
        )
    }
    assert found == {case: max(limits) for case, limits in named.items()}
    assert len(found) > 30


def limits_in(request: Any) -> list[int]:
    """Every number that is called a limit, at any depth."""
    if not isinstance(request, dict):
        return []
    within = [limit for value in request.values() for limit in limits_in(value)]
    return within + [
        value
        for name, value in request.items()
        if name.lower().replace("_", "").startswith("max") and "token" in name.lower() and isinstance(value, int)
    ]


# -- lowering ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", REQUESTS, ids=lambda body: str(body)[:70])
def test_a_limit_is_lowered_where_it_is_and_nothing_of_the_app_is_changed(body: dict[str, Any]) -> None:
    nested = {key: (value, str(value)) for key, value in body.items()}
    sent = dict(body)
    assert lower_output_cap(sent, 18)
    assert output_cap(sent) == 18
    assert all(str(value) == text for value, text in nested.values())
    assert sent.keys() == body.keys()
    assert type(sent.get("config")) is type(body.get("config"))


@pytest.mark.parametrize("body", [*REQUESTS, *UNLIMITED], ids=lambda body: str(body)[:70])
def test_what_is_low_enough_or_has_no_limit_stays_as_it_is(body: Any) -> None:
    if isinstance(body, dict):
        sent = dict(body)
        assert lower_output_cap(sent, 90) is (body in REQUESTS)
        if "extra_body" not in body:
            assert all(sent[name] is value for name, value in body.items())


def test_a_model_of_a_client_is_copied_with_what_it_does_not_know() -> None:
    types = pytest.importorskip("google.genai.types")
    config = types.GenerateContentConfig(max_output_tokens=90, temperature=0.5)
    sent = {"contents": "hello", "config": config}
    assert lower_output_cap(sent, 10)
    assert (config.max_output_tokens, sent["config"].max_output_tokens, sent["config"].temperature) == (90, 10, 0.5)


@pytest.mark.parametrize("cap", [2, 0, -1])
def test_a_limit_below_a_token_for_each_answer_cannot_be_set(cap: int) -> None:
    body = {"messages": HELLO, "max_tokens": 30, "n": 3}
    assert not lower_output_cap(body, cap)
    assert output_cap(body) == 90


# -- nonsense ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["max_tokens", "n", "config", "body", "options", "extra_body", "request", "num_predict", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(NotGiven)
NONSENSE = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.integers(), inner) | st.builds(Config, inner, inner),
    max_leaves=20,
)


@given(st.dictionaries(NAMES, NONSENSE), st.integers())
def test_nothing_breaks_a_limit(body: dict[str, Any], cap: int) -> None:
    found = output_cap(body)
    assert found is None or found > 0
    lowered = lower_output_cap(body, cap)
    after = output_cap(body)
    assert after is not None and after <= cap if lowered else after == found


def test_a_body_that_contains_itself_has_a_limit() -> None:
    body: dict[str, Any] = {"max_tokens": 9}
    body["body"] = body["config"] = body["options"] = body
    assert output_cap(body) == 9
    assert lower_output_cap(body, 5)
    assert output_cap(body) == 5


# -- caches ------------------------------------------------------------------------------------------------------------

MARK = {"type": "ephemeral"}
POINT = {"cachePoint": {"type": "default"}}


@pytest.mark.parametrize(
    "body",
    [
        {"cache_control": MARK, "messages": HELLO},
        {"system": [{"type": "text", "text": "s", "cache_control": MARK}], "messages": HELLO},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "t", "cache_control": MARK}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}, "cache_control": MARK}]}]},
        {"messages": [{"content": [{"type": "tool_result", "content": [{"text": "t", "cache_control": MARK}]}]}]},
        {"messages": HELLO, "tools": [{"name": "f", "input_schema": {}, "cache_control": MARK}]},
        {"messages": [SimpleNamespace(content="hello", cache_control=SimpleNamespace(type="ephemeral"))]},
        {"system": [{"text": "s"}, POINT], "messages": []},
        {"messages": [{"content": [{"text": "t"}, POINT]}]},
        {"toolConfig": {"tools": [{"toolSpec": {}}, POINT]}, "messages": []},
        {"body": json.dumps({"messages": [{"content": [{"text": "t", "cache_control": MARK}]}]})},
    ],
    ids=lambda body: str(body)[:80],
)
def test_what_is_marked_for_a_cache_is_found(body: Any) -> None:
    assert request_size(body)[1:] == (True, False)


@pytest.mark.parametrize(
    "mark", [{"cache_control": {**MARK, "ttl": "1h"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
)
def test_a_cache_of_an_hour_is_told_apart(mark: dict[str, Any]) -> None:
    assert request_size({"messages": [{"content": [{"text": "t", **mark}]}]})[1:] == (True, True)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HELLO},
        {"messages": [{"content": [{"text": "t", "cache_control": None}]}]},
        {
            "tools": [
                {"input_schema": {"properties": {"cache_control": {"type": "string"}, "cachePoint": {"type": []}}}}
            ]
        },
    ],
    ids=str,
)
def test_what_is_not_marked_is_not_written(body: Any) -> None:
    assert request_size(body)[1:] == (False, False)


def test_the_recorded_requests_that_mark_something_are_found() -> None:
    marked = {case.id for case in all_cases().values() if "cache_control" in str(case.request)}
    marked |= {case.id for case in all_cases().values() if "cachePoint" in str(case.request)}
    assert {case.id for case in all_cases().values() if request_size(case.request).writes_cache} == marked
    assert len(marked) > 3
