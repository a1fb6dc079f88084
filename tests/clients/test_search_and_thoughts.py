"""What OpenAI's protocol has no count for: the searches of a search model, and thoughts that only a total includes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.replay.answers import recorded
from tests.replay.bills import Bill
from tests.replay.cases import Case, JsonObject, case
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import way, ways_of

PLAIN = case("openai.chat-completions.TestTokenCounts.openai")
STREAM = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
TOKENS = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}


def of_model(model: str, usage: JsonObject) -> Any:
    """Changes who has answered, and what it reports; of a stream, with every chunk."""
    return lambda body: {**body, "model": model, "usage": usage}


def trips(*chosen: Case) -> list[Trip]:
    return [Trip(case, way(case, name)) for case in chosen for name in ("create", "create.for") if has_way(case, name)]


def has_way(case: Case, name: str) -> bool:
    return any(each.name == name for each in ways_of(case))


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd", "search_usd"),
    [
        ("gpt-4o-search-preview-2025-03-11", 2.5e-6, 10e-6, 0.025),
        ("gpt-4o-mini-search-preview-2025-03-11", 0.15e-6, 0.6e-6, 0.025),
        ("gpt-4o-mini-search-preview", 0.15e-6, 0.6e-6, 0.025),
        ("gpt-5-search-api", 1.25e-6, 10e-6, 0.01),
        ("gpt-4o-mini-2024-07-18", 0.15e-6, 0.6e-6, 0),
    ],
)
@pytest.mark.parametrize("trip", trips(PLAIN, STREAM), ids=str)
def test_a_search_model_has_its_fee_with_every_answer(  # noqa: PLR0917 -- parameters
    trip: Trip, model: str, input_usd: float, output_usd: float, search_usd: float, twice: Twice
) -> None:
    record = twice(trip, recorded(trip.case, of_model(model, TOKENS))).record
    assert record.cost_usd == pytest.approx(20 * input_usd + 100 * output_usd + search_usd, abs=1e-12)


def at(host: str, chosen: Case) -> Case:
    return replace(chosen, host=host)


HIDDEN = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 1043}
GEMINI = "generativelanguage.googleapis.com"


@pytest.mark.parametrize("trip", trips(at(GEMINI, PLAIN), at(GEMINI, STREAM)), ids=str)
def test_thoughts_that_google_counts_in_the_total_alone_are_output(trip: Trip, twice: Twice) -> None:
    record = twice(trip, recorded(trip.case, of_model("gemini-2.5-flash", HIDDEN))).record
    assert Bill.of_record(record) == Bill(1, 0, 20, 1023, reasoning_tokens=923)
    assert record.cost_usd == pytest.approx(20 * 0.3e-6 + 1023 * 2.5e-6, abs=1e-12)


def test_an_answer_of_thoughts_alone_is_billed(twice: Twice) -> None:
    (trip,) = trips(at(GEMINI, PLAIN))
    told = {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}
    record = twice(trip, recorded(trip.case, of_model("gemini-2.5-flash", told))).record
    assert Bill.of_record(record) == Bill(1, 0, 21, 60, reasoning_tokens=60)


def test_an_output_that_google_does_not_count_is_unknown(twice: Twice) -> None:
    (trip,) = trips(at(GEMINI, PLAIN))
    record = twice(trip, recorded(trip.case, of_model("gemini-2.5-flash", {"prompt_tokens": 21}))).record
    assert (record.input_tokens, record.output_tokens, record.unmetered_calls) == (21, 0, 1)


@pytest.mark.parametrize("host", ["api.openai.com", "api.mistral.ai", "openrouter.ai", "llm.example.org"])
def test_no_other_total_says_what_it_is_the_sum_of(host: str, twice: Twice) -> None:
    (trip,) = trips(at(host, PLAIN))
    record = twice(trip, recorded(trip.case, of_model("gemini-2.5-flash", HIDDEN))).record
    assert Bill.of_record(record) == Bill(1, 0, 20, 100)


@pytest.mark.parametrize(
    "usage",
    [
        {**HIDDEN, "total_tokens": 120},
        {**HIDDEN, "total_tokens": 0},
        {**HIDDEN, "total_tokens": None},
        {**HIDDEN, "completion_tokens": 1023, "completion_tokens_details": {"reasoning_tokens": 923}},
    ],
    ids=["as the sum", "zero", "none", "told, and within the output"],
)
def test_a_total_of_googles_that_adds_nothing_adds_nothing(usage: JsonObject, twice: Twice) -> None:
    (trip,) = trips(at(GEMINI, PLAIN))
    record = twice(trip, recorded(trip.case, of_model("gemini-2.5-flash", usage))).record
    assert record.output_tokens == usage["completion_tokens"]
