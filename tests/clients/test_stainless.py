"""The `groq`, `together` and `cerebras_cloud_sdk` clients over recorded traffic: each way to call, in place of OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.instrumented import Instrumented
from tests.replay.bills import UNMETERED_CALL, Bill, bill_of
from tests.replay.outcomes import Outcome, Twice
from tests.replay.results import OWN_CLIENTS, replayed
from tests.replay.stainless import LIBRARIES, clients_of, trips_of

TRIPS = [(library, trip) for library in LIBRARIES for trip in trips_of(library)]


@pytest.fixture(scope="module", params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def libraries(mode: str, replay: ReplayServer, instrumented: Instrumented) -> Iterator[dict[str, Twice]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {
            library.name: Twice(stack.enter_context(clients_of(library, replay.address, mode)), replay, instrumented)
            for library in LIBRARIES
        }


@pytest.fixture(scope="module", params=TRIPS, ids=lambda given: str(given[1]))
def outcome(request: pytest.FixtureRequest, libraries: dict[str, Twice]) -> Outcome:
    library, trip = request.param
    return libraries[library.name](trip)


def test_the_app_sees_what_it_saw_without_us(outcome: Outcome) -> None:
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None


def test_the_step_is_billed_what_was_recorded(
    outcome: Outcome, mode: str, record_property: Callable[[str, object], None]
) -> None:
    case = outcome.trip.case
    replayed(record_property, case, mode, Bill.of_record(outcome.record), OWN_CLIENTS.get(case.provider, case.provider))
    # A stream whose client gives up on an error within it may have reported its usage before.
    broke_off = case.stream and outcome.bare.seen.values("raised")
    allowed = (UNMETERED_CALL, bill_of(case)) if broke_off else (bill_of(case),)
    assert Bill.of_record(outcome.record) in allowed


def test_nothing_is_changed_in_the_request(outcome: Outcome) -> None:
    bare, ours = ([received.body for received in run.exchange.requests] for run in (outcome.bare, outcome.ours))
    assert ours == bare
