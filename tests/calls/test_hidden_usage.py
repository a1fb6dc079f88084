"""Anthropic beta answers whose top-level numbers leave something out: it stands in `usage.iterations`."""

from __future__ import annotations

from typing import Any

import pytest

from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import recorded
from tests.replay.bills import Bill
from tests.replay.cases import JsonObject, case
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import ways_of

PLAIN = case("anthropic.beta-messages.anthropic_instrumentation_beta_messages_cre")
STREAM = case("anthropic.beta-messages.stream.sync_messages_beta_stream")
NO_CACHE = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
# The numbers of a recorded compaction: the top level says 181 and 8.
COMPACTED: JsonObject = {
    **NO_CACHE,
    "input_tokens": 181,
    "output_tokens": 8,
    "iterations": [
        {
            "type": "compaction",
            "input_tokens": 100,
            "output_tokens": 83,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 55096,
        },
        {"type": "message", "input_tokens": 181, "output_tokens": 8, **NO_CACHE},
    ],
}
BILL = Bill(llm_calls=1, input_tokens=181 + 100 + 55096, output_tokens=8 + 83, cache_read_tokens=55096)


@pytest.mark.parametrize("trip", [Trip(case, way) for case in (PLAIN, STREAM) for way in ways_of(case)], ids=str)
def test_tokens_of_a_compaction_are_billed_on_top(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip, recorded(trip.case, compacted))
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == BILL


def compacted(body: JsonObject) -> JsonObject:
    """The answer, or the event that ends the stream, with the usage of a compaction."""
    tells_usage: Any = body.get("type") in {"message", "message_delta"}
    return {**body, "usage": COMPACTED} if tells_usage else body
