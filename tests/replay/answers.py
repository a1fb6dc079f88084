"""What the server says: a recorded answer with a change, or one that reports its usage if asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from otel_harn_steps.testing import Answer, Received, Script
from otel_harn_steps.testing._answers import answer_of, error, events_of, halves
from tests.replay.cases import Case, JsonObject

__all__ = ["Answer", "Mutate", "Received", "Script", "asked_usage", "error", "events_of", "recorded"]

Mutate = Callable[[JsonObject], JsonObject | None]
"""Changes the JSON of a plain answer, or of each event of a stream. None drops the event."""


def recorded(case: Case, mutate: Mutate | None = None, *, cut_after: int | None = None, paced: bool = False) -> Answer:
    """The recorded answer. Cut, a plain body ends in its middle (`cut_after=1`), a stream after that many events."""
    return answer_of(case, None if mutate is None else _changed(case, mutate), cut_after=cut_after, paced=paced)


def asked_usage(case: Case, usage: Mapping[str, Any], *, paced: bool = False) -> Script:
    """A chat stream that reports `usage` as OpenAI does: only to those who ask, `null` on each chunk and one more chunk at the end."""

    def answer(received: Received) -> Answer:
        unasked = recorded(case, paced=paced)
        if not (received.json().get("stream_options") or {}).get("include_usage"):
            return unasked
        *events, done = unasked.chunks
        return replace(unasked, chunks=(*map(_with_null_usage, events), _usage_event(events[0], usage), done))

    return answer


def _changed(case: Case, mutate: Mutate) -> tuple[bytes, ...]:
    if not case.stream:
        return halves(json.dumps(mutate(case.json())).encode())
    return tuple(changed for event in events_of(case) if (changed := _mutated(event, mutate)) is not None)


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
