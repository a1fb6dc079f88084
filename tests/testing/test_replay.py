"""The replay harness itself: without our package, the same call sees the same thing twice."""

from __future__ import annotations

import pytest

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.replay.cases import all_cases
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel, trips


def test_all_recorded_cases_are_here() -> None:
    assert len(all_cases()) == 137


def one_of_each_kind() -> list[Trip]:
    """Every way of one case per provider protocol, endpoint, kind and outcome."""
    chosen = {(case.client, case.endpoint, case.stream, case.status): case for case in (trip.case for trip in trips())}
    return [trip for trip in trips() if trip.case in chosen.values()]


@pytest.mark.parametrize("trip", one_of_each_kind(), ids=str)
def test_a_call_sees_the_same_twice(trip: Trip, clients: Clients, replay: ReplayServer) -> None:
    once = clients.mode.run(travel(trip, clients, replay))
    again = clients.mode.run(travel(trip, clients, replay))
    assert first_difference(once.seen, again.seen) is None
