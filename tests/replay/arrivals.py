"""What of a recorded stream has come at each event: its text by this file's own rules, and what the provider counted."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from otel_harn_steps._cost.estimate import generated, output_tokens
from tests.replay.answers import recorded
from tests.replay.bills import bill_of
from tests.replay.cases import Case
from tests.replay.native import native_bill

Event = Mapping[str, Any]


class Arrival(NamedTuple):
    """An event of a stream, and what has come with it.

    Attributes:
        seen: how many events the app has got before it.
        budgeted: output tokens, as a budget has to count them at this event: what the provider has counted, else the
            estimate of all that came.
        counted: output tokens, as the provider has counted them by now. None: it has not.
        share: the part of the stream's text that has come, from 0 to 1.
        size: the bytes of text that the event brings.
    """

    seen: int
    budgeted: int
    counted: int | None
    share: float
    size: int


def arrivals(case: Case) -> list[Arrival]:
    """The events that a client gets of a stream whose last piece never comes, up to the one that reports its usage."""
    events = list(_events_to_come(case))
    sizes = [sum(len(text.encode()) for text in _texts(case, event)) for _, event in events]
    found: list[Arrival] = []
    size = more = texts = came = 0
    count = _Count()
    for seen, ((raw, event), bytes_of_text) in enumerate(zip(events, sizes, strict=True)):
        if _is_report(event):
            break
        brings = generated(raw)
        size, more, texts = size + brings.size, more + brings.more, texts + bool(brings.text)
        came += bytes_of_text
        counted = count.after(event)
        budgeted = output_tokens(size, texts, more) if counted is None else counted
        found.append(Arrival(seen, budgeted, counted, came / max(sum(sizes), 1), bytes_of_text))
    return found


def shown_output(case: Case) -> int | None:
    """The output tokens of the whole stream, without thoughts that it does not show. None: nobody has counted them."""
    if case.provider == "bedrock":
        usage = case.expected_usage or {}
        return usage.get("outputTokens") or usage.get("output_tokens")
    bill = bill_of(case) if case.client in {"openai", "anthropic"} else native_bill(case)
    if bill.unmetered_calls or not bill.llm_calls:
        return None
    return bill.output_tokens - (0 if _SHOWS_THOUGHTS.search(case.body) else bill.reasoning_tokens)


# Those that a response shows are text like any other.
_SHOWS_THOUGHTS = re.compile(
    rb'"(?:reasoning|reasoning_content|thinking)": ?"[^"]|"thought": ?true|"type": ?"(?:reasoning|summary)_text"'
)


def first_beyond(found: Sequence[Arrival]) -> Iterator[tuple[int, Arrival]]:
    """Budgets of output tokens, each with the event at which it stops the stream: for every event that brings any.

    No budget is smaller than a token: what comes first passes where it is not more.
    """
    highest = 0
    for arrival in found:
        if arrival.budgeted > max(highest, 1):
            yield max(highest, 1), arrival
        highest = max(highest, arrival.budgeted)


def _events_to_come(case: Case) -> Iterator[tuple[object, Event]]:
    """What the client makes events of, and what that says: it passes over the pings of Anthropic."""
    pieces = recorded(case).chunks[:-1]
    if b":event-type" in case.body:
        from botocore.eventstream import EventStreamBuffer

        buffer = EventStreamBuffer()
        buffer.add_data(b"".join(pieces))
        for raw in buffer:
            said: dict[str, Any] = json.loads(raw.payload)
            yield raw, json.loads(base64.b64decode(said["bytes"])) if "bytes" in said else said
        return
    for line in (line for piece in pieces for line in piece.splitlines()):
        data = line.removeprefix(b"data:").strip()
        if data.startswith(b"{"):
            event: Event = json.loads(data)
            if event.get("type") != "ping":
                yield event, event


def _is_report(event: Event) -> bool:
    return event.get("usage") is not None or (event.get("x_groq") or {}).get("usage") is not None


class _Count:
    """What Google has counted: in each event what has come so far, of the turn since its own tools last answered."""

    def __init__(self) -> None:
        self.earlier = 0
        self.turn: int | None = None

    def after(self, event: Event) -> int | None:
        usage = event.get("usageMetadata") or {}
        if usage.get("promptTokenCount"):
            counts = [usage[name] for name in ("candidatesTokenCount", "thoughtsTokenCount") if name in usage]
            if any(each.get("finishReason") for each in event.get("candidates", ())):
                self.earlier = 0
            elif not counts:
                self.earlier += self.turn or 0
            self.turn = sum(counts) if counts else None
        return None if self.turn is None and not self.earlier else self.earlier + (self.turn or 0)


# -- text --------------------------------------------------------------------------------------------------------------


def _texts(case: Case, event: Event) -> Iterator[str]:
    of_a_protocol = _OF_ENDPOINTS.get(case.endpoint) or _OF_PROVIDERS[case.provider]
    return (text for text in of_a_protocol(event) if isinstance(text, str))


def _chat(event: Event) -> Iterator[Any]:
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        content = delta.get("content")
        if isinstance(content, list):  # Mistral's, with thoughts
            for part in content:
                yield part.get("text")
                yield from (each.get("text") for each in part.get("thinking") or ())
        else:
            yield content
        before, has_found, found = (delta.get("reasoning") or delta.get("reasoning_content") or "").partition(
            "<output>"
        )
        yield before
        yield found.rpartition("</output>")[2] if has_found else None  # without what Groq's tools have found
        yield delta.get("refusal")
        for tool in delta.get("tool_calls") or ():
            yield from (tool["function"].get(name) for name in ("name", "arguments"))


def _completions(event: Event) -> Iterator[Any]:
    yield from (choice.get("text") for choice in event.get("choices") or ())


def _responses(event: Event) -> Iterator[Any]:
    if event["type"].endswith(".delta"):
        yield event["delta"]
    if event["type"] == "response.output_item.added":
        yield event["item"].get("name")
    if event["type"] == "response.output_item.done" and event["item"]["type"] == "tool_search_call":
        yield json.dumps(event["item"]["arguments"])


def _messages(event: Event) -> Iterator[Any]:
    block = event.get("content_block") or {}
    yield block.get("name")
    yield (block.get("content") or {}).get("text") if block.get("type") == "advisor_tool_result" else None
    yield from ((event.get("delta") or {}).get(name) for name in ("text", "thinking", "partial_json"))


def _google(event: Event) -> Iterator[Any]:
    for candidate in event.get("candidates") or ():
        for part in (candidate.get("content") or {}).get("parts") or ():
            yield part.get("text")
            yield (part.get("executableCode") or {}).get("code")
            asked = part.get("functionCall")
            yield None if asked is None else asked["name"] + json.dumps(asked.get("args") or {})


def _interactions(event: Event) -> Iterator[Any]:
    yield (event.get("delta") or {}).get("text")


def _converse(event: Event) -> Iterator[Any]:
    for part in (event, *(event.get(name) or {} for name in ("contentBlockStart", "contentBlockDelta"))):
        yield ((part.get("start") or {}).get("toolUse") or {}).get("name")
        delta = part.get("delta") or {}
        yield delta.get("text")
        yield (delta.get("reasoningContent") or {}).get("text")
        tool = delta.get("toolUse")
        yield tool.get("input") if isinstance(tool, dict) else None


def _invoked(event: Event) -> Iterator[Any]:
    yield event.get("outputText")
    yield from _messages(event) if event.get("type") else _converse(event)


def _cohere_1(event: Event) -> Iterator[Any]:
    yield event.get("text") if event.get("event_type") == "text-generation" else None


def _cohere_2(event: Event) -> Iterator[Any]:
    message = (event.get("delta") or {}).get("message") or {}
    content = message.get("content") or {}
    yield content.get("text") if isinstance(content, dict) else None
    yield message.get("tool_plan")
    called = message.get("tool_calls") or {}
    yield from ((called.get("function") or {}).get(name) for name in ("name", "arguments") if isinstance(called, dict))


def _ollama(event: Event) -> Iterator[Any]:
    yield event.get("response")
    yield from ((event.get("message") or {}).get(name) for name in ("content", "thinking"))


_Texts = Callable[[Event], Iterator[Any]]
_OF_ENDPOINTS: Mapping[str, _Texts] = {
    "chat.completions": _chat,
    "completions": _completions,
    "responses": _responses,
    "messages": _messages,
    "beta.messages": _messages,
    "interactions": _interactions,
    "converse-stream": _converse,
    "invoke-with-response-stream": _invoked,
    "v1/chat": _cohere_1,
    "v2/chat": _cohere_2,
}
_OF_PROVIDERS: Mapping[str, _Texts] = {
    "google_genai": _google,
    "google_vertex": _google,
    "ollama": _ollama,
    "huggingface": _chat,
}
