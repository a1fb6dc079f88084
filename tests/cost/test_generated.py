"""What counts as generated: content, reasoning, calls of tools, sound and images, in the shapes of every client."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest

from otel_harn_steps._clients._litellm_streams import StreamedSoFar
from otel_harn_steps._cost.estimate import Generated, generated, generated_text

TEXT = "four " * 70  # 100 tokens
PNG = "iVBORw0KGgo" + "A" * 4000


def text_size(event: object) -> int:
    return generated(event).size


@dataclass
class Anything:
    """An object of a client that is no pydantic model."""

    content: Any = None


@pytest.mark.parametrize(
    "event",
    [
        {"id": "no", "model": "no", "object": "no", "choices": [{"finish_reason": "no", "delta": {"role": "no", "content": "four"}}]},
        {"choices": [{"delta": {"reasoning_content": "four"}}]},
        {"choices": [{"delta": {"refusal": "four"}}]},
        {"choices": [{"delta": {"tool_calls": [{"id": "no", "type": "function", "function": {"arguments": "four"}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"id": "no", "custom": {"name": "fo", "input": "ur"}}]}}]},
        {"choices": [{"delta": {"audio": {"id": "no", "transcript": "four"}}}]},
        {"choices": [{"delta": {"reasoning": f"fo<output>{TEXT}</output>ur"}}]},
        {"choices": [{"text": "four", "logprobs": {"tokens": ["no"]}}]},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "four", "arguments": ""}},
        {"type": "response.output_text.delta", "item_id": "no", "delta": "four"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "four"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "four"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "four"}},
        {"type": "message", "content": [{"type": "tool_use", "id": "no", "name": "fo", "input": []}, {"text": "ur"}]},
        {"candidates": [{"content": {"parts": [{"text": "four"}], "role": "no"}}], "modelVersion": "no"},
        {"event_type": "step.delta", "delta": {"type": "text", "text": "four"}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "four"}}}},
        {"event_type": "text-generation", "text": "four"},
        {"model": "no", "response": "four", "done_reason": "no"},
        {"model": "no", "message": {"role": "no", "content": "four"}},
        {"token": {"id": 1, "text": "four"}, "generated_text": "no, all of it"},
        {"generated_text": "four"},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": "four"}}}},
        {"output": {"message": {"content": [{"text": "four"}]}}, "stopReason": "no"},
        {"outputText": "four"},
        Anything(content="four"),
        StreamedSoFar("no", "no", None, "no", [Anything(content="four")]),
    ],
    ids=lambda event: str(event)[:60],
)  # fmt: skip
def test_generated_text_is_found_in_every_shape(event: object) -> None:
    assert text_size(event) == 4


def test_arguments_that_are_objects_count_as_json() -> None:
    block = {"type": "tool_use", "name": "f", "input": {"place": "Paris"}}
    assert text_size({"content": [block]}) == len('f{"place": "Paris"}')
    assert text_size({"candidates": [{"content": {"parts": [{"functionCall": {"args": {"a": 1}}}]}}]}) == len(
        '{"a": 1}'
    )


def test_what_a_call_of_openais_own_tools_asks_for_counts_when_it_is_done() -> None:
    item = {"type": "shell_call", "action": {"commands": ["ls"]}}
    assert generated_text({"type": "response.output_item.added", "item": item}) == ""
    assert generated_text({"type": "response.output_item.done", "item": item}) == '{"commands": ["ls"]}'


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"audio": {"data": base64.b64encode(bytes(48_000)).decode()}}}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "audio/L16", "data": "AAAA" * 16_000}}]}}]},
        {"candidates": [{"content": {"parts": [{"inline_data": {"mime_type": "audio/L16", "data": bytes(48_000)}}]}}]},
    ],
    ids=lambda event: str(event)[:50],
)
def test_sound_counts_by_its_seconds(event: object) -> None:
    assert generated(event) == Generated("", 25)


@pytest.mark.parametrize(
    "event",
    [
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}}]},
        {"event_type": "step.delta", "delta": {"type": "image", "mime_type": "image/png", "data": PNG}},
        {"choices": [{"delta": {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}}]},
    ],
    ids=lambda event: str(event)[:50],
)
def test_a_generated_image_counts_the_same_whatever_its_size(event: object) -> None:
    assert generated(event) == Generated("", 1290)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "no", "name": "f", "input": {}}},
        {"start": {"toolUse": {"toolUseId": "no", "name": "f"}}},
    ],
    ids=lambda event: str(event)[:50],
)
def test_the_use_of_a_tool_has_tokens_around_it(event: object) -> None:
    assert generated(event) == Generated("f", 25)


@pytest.mark.parametrize("kind", ["web_fetch_tool_result", "mcp_tool_result", "text_editor_code_execution_view_result"])
def test_what_a_tool_has_answered_is_no_output(kind: str) -> None:
    block = {"type": kind, "content": [{"type": "text", "text": TEXT}]}
    assert text_size({"type": "content_block_start", "content_block": block}) == 0


def test_what_an_advisor_has_answered_is_output() -> None:
    block = {"type": "advisor_tool_result", "content": {"type": "advisor_result", "text": TEXT}}
    assert text_size({"type": "content_block_start", "content_block": block}) == len(TEXT)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.done", "text": "again"},
        {"type": "response.completed", "response": {"output": [{"content": [{"text": "again"}]}]}},
        {"type": "response.audio.delta", "delta": "UklGRg=="},
        {"event_type": "stream-end", "response": {"text": "again"}},
        {"event": "thread.message.completed", "data": {"content": [{"text": {"value": "again"}}]}},
        {"type": "ping"},
        {"usage": {"prompt_tokens": 1}, "choices": []},
        {"data": [{"embedding": [0.1, 0.2]}]},
        {},
        None,
        "",
        7,
        object(),
    ],
)
def test_what_is_no_new_text_has_no_size(event: object) -> None:
    assert text_size(event) == 0


def test_the_text_of_a_stream_is_that_of_its_events_in_their_order() -> None:
    deltas = [{"reasoning_content": "Hm. "}, {"content": "Par"}, {"content": "is"}, {"role": "assistant"}]
    assert "".join(generated_text({"choices": [{"delta": delta}]}) for delta in deltas) == "Hm. Paris"


def test_the_text_of_a_call_of_a_tool_has_its_name_and_its_arguments() -> None:
    block = {"type": "tool_use", "name": "weather", "input": {"place": "Zürich"}}
    assert generated_text({"content": [{"type": "text", "text": "So: "}, block]}) == 'So: weather{"place": "Zürich"}'
