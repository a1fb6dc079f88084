"""Every recorded stream, stopped by a budget: at the event that goes beyond it, the connection closed, billed once."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._cost.estimate import output_cap
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import Seen
from otel_harn_steps.testing._uses import Use
from tests.replay.brakes import Brakes, limits_of
from tests.replay.cases import Case
from tests.replay.clients import Clients
from tests.replay.native import call, client_for, native_cases, pulls, reads
from tests.replay.runs import Trip, trips
from tests.replay.stainless import LIBRARIES, Library, clients_of, trips_of
from tests.replay.ways import Call

# The client's own helpers raise at its annotations, without us too: they read no further.
UNREADABLE_BY_HELPERS = "openrouter.chat-completions.stream.openrouter_web_search_annotations_stream"
STREAMED = [
    trip
    for trip in trips()
    if trip.case.stream and trip.case.status == 200 and not trip.case.in_stream_error and limits_of(trip.case)
    if not (trip.case.id == UNREADABLE_BY_HELPERS and trip.way.name.startswith("stream."))
]
# One that allows more than there is room for is not sent.
UNLIMITED = [trip for trip in STREAMED if trip.way.name == "create.for" and output_cap(trip.case.request) is None]
OF_LIBRARIES = [
    (library, trip)
    for library in LIBRARIES
    for trip in trips_of(library)
    if trip.case.stream and trip.case.status == 200 and limits_of(trip.case)
]
OF_THEIR_OWN = [each for each in native_cases(stream=True) if limits_of(each)]
pytestmark = pytest.mark.usefixtures("own_faults_dropped")


@pytest.fixture
def brakes(clients: Clients, replay: ReplayServer, steps: ModuleType, caplog: pytest.LogCaptureFixture) -> Brakes:
    return Brakes(clients.mode, replay, steps, caplog)


@pytest.mark.parametrize("trip", STREAMED, ids=str)
def test_a_stream_is_stopped_closed_and_billed_once(trip: Trip, clients: Clients, brakes: Brakes) -> None:
    stops(trip, clients, brakes)


def stops(trip: Trip, clients: Clients, brakes: Brakes, **budget: Any) -> None:
    limits = limits_of(trip.case)
    for limit in limits if trip.way.name == "create.for" else limits[len(limits) // 2 :][:1]:
        seen = Seen("")

        def opens(address: str) -> Any:
            return nullcontext(clients.for_case(trip.case, re.sub("//[^/]+", f"//{trip.case.host}", address)))

        async def go(client: Any, seen: Seen = seen) -> None:
            await trip.way.run(Call(trip.case, client, clients.mode), seen)

        brakes(limit, trip.case, opens, go, **budget).check()
        assert [kind for kind, *_ in seen.values("raised")] == [StepBudgetExceeded]


@pytest.mark.parametrize("trip", UNLIMITED[::4], ids=str)
def test_a_stream_whose_output_is_held_before_it_is_sent_is_stopped_too(
    trip: Trip, clients: Clients, brakes: Brakes
) -> None:
    stops(trip, clients, brakes, preflight="reserve")


@pytest.mark.parametrize("given", OF_LIBRARIES, ids=lambda given: str(given[1]))
def test_a_stream_of_another_generated_client_is_stopped(
    given: tuple[Library, Trip], brakes: Brakes, replay: ReplayServer
) -> None:
    library, trip = given
    with clients_of(library, replay.address, brakes.mode.name) as clients:
        stops(trip, clients, replace(brakes, mode=clients.mode))


@pytest.mark.parametrize("case", OF_THEIR_OWN, ids=lambda case: case.id)
@pytest.mark.parametrize("use", [reads, pulls], ids=lambda use: use.__name__)
def test_a_stream_of_a_client_with_its_own_protocol_is_stopped(case: Case, use: Use, brakes: Brakes) -> None:
    mode = brakes.mode
    for limit in limits_of(case):

        async def go(client: Any) -> None:
            await use(await mode.settle(call(client, case, mode)), mode, Seen(""))

        stopped = brakes(limit, case, partial(client_for, case, mode), go)
        assert isinstance(stopped.raised, StepBudgetExceeded)
        stopped.check()
