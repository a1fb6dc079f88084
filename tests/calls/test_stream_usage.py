"""OpenAI chat streams report their usage only if asked. We ask, and the app sees nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import asked_usage
from tests.replay.bills import UNMETERED_CALL, Bill
from tests.replay.cases import Case, case
from tests.replay.outcomes import Outcome, Twice
from tests.replay.runs import Trip
from tests.replay.ways import READS_BYTES, ways_of

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
BILL = Bill(llm_calls=1, input_tokens=11, output_tokens=7, cache_read_tokens=5, reasoning_tokens=2)


def with_options(options: Mapping[str, Any]) -> Case:
    """The case in which the app gave `stream_options` of its own."""
    return replace(UNASKED, request={**UNASKED.request, "stream_options": options})


UNASKED = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
AZURE = case("azure_openai.chat-completions.stream.chat_async_streaming")
COMPLETIONS = case("openai.completions.stream.TestCompletionsFinishReasons.completions_st")
SAYS_NO = with_options({"include_usage": False})
SAYS_YES = with_options({"include_usage": True})
SAYS_OTHER = with_options({"include_obfuscation": False})


def every_way(*chosen: Case) -> list[Trip]:
    return [Trip(case, way) for case in chosen for way in ways_of(case)]


def ways_with_events(*chosen: Case) -> list[Trip]:
    return [trip for trip in every_way(*chosen) if trip.way.name not in READS_BYTES]


@pytest.mark.parametrize("trip", every_way(UNASKED, AZURE, COMPLETIONS), ids=str)
def test_the_app_sees_nothing_of_our_asking(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


@pytest.mark.parametrize("trip", ways_with_events(UNASKED, AZURE), ids=str)
def test_the_usage_we_asked_for_is_billed(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert (asked(outcome), Bill.of_record(outcome.record)) == ({"include_usage": True}, BILL)


@pytest.mark.parametrize("trip", [trip for trip in every_way(UNASKED) if trip.way.name in READS_BYTES], ids=str)
def test_a_stream_read_as_bytes_is_billed_or_counted_as_unmetered(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert Bill.of_record(outcome.record) in (BILL, UNMETERED_CALL)


@pytest.mark.parametrize("trip", every_way(UNASKED), ids=str)
def test_the_setting_turns_asking_off(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE), settings={"stream_usage": False})
    assert (asked(outcome), Bill.of_record(outcome.record)) == (None, UNMETERED_CALL)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


@pytest.mark.parametrize("trip", every_way(SAYS_NO), ids=str)
def test_an_explicit_no_is_respected(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert (asked(outcome), Bill.of_record(outcome.record)) == ({"include_usage": False}, UNMETERED_CALL)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


@pytest.mark.parametrize("trip", every_way(SAYS_YES), ids=str)
def test_who_asked_sees_the_usage(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert (asked(outcome), Bill.of_record(outcome.record)) == ({"include_usage": True}, BILL)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


@pytest.mark.parametrize("trip", ways_with_events(SAYS_OTHER), ids=str)
def test_other_options_of_the_app_are_kept_when_we_ask(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, asked_usage(trip.case, USAGE))
    assert asked(outcome) == {"include_obfuscation": False, "include_usage": True}
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


def asked(outcome: Outcome) -> object:
    """The `stream_options` that arrived."""
    (received,) = outcome.ours.exchange.requests
    return received.json().get("stream_options")
