"""Tokens estimated from sizes: what counts as text, in the shapes of every client, and how far that is off."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps._cost.estimate import (
    ATTACHMENT_TOKENS,
    generated,
    generated_text,
    output_tokens,
    request_tokens,
)
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC
from tests.replay.answers import events_of, recorded
from tests.replay.cases import Case, all_cases, cases
from tests.replay.clients import Clients
from tests.replay.native import call, client_for, native_cases
from tests.replay.ways import Call

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = "four " * 70  # 100 tokens
PNG = "iVBORw0KGgo" + "A" * 4000
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["content", "type", "input"]), inner),
    max_leaves=20,
)


def text_size(event: object) -> int:
    return generated(event).size


@dataclass
class Anything:
    """An object of a client that is no pydantic model."""

    content: Any = None
    messages: Any = field(default_factory=list)


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [{"role": "user", "content": TEXT}], "stream": True, "max_tokens": 9},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]},
        {"input": TEXT},
        {"prompt": TEXT},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]},
        {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
        {"contents": TEXT},
        {"body": json.dumps({"messages": [{"role": "user", "content": TEXT}]})},
        {"body": json.dumps({"prompt": TEXT}).encode()},
        {"messages": [Anything(content=TEXT)]},
        Anything(messages=[Anything(content=TEXT)]),
    ],
    ids=lambda body: str(body)[:40],
)
def test_the_same_prompt_is_the_same_in_every_protocol(body: object) -> None:
    assert request_tokens(body) == 105


def test_instructions_and_earlier_turns_are_part_of_the_input() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": TEXT}}]}
    first = request_tokens({"messages": [{"role": "user", "content": TEXT}]})
    assert request_tokens({"system": TEXT, "messages": [{"role": "user", "content": TEXT}]}) >= first + 100
    assert request_tokens({"messages": [{"role": "user", "content": TEXT}, turn]}) >= first + 100


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"place": {"type": "string"}}}}},
        {"name": "f", "input_schema": {"properties": {"place": {"type": "string"}}}},
        {"toolSpec": {"name": "f", "inputSchema": {"json": {"properties": {"place": {"type": "string"}}}}}},
    ],
)
def test_schemas_count_with_the_names_in_them(tool: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert request_tokens({**body, "tools": [tool]}) >= request_tokens(body) + len("properties place type string") / 3.5


def test_a_function_as_a_tool_counts_with_its_documentation() -> None:
    def weather() -> str:
        raise NotImplementedError

    weather.__doc__ = TEXT
    assert request_tokens({"contents": "hi", "config": {"tools": [weather]}}) >= 100


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/picture.png"}},
        {"type": "input_image", "image_url": "https://example.com/picture.png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/picture.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"image": {"format": "png", "source": {"bytes": b"\x89PNG" * 1000}}},
    ],
    ids=lambda part: str(part)[:50],
)
def test_an_image_counts_the_same_whatever_its_size(part: dict[str, Any]) -> None:
    text = {"type": "text", "text": TEXT}
    assert request_tokens({"messages": [{"content": [text, part]}]}) == 105 + ATTACHMENT_TOKENS


def test_a_document_that_is_text_counts_as_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": TEXT}
    assert request_tokens({"messages": [{"content": [{"type": "document", "source": source}]}]}) == 105


def test_token_ids_are_tokens() -> None:
    assert request_tokens({"input": [[1, 2, 3], [4, 5]]}) == pytest.approx(5, abs=10)
    assert request_tokens({"input": list(range(1000))}) == pytest.approx(1000, abs=10)


def test_text_counts_by_its_bytes() -> None:
    assert request_tokens({"input": "語" * 350}) == pytest.approx(3 * request_tokens({"input": TEXT}), abs=10)
    assert request_tokens({"input": "\ud800" * 10}) > 0  # no valid text, but a str


def test_a_body_of_many_values_is_judged_by_a_part_of_them() -> None:
    body = {"messages": [{"role": "user", "content": TEXT} for _ in range(200_000)]}
    assert request_tokens(body) == pytest.approx(200_000 * 105, rel=0.01)


def test_a_body_that_contains_itself_has_an_end() -> None:
    body: dict[str, Any] = {"content": TEXT}
    body["messages"] = [body]
    assert request_tokens(body) >= 100
    assert text_size({"choices": [body]}) >= 350


# -- responses ---------------------------------------------------------------------------------------------------------


def json_events(case: Case) -> list[Any]:
    if not case.stream:
        return [json.loads(case.body)] if case.body.startswith((b"{", b"[")) else []
    lines = (line.removeprefix(b"data:").strip() for event in events_of(case) for line in event.splitlines())
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def sizes_of_json(case: Case) -> int:
    return sum(map(text_size, json_events(case)))


def sizes_of_objects(result: Any, case: Case) -> int:
    return sum(map(text_size, result)) if case.stream else text_size(result)


ANSWERED = [
    case
    for client in ("openai", "anthropic")
    for case in cases(client=client)
    if case.status == 200 and not case.in_stream_error and case.provider != "azure_openai"
]


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.id)
def test_the_clients_objects_have_the_text_of_their_json(
    case: Case, sync_clients: Clients, replay: ReplayServer
) -> None:
    client = sync_clients.for_case(case, replay.serve(recorded(case)).url_at(case.host))
    made = Call(case, client, SYNC)
    if made.resource is None:
        pytest.skip("this version of the client has no such method")
    assert sizes_of_objects(made.request(made.method), case) == sizes_of_json(case)


# Google's client does not understand the numbers that stand for names in some of Vertex AI's answers.
UNDERSTOOD = [case for case in native_cases() if case.status == 200 and b'"finishReason": 1' not in case.body]


@pytest.mark.parametrize("case", UNDERSTOOD, ids=[case.id for case in UNDERSTOOD])
def test_the_objects_of_clients_with_protocols_of_their_own_have_it_too(case: Case, replay: ReplayServer) -> None:
    exchange = replay.serve(recorded(case))
    with client_for(case, SYNC, f"{replay.address}/{exchange.token}") as client:
        assert sizes_of_objects(call(client, case, SYNC), case) == sizes_of_json(case)


def test_an_event_of_aws_is_decoded() -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    sizes = {}
    for case in cases(providers=["bedrock"], stream=True):
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(case.body)
        events = list(buffer)
        sizes[case.endpoint] = sum(map(text_size, events))
        assert sizes[case.endpoint] == len("".join(map(generated_text, events)).encode())
    assert all(sizes.values())
    assert len(sizes) == 2


def test_the_size_is_that_of_the_text_in_every_recorded_event() -> None:
    recorded_cases = [case for case in all_cases().values() if b":event-type" not in case.body]
    events = [event for case in recorded_cases for event in json_events(case)]
    assert [text_size(event) for event in events] == [len(generated_text(event).encode()) for event in events]
    assert sum(map(bool, map(generated_text, events))) > 1000


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_each_event_with_text_is_a_token_at_least() -> None:
    assert output_tokens(350, 1) == 100
    assert output_tokens(20, 10) == 10
    assert output_tokens(1, 0) == 1
    assert output_tokens(0, 0) == 0
    assert output_tokens(350, 1, 25) == 125


@given(json_values)
def test_nothing_breaks_an_estimate_or_makes_it_negative(value: object) -> None:
    assert request_tokens(value) >= 0
    assert text_size(value) >= 0


def test_the_table_in_the_docs_is_what_the_estimates_are() -> None:
    pytest.importorskip("botocore")
    done = subprocess.run(
        [sys.executable, "tools/estimates.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
