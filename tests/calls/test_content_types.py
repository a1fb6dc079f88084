"""Bodies that the app reads itself, under a content type that is not theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import Answer, Received, Script, asked_usage, recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import Case, case
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import READS_BYTES, ways_of

UNASKED = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
ASKED = replace(UNASKED, request={**UNASKED.request, "stream_options": {"include_usage": True}})
MESSAGES = case("anthropic.messages.stream.anthropic_prompt_caching_async_stream_legac")
PLAIN = case("openai.chat-completions.TestTokenCounts.openai")
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
BILL = Bill(llm_calls=1, input_tokens=11, output_tokens=7)
OTHERS = ("application/json", "text/plain; charset=utf-8", "application/octet-stream")


def byte_trips(*chosen: Case) -> list[Trip]:
    return [Trip(case, way) for case in chosen for way in ways_of(case) if way.name in READS_BYTES]


def typed(answer: Answer, content_type: str, *, in_pieces: int = 0) -> Answer:
    """The answer under another content type, its first bytes sent in pieces of this size."""
    headers = {**answer.headers, "content-type": content_type}
    if not in_pieces:
        return replace(answer, headers=headers)
    first, *rest = answer.chunks
    pieces = (first[start : start + in_pieces] for start in range(0, len(first), in_pieces))
    return replace(answer, headers=headers, chunks=(*pieces, *rest))


def as_type(script: Script, content_type: str, **more: Any) -> Script:
    def answer(received: Received) -> Answer:
        return typed(script(received), content_type, **more)

    return answer


@pytest.mark.parametrize("content_type", OTHERS)
@pytest.mark.parametrize("trip", byte_trips(UNASKED, ASKED), ids=str)
def test_events_under_another_content_type_are_billed_and_shown_as_they_were(
    trip: Trip, content_type: str, twice: Twice
) -> None:
    outcome = twice(trip, as_type(asked_usage(trip.case, USAGE), content_type))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == BILL


@pytest.mark.parametrize("in_pieces", [1, 2, 7])
@pytest.mark.parametrize("trip", byte_trips(UNASKED, ASKED), ids=str)
def test_events_that_arrive_byte_by_byte_are_known_by_their_first_bytes(
    trip: Trip, in_pieces: int, twice: Twice
) -> None:
    outcome = twice(trip, as_type(asked_usage(trip.case, USAGE), "text/plain", in_pieces=in_pieces))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == BILL


@pytest.mark.parametrize("content_type", OTHERS)
@pytest.mark.parametrize("trip", byte_trips(MESSAGES), ids=str)
def test_named_events_under_another_content_type_are_billed(trip: Trip, content_type: str, twice: Twice) -> None:
    outcome = twice(trip, typed(recorded(trip.case), content_type))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == bill_of(trip.case)


@pytest.mark.parametrize("before", [b"", b"\n\n", b": ping\n\n"], ids=["nothing", "blank lines", "a comment"])
@pytest.mark.parametrize("trip", byte_trips(UNASKED), ids=str)
def test_what_comes_before_the_first_event_is_shown(trip: Trip, before: bytes, twice: Twice) -> None:
    def answer(received: Received) -> Answer:
        told = asked_usage(trip.case, USAGE)(received)
        return typed(replace(told, chunks=(before, *told.chunks) if before else told.chunks), "text/plain")

    outcome = twice(trip, answer)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == BILL


@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream", "application/octet-stream"])
@pytest.mark.parametrize(
    "trip", [Trip(PLAIN, way) for way in ways_of(PLAIN) if way.name.startswith("streaming.")], ids=str
)
def test_json_under_another_content_type_is_shown_as_it_was(trip: Trip, content_type: str, twice: Twice) -> None:
    outcome = twice(trip, typed(recorded(trip.case), content_type))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


ODD: Mapping[str, tuple[bytes, ...]] = {
    "JSON": (b'{"model": "gpt-4o", "usage": {"prompt_tokens": 11, ', b'"completion_tokens": 7}}'),
    "nothing": (),
    "blank": (b"\n", b"\n"),
    "the beginning of an event": (b"dat",),
}


@pytest.mark.parametrize("chunks", ODD.values(), ids=ODD)
@pytest.mark.parametrize("trip", byte_trips(UNASKED), ids=str)
def test_a_stream_that_turns_out_to_be_none_is_shown_as_it_was(
    trip: Trip, chunks: tuple[bytes, ...], twice: Twice
) -> None:
    answer = Answer(200, chunks, streamed=True, headers={"content-type": "application/json"})
    outcome = twice(trip, answer)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert outcome.record.llm_calls == 1
    assert outcome.record.input_tokens == (11 if chunks == ODD["JSON"] else 0)
