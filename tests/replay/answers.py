"""What the server says: a recorded answer, the same with a change, or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.replay.cases import Case, JsonObject

Mutate = Callable[[JsonObject], JsonObject | None]
"""Changes the JSON of a plain answer, or of each event of a stream. None drops the event."""

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)
_LINE = re.compile(rb".*?\n|.+$", re.DOTALL)
_AWS_PIECE_BYTES = 300


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> JsonObject:
        parsed: JsonObject = json.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. A streamed one is sent chunk by chunk, any other with a content length."""

    status: int
    chunks: tuple[bytes, ...]
    streamed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """The connection is cut after this many chunks."""
    paced: bool = False
    """Each chunk waits until the test allows it (`Exchange.allow`)."""


Script = Callable[[Received], Answer]
"""An answer that depends on the request."""


def recorded(case: Case, mutate: Mutate | None = None, *, cut_after: int | None = None, paced: bool = False) -> Answer:
    """The recorded answer. Cut, a plain body ends in its middle (`cut_after=1`), a stream after that many events."""
    return Answer(
        status=case.status,
        chunks=_chunks(case, mutate),
        streamed=case.stream,
        headers={**case.headers, "content-type": case.content_type},
        cut_after=cut_after,
        paced=paced,
    )


def error(status: int, message: str) -> Answer:
    """An error in the shape both protocols understand, to be retried at once where the client retries."""
    body = {"type": "error", "error": {"type": "replayed_error", "message": message, "code": None, "param": None}}
    return Answer(
        status=status,
        chunks=(json.dumps(body).encode(),),
        headers={"content-type": "application/json", "retry-after-ms": "1"},
    )


def asked_usage(case: Case, usage: Mapping[str, Any], *, paced: bool = False) -> Script:
    """A chat stream that reports `usage` as OpenAI does: only to those who ask, `null` on each chunk and one more chunk at the end."""

    def answer(received: Received) -> Answer:
        unasked = recorded(case, paced=paced)
        if not (received.json().get("stream_options") or {}).get("include_usage"):
            return unasked
        *events, done = unasked.chunks
        return replace(unasked, chunks=(*map(_with_null_usage, events), _usage_event(events[0], usage), done))

    return answer


def events_of(case: Case) -> tuple[bytes, ...]:
    """The recorded stream, one event a piece; AWS event streams in pieces of a few hundred bytes."""
    if case.content_type.startswith("application/vnd.amazon.eventstream"):
        starts = range(0, len(case.body), _AWS_PIECE_BYTES)
        return tuple(case.body[start : start + _AWS_PIECE_BYTES] for start in starts)
    if case.content_type.startswith("text/event-stream"):
        return _pieces(_EVENT, case.body)
    return _pieces(_LINE, case.body)  # JSON lines


def _chunks(case: Case, mutate: Mutate | None) -> tuple[bytes, ...]:
    if case.stream:
        events: Sequence[bytes] = events_of(case)
        if mutate is not None:
            events = [changed for event in events if (changed := _mutated(event, mutate)) is not None]
        return tuple(events)
    body = case.body if mutate is None else json.dumps(mutate(case.json())).encode()
    half = len(body) // 2
    return body[:half], body[half:]


def _pieces(pattern: re.Pattern[bytes], body: bytes) -> tuple[bytes, ...]:
    pieces = pattern.findall(body)
    rest = body[sum(map(len, pieces)) :]
    return (*pieces, rest) if rest else tuple(pieces)


def _mutated(event: bytes, mutate: Mutate) -> bytes | None:
    data = _data(event)
    if data is None:
        return event
    changed = mutate(data)
    return None if changed is None else _with_data(event, changed)


def _data(event: bytes) -> JsonObject | None:
    """The JSON object an event carries in its one data line; None for comments, pings and `[DONE]`."""
    for line in event.splitlines():
        if line.startswith(b"data:") and line[5:].lstrip().startswith(b"{"):
            parsed: JsonObject = json.loads(line[5:])
            return parsed
    return None


def _with_data(event: bytes, data: Mapping[str, Any]) -> bytes:
    kept = [line for line in event.splitlines() if line and not line.startswith(b"data:")]
    return b"\n".join([*kept, b"data: " + json.dumps(data).encode()]) + b"\n\n"


def _with_null_usage(event: bytes) -> bytes:
    """The event with `"usage":null` where OpenAI puts it, all other bytes untouched: an app may read the bytes."""
    before, mark, after = event.partition(b',"obfuscation"')
    if not mark:
        before, mark, after = event.rpartition(b"}")
    return before + b',"usage":null' + mark + after


def _usage_event(like: bytes, usage: Mapping[str, Any]) -> bytes:
    chunk = _data(like)
    assert chunk is not None, "a chat stream begins with a chunk"
    return _with_data(b"", {**chunk, "choices": [], "usage": dict(usage)})
