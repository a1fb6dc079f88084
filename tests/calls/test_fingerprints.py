"""Which requests are the same to the detector of loops, in the shapes of every client."""

from __future__ import annotations

import copy
import functools
import io
import json
import random
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps._calls.fingerprints import AnswerHash, answer_fingerprint, request_fingerprint
from tests.replay.cases import all_cases

HELLO = [{"role": "user", "content": "hello"}]
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "system", "content": "s"}, *HELLO], "temperature": 0.5}


@dataclass
class Message:
    """An object of a client."""

    role: str
    content: Any = None
    name: str | None = None


class Effort(Enum):
    LOW = "low"


def is_same(one: object, other: object) -> bool:
    return request_fingerprint(one).whole == request_fingerprint(other).whole


def with_message(**fields: Any) -> dict[str, Any]:
    return {**BODY, "messages": [*HELLO, fields]}


# -- the same ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        dict(reversed(BODY.items())),
        MappingProxyType(BODY),
        {**BODY, "messages": tuple(BODY["messages"])},
        {**BODY, "messages": [dict(reversed(each.items())) for each in BODY["messages"]]},
        {**BODY, "messages": [Message(**each) for each in BODY["messages"]]},
        {**BODY, "stop": None, "seed": ...},
        {**BODY, "metadata": {"trace": "7"}, "extra_headers": {"x": "y"}, "timeout": 9},
        {**BODY, "cache_control": {"type": "ephemeral"}},
        {**BODY, "messages": [BODY["messages"][0], {**HELLO[0], "cache_control": {"type": "ephemeral"}}]},
        {**BODY, "messages": [BODY["messages"][0], {**HELLO[0], "id": "msg_7"}]},
    ],
    ids=lambda body: str(body)[:90],
)  # fmt: skip
def test_the_order_of_fields_their_kind_and_what_is_aside_make_no_difference(other: Any) -> None:
    assert is_same(BODY, other)


LINE = "Budget: $0.04 and 3 calls left. Finish."


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": f"s\n{LINE}"}, *HELLO],
        [{"role": "system", "content": "s"}, {"role": "system", "content": LINE}, *HELLO],
    ],
    ids=["at the end", "in a message of its own"],
)
def test_the_line_by_which_a_model_is_told_what_is_left_makes_no_difference(messages: Any) -> None:
    assert is_same(BODY, {**BODY, "messages": messages})
    assert not is_same(BODY, {**BODY, "messages": [*messages, {"role": "user", "content": f"{LINE} Really."}]})


@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_body_of_json_text_is_what_it_says(kind: Any) -> None:
    texts = [kind(json.dumps(BODY)), kind(json.dumps(dict(reversed(BODY.items())), indent=1))]
    assert is_same({"modelId": "m", "body": texts[0]}, {"body": texts[1], "modelId": "m"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tool_call_id": "a", "content": "r"}, {"tool_call_id": "b", "content": "r"}),
        ({"tool_calls": [{"id": "a", "function": {}}]}, {"tool_calls": [{"id": "b", "function": {}}]}),
        ({"type": "function_call_output", "call_id": "a"}, {"type": "function_call_output", "call_id": "b"}),
        ({"content": [{"toolUse": {"toolUseId": "a"}}]}, {"content": [{"toolUse": {"toolUseId": "b"}}]}),
        ({"content": [{"thinking": "t", "signature": "a"}]}, {"content": [{"thinking": "t", "signature": "b"}]}),
    ],
    ids=str,
)
def test_ids_that_are_new_each_time_make_no_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert is_same(with_message(**one), with_message(**other))


def test_recorded_requests_are_the_same_as_themselves_and_as_no_other() -> None:
    requests = {json.dumps(case.request, sort_keys=True): case.request for case in all_cases().values()}
    for request in requests.values():
        assert is_same(request, shuffled(copy.deepcopy(request)))
    distinct = {request_fingerprint(request).whole for request in requests.values()}
    unlike = {json.dumps(without_ids(request), sort_keys=True) for request in requests.values()}
    assert len(distinct) == len(unlike)
    assert len(distinct) > 50


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        names = random.Random(7).sample(list(value), len(value))
        return {name: shuffled(value[name]) for name in names}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


def without_ids(value: Any) -> Any:
    """What this file expects to make a difference."""
    if isinstance(value, dict):
        aside = {
            "id",
            "tool_call_id",
            "tool_use_id",
            "call_id",
            "signature",
            "encrypted_content",
            "metadata",
            "cache_control",
        }
        return {name: without_ids(inner) for name, inner in value.items() if name not in aside and inner is not None}
    return [without_ids(each) for each in value] if isinstance(value, list) else value


# -- not the same ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {**BODY, "model": "n"},
        {**BODY, "temperature": 1},
        {**BODY, "temperature": "0.5"},
        {**BODY, "stream": True},
        {**BODY, "tools": [{"name": "f"}]},
        {**BODY, "previous_response_id": "r"},
        {**BODY, "messages": [{"role": "system", "content": "t"}, *HELLO]},
        {**BODY, "messages": HELLO},
        {**BODY, "messages": [*BODY["messages"], *HELLO]},
        {**BODY, "messages": [[*BODY["messages"]]]},
        {"model": "m", "contents": BODY["messages"], "temperature": 0.5},
        {},
        None,
    ],
    ids=lambda body: str(body)[:90],
)  # fmt: skip
def test_settings_and_messages_make_a_difference(other: Any) -> None:
    assert not is_same(BODY, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": [{"type": "tool_use", "input": {"id": 1}}]}, {"content": [{"type": "tool_use", "input": {"id": 2}}]}),
        ({"parts": [{"functionCall": {"args": {"id": 1}}}]}, {"parts": [{"functionCall": {"args": {"id": 2}}}]}),
        ({"type": "item_reference", "id": "a"}, {"type": "item_reference", "id": "b"}),
        ({"content": b"a"}, {"content": b"b"}),
        ({"content": "1"}, {"content": 1}),
        ({"content": True}, {"content": 1}),
        ({"content": ["ab", "c"]}, {"content": ["a", "bc"]}),
        ({"content": {"a": "b"}}, {"content": ["a", "b"]}),
        ({"content": Path("a")}, {"content": Path("b")}),
        ({"content": datetime(2026, 1, 1, tzinfo=UTC)}, {"content": datetime(2026, 1, 2, tzinfo=UTC)}),
        ({"content": Effort.LOW}, {"content": "high"}),
        ({"content": "\ud800"}, {"content": "?"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_message_says_makes_a_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert is_same(with_message(**one), with_message(**one))
    assert not is_same(with_message(**one), with_message(**other))


def test_functions_as_tools_are_told_apart_by_their_names() -> None:
    assert is_same({**BODY, "config": {"tools": [print, Message]}}, {**BODY, "config": {"tools": [print, Message]}})
    assert not is_same({**BODY, "config": {"tools": [print]}}, {**BODY, "config": {"tools": [len]}})


def contains_itself() -> dict[str, Any]:
    body: dict[str, Any] = {"content": "t"}
    body["messages"] = [body]
    body["body"] = body["request"] = body["json"] = body
    return body


@pytest.mark.parametrize(
    "body",
    [
        {"file": io.BytesIO(b"a")},
        {"messages": [{"content": iter("a")}]},
        {"messages": [{"content": object()}]},
        {"messages": [{"content": functools.partial(print)}]},
        {"messages": HELLO * 20_000},
        {"input": list(range(60_000))},
        {str(name): 1 for name in range(60_000)},
        contains_itself(),
    ],
    ids=("file", "iterator", "object", "partial", "many messages", "many numbers", "many fields", "itself"),
)
def test_what_cannot_be_compared_is_like_no_other(body: Any) -> None:
    assert not is_same(body, body)


def test_deep_nonsense_in_json_text_breaks_nothing() -> None:
    assert request_fingerprint({"body": "[" * (sys.getrecursionlimit() * 50)}).whole


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(["body", "messages", "input", "type", "id"]), inner)
        | st.dictionaries(st.integers() | st.none(), inner)
        | st.builds(Message, st.just("user"), inner)
    ),
    max_leaves=20,
)


@given(NONSENSE)
def test_any_body_has_a_fingerprint_and_always_the_same(body: object) -> None:
    assert request_fingerprint(body) == request_fingerprint(copy.deepcopy(body))


# -- answers -----------------------------------------------------------------------------------------------------------


def test_an_answer_is_its_text_whatever_its_id() -> None:
    answers = [
        {"id": each, "choices": [{"message": {"content": text}}]} for each, text in (("a", "t"), ("b", "t"), ("c", "u"))
    ]
    one, same, other = map(answer_fingerprint, answers)
    assert one == same == answer_fingerprint("t")
    assert one != other


def test_a_stream_is_the_answer_that_its_events_make() -> None:
    hashed = AnswerHash()
    for text in ("Par", "is"):
        hashed.add({"choices": [{"delta": {"content": text}}]})
    assert hashed.fingerprint() == answer_fingerprint("Paris")


def test_no_content_is_kept() -> None:
    found = request_fingerprint({"model": "model-7", "messages": [{"content": "a secret"}]})
    assert "secret" not in repr(found)
    assert "model-7" not in repr(found)
    assert {len(each) for each in (found.whole, *found.messages, *found.up_to)} == {16}
