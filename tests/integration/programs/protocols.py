"""How one answer is said in OpenAI's Responses API, in its chat completions, and in Anthropic's messages, plain and streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_harn_steps.testing import Answer

if TYPE_CHECKING:
    from tests.integration.programs.stand_in import Says, Sent

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}
_CREATED = 1_700_000_000
_PIECE = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol: the whole answer, and the data of its events."""

    whole: Callable[[Says, Sent, int], dict[str, Any]]
    events: Callable[[Says, Sent, int, bool], Iterator[dict[str, Any]]]
    must_be_asked: bool = False
    """A stream reports its usage only where it is asked for."""
    names_events: bool = True

    def reports_usage(self, body: Mapping[str, Any]) -> bool:
        asked = (body.get("stream_options") or {}).get("include_usage") is True
        return asked or not (self.must_be_asked and body.get("stream"))

    def answer(self, says: Says, sent: Sent, number: int, body: Mapping[str, Any]) -> Answer:
        if not body.get("stream"):
            return Answer(200, (json.dumps(self.whole(says, sent, number)).encode(),), headers=_JSON)
        events = self.events(says, sent, number, self.reports_usage(body))
        if self.names_events:
            lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
        else:
            lines = [f"data: {line}\n\n".encode() for line in (*map(json.dumps, events), "[DONE]")]
        return Answer(200, tuple(lines), streamed=True, headers=_EVENTS)


def _chat_head(kind: str, sent: Sent, number: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": _CREATED, "model": sent.model}


def _chat_usage(sent: Sent) -> dict[str, Any]:
    return {
        "prompt_tokens": sent.input_tokens,
        "completion_tokens": sent.output_tokens,
        "total_tokens": sent.input_tokens + sent.output_tokens,
        "prompt_tokens_details": {"cached_tokens": sent.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sent.reasoning_tokens},
    }


def _chat_call(says: Says, number: int) -> dict[str, Any]:
    function = {"name": says.tool, "arguments": json.dumps(says.arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _chat_reason(says: Says) -> str:
    return "stop" if says.tool is None else "tool_calls"


def _chat(says: Says, sent: Sent, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": says.text or None}
    if says.tool is not None:
        message["tool_calls"] = [_chat_call(says, number)]
    choice = {"index": 0, "message": message, "finish_reason": _chat_reason(says)}
    return {**_chat_head("chat.completion", sent, number), "choices": [choice], "usage": _chat_usage(sent)}


def _chat_chunks(says: Says, sent: Sent, number: int, with_usage: bool) -> Iterator[dict[str, Any]]:
    head = {**_chat_head("chat.completion.chunk", sent, number), **({"usage": None} if with_usage else {})}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _PIECE.findall(says.text)]
    if says.tool is not None:
        deltas.append({"tool_calls": [{"index": 0, **_chat_call(says, number)}]})
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _chat_reason(says)}]}
    if with_usage:
        yield {**head, "choices": [], "usage": _chat_usage(sent)}


def _item(says: Says, number: int) -> dict[str, Any]:
    if says.tool is not None:
        call = {"call_id": f"call_{number}", "name": says.tool, "arguments": json.dumps(says.arguments)}
        return {"type": "function_call", "id": f"fc_{number}", "status": "completed", **call}
    content = [{"type": "output_text", "text": says.text, "annotations": []}]
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}


def _response(says: Says, sent: Sent, number: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed",
        "model": sent.model,
        "output": [_item(says, number)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": sent.input_tokens,
            "input_tokens_details": {"cached_tokens": sent.cached_tokens},
            "output_tokens": sent.output_tokens,
            "output_tokens_details": {"reasoning_tokens": sent.reasoning_tokens},
            "total_tokens": sent.input_tokens + sent.output_tokens,
        },
    }


def _response_events(says: Says, sent: Sent, number: int, with_usage: bool) -> Iterator[dict[str, Any]]:
    item, whole = _item(says, number), _response(says, sent, number)
    events: list[dict[str, Any]] = [
        {
            "type": "response.created",
            "response": {**whole, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
    ]
    if says.tool is None:
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        (part,) = item["content"]
        events.append({"type": "response.content_part.added", **place, "part": {**part, "text": ""}})
        events += [
            {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            for piece in _PIECE.findall(says.text)
        ]
        events.append({"type": "response.output_text.done", **place, "text": says.text, "logprobs": []})
        events.append({"type": "response.content_part.done", **place, "part": part})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    for place_in_stream, event in enumerate(events):
        yield {**event, "sequence_number": place_in_stream}


def _messages_usage(sent: Sent) -> dict[str, Any]:
    return {
        "input_tokens": sent.input_tokens - sent.cached_tokens,  # Anthropic's input is what was not in the cache
        "cache_read_input_tokens": sent.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": sent.output_tokens,
    }


def _message(says: Says, sent: Sent, number: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": says.text}] if says.text else []
    if says.tool is not None:
        content.append({"type": "tool_use", "id": f"toolu_{number}", "name": says.tool, "input": dict(says.arguments)})
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": sent.model,
        "content": content,
        "stop_reason": "end_turn" if says.tool is None else "tool_use",
        "stop_sequence": None,
        "usage": _messages_usage(sent),
    }


def _message_events(says: Says, sent: Sent, number: int, with_usage: bool) -> Iterator[dict[str, Any]]:
    whole = _message(says, sent, number)
    opening = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": opening}
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _PIECE.findall(says.text)]
        else:
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    # As Anthropic documents it: the input is told at the start alone.
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": sent.output_tokens}}
    yield {"type": "message_stop"}


# By the end of the path.
PROTOCOLS: Mapping[str, Protocol] = {
    "/chat/completions": Protocol(_chat, _chat_chunks, must_be_asked=True, names_events=False),
    "/responses": Protocol(_response, _response_events),
    "/messages": Protocol(_message, _message_events),
}
