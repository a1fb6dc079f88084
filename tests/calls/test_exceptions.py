"""Whatever goes wrong, the app sees exactly what it sees without us: results, exceptions, laziness, types. Budget errors aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from otel_harn_steps.testing._seen import Seen, first_difference
from tests.replay.answers import error, recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill, bill_of
from tests.replay.cases import Case, JsonObject, case
from tests.replay.endings import AFTER_ONE_EVENT, BEFORE_ANY_EVENT
from tests.replay.outcomes import Outcome, Twice
from tests.replay.runs import Trip
from tests.replay.ways import READS_BYTES, Way, ways_of

PLAIN = [
    case("openai.chat-completions.sync_chat_completions_version_latest"),
    case("openai.responses.responses_input_typed_reasoning_item"),
    case("openai.embeddings.TestOpenAI.instrumentation"),
    case("anthropic.messages.anthropic_prompt_caching_async_legacy"),
    case("anthropic.beta-messages.anthropic_instrumentation_beta_messages_cre"),
]
STREAMS = [
    case("openai.chat-completions.stream.async_chat_completion_streaming"),
    case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest"),
    case("openai.responses.stream.responses_stream"),
    case("anthropic.messages.stream.sync_messages_stream_version_v1_only"),
    case("anthropic.beta-messages.stream.sync_messages_beta_stream"),
]
TELLING_CASES = [PLAIN[0], PLAIN[1], PLAIN[3], STREAMS[0], STREAMS[2], STREAMS[3]]
"""One of each protocol and kind, where all of it would only say the same more often."""

ERRORS = [400, 401, 429, 500]
TELLING = frozenset(
    {
        "create",
        "parse",
        "raw",
        "raw.parse",
        "streaming.parse",
        "streaming.read",
        "create.for",
        "stream.events",
        "streaming.iter_lines",
    }
)
"""Ways that differ in what reads the answer: all the others read it like one of these."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Malformed:
    """A provider's usage gone wrong. What `says_nothing` leaves the call unmetered; of the rest only the app's view is sure."""

    change: Callable[[JsonObject], object]
    says_nothing: bool = False


MALFORMED = {
    "null": Malformed(lambda usage: None, says_nothing=True),
    "missing": Malformed(lambda usage: _MISSING, says_nothing=True),
    "empty": Malformed(lambda usage: {}, says_nothing=True),
    "counts null": Malformed(lambda usage: _each_count(usage, lambda count: None), says_nothing=True),
    "details null": Malformed(
        lambda usage: {name: None if isinstance(value, dict) else value for name, value in usage.items()}
    ),
    "digit strings": Malformed(lambda usage: _each_count(usage, str)),
    "negative": Malformed(lambda usage: _each_count(usage, lambda count: -5)),
    "floats": Malformed(lambda usage: _each_count(usage, lambda count: count + 0.5)),
    "booleans": Malformed(lambda usage: _each_count(usage, bool)),
    "a list": Malformed(lambda usage: []),
    "a string": Malformed(lambda usage: "many"),
    "a number": Malformed(lambda usage: 7),
}


def all_ways(chosen: list[Case]) -> list[Trip]:
    return [Trip(case, way) for case in chosen for way in ways_of(case)]


def telling_ways() -> list[Trip]:
    return [trip for trip in all_ways(TELLING_CASES) if trip.way.name in TELLING]


def endings(ways: tuple[Way, ...]) -> list[Trip]:
    return [Trip(case, way) for case in STREAMS for way in ways]


def assert_same(outcome: Outcome) -> None:
    """The app saw the same in both runs, and nothing left the step that the app did not know of."""
    assert outcome.left is None
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("trip", telling_ways(), ids=str)
def test_an_error_of_the_provider_is_passed_on_and_is_no_call(trip: Trip, status: int, twice: Twice) -> None:
    outcome = twice(trip, error(status, "no"))
    assert outcome.bare.seen.values("raised")
    assert_same(outcome)
    assert Bill.of_record(outcome.record) == NO_CALL


@pytest.mark.parametrize("trip", all_ways([*PLAIN, *STREAMS]), ids=str)
def test_a_call_that_succeeds_after_retries_is_billed_once(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, error(429, "slow down"), error(429, "slow down"), recorded(trip.case), max_retries=2)
    assert_same(outcome)
    assert len(outcome.ours.exchange.requests) == len(outcome.bare.exchange.requests)
    assert Bill.of_record(outcome.record) == bill_of(trip.case)


@pytest.mark.parametrize("trip", telling_ways(), ids=str)
def test_a_call_that_fails_after_retries_is_no_call(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, error(429, "slow down"), max_retries=1)
    assert len(outcome.ours.exchange.requests) == 2
    assert_same(outcome)
    assert Bill.of_record(outcome.record) == NO_CALL


@pytest.mark.parametrize("trip", all_ways(PLAIN), ids=str)
def test_an_answer_cut_in_its_middle_fails_as_without_us(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, cut_after=1))
    assert outcome.bare.seen.values("raised")
    assert_same(outcome)
    assert tokens_of(outcome) == (0, 0)


@pytest.mark.parametrize("events", [0, 1, 3])
@pytest.mark.parametrize("trip", all_ways(STREAMS), ids=str)
def test_a_stream_cut_by_the_network_is_billed_with_what_is_known(trip: Trip, events: int, twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, cut_after=events))
    assert_same(outcome)
    assert_billed_what_is_known(outcome, events_read=events)


@pytest.mark.parametrize("trip", endings(AFTER_ONE_EVENT), ids=str)
def test_a_stream_left_early_is_billed_with_what_is_known(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip)
    assert_same(outcome)
    assert_billed_what_is_known(outcome, events_read=1)


@pytest.mark.parametrize("trip", endings(BEFORE_ANY_EVENT), ids=str)
def test_a_stream_never_read_is_an_unmetered_call(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip)
    assert_same(outcome)
    assert Bill.of_record(outcome.record) == UNMETERED_CALL


@pytest.mark.parametrize("wrong", MALFORMED)
@pytest.mark.parametrize("trip", telling_ways(), ids=str)
def test_malformed_usage_changes_nothing_for_the_app(trip: Trip, wrong: str, twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, with_usage(MALFORMED[wrong].change)))
    assert_same(outcome)
    bill = Bill.of_record(outcome.record)
    assert bill.llm_calls == 1
    assert min(bill.input_tokens, bill.output_tokens, bill.cache_read_tokens, bill.cache_write_tokens) >= 0
    if MALFORMED[wrong].says_nothing:
        assert bill == UNMETERED_CALL


@pytest.mark.parametrize("trip", all_ways([*PLAIN, *STREAMS]), ids=str)
def test_a_crossed_budget_raises_in_every_way_and_the_totals_keep_the_call(trip: Trip, twice: Twice) -> None:
    if bill_of(trip.case) == UNMETERED_CALL:
        pytest.skip("a call without usage crosses nothing")
    outcome = twice(trip, budget={"max_tokens": 1})
    assert type(outcome.left).__name__ == "StepBudgetExceeded"
    assert Bill.of_record(outcome.record) == bill_of(trip.case)
    assert outcome.record.status == "failed"


@pytest.mark.parametrize("name", ["create", "parse"])
@pytest.mark.parametrize("plain", PLAIN, ids=lambda plain: plain.id)
def test_a_crossed_budget_keeps_the_answer(plain: Case, name: str, twice: Twice) -> None:
    trip = next((Trip(plain, way) for way in ways_of(plain) if way.name == name), None)
    if trip is None:
        pytest.skip("no such way here")
    outcome = twice(trip, budget={"max_tokens": 1})
    kept = Seen(outcome.ours.exchange.url_at(plain.host))
    kept.note("value", getattr(outcome.left, "response", None))
    assert first_difference(outcome.bare.seen, kept) is None


# A stream below a raw response is watched as bytes, in which nothing may raise: its breach raises at the step's exit.
READS_RAW = {*READS_BYTES, "raw.parse", "streaming.parse"}


@pytest.mark.parametrize("trip", [trip for trip in all_ways(STREAMS) if trip.way.name not in READS_RAW], ids=str)
def test_a_budget_crossed_by_a_stream_raises_at_its_natural_end(trip: Trip, twice: Twice) -> None:
    if bill_of(trip.case) == UNMETERED_CALL:
        pytest.skip("a call without usage crosses nothing")
    outcome = twice(trip, budget={"max_tokens": 1})
    assert outcome.ours.seen.values("event") == outcome.bare.seen.values("event")
    assert [raised[0].__name__ for raised in outcome.ours.seen.values("raised")] == ["StepBudgetExceeded"]


@pytest.mark.parametrize(
    "trip", [trip for trip in endings(AFTER_ONE_EVENT) if trip.case.client == "anthropic"], ids=str
)
def test_a_budget_crossed_by_a_stream_left_early_raises_at_the_steps_exit(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, budget={"max_tokens": 1})
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert type(outcome.left).__name__ == "StepBudgetExceeded"


def assert_billed_what_is_known(outcome: Outcome, *, events_read: int) -> None:
    """Anthropic reports the input in its first event; its output count is a placeholder until the end. OpenAI reports nothing before the end."""
    assert outcome.record.llm_calls == 1
    if outcome.trip.case.client == "anthropic" and events_read:
        assert tokens_of(outcome) == (bill_of(outcome.trip.case).input_tokens, 0)
    else:
        assert Bill.of_record(outcome.record) == UNMETERED_CALL


def tokens_of(outcome: Outcome) -> tuple[int, int]:
    return outcome.record.input_tokens, outcome.record.output_tokens


def with_usage(change: Callable[[JsonObject], object]) -> Callable[[JsonObject], JsonObject]:
    """A change of every usage object in an answer or an event, wherever it is."""

    def mutate(body: JsonObject) -> JsonObject:
        new = {name: changed(name, value) for name, value in body.items()}
        return {name: value for name, value in new.items() if value is not _MISSING}

    def changed(name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return change(value) if name == "usage" else mutate(value)

    return mutate


def _each_count(usage: JsonObject, change: Callable[[int], Any]) -> JsonObject:
    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return _each_count(value, change)
        return change(value) if isinstance(value, int) else value

    return {name: changed(value) for name, value in usage.items()}
