"""Every recorded stream, stopped by a budget: at the event that goes beyond it, the connection closed, billed once."""

from __future__ import annotations

from types import ModuleType

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps.testing import Exchange, ReplayServer
from otel_harn_steps.testing._modes import uncollected
from otel_harn_steps.testing._seen import Seen
from tests.replay.brakes import braked, limits_of
from tests.replay.clients import Clients
from tests.replay.runs import Trip, trips
from tests.replay.ways import Call

STREAMED = [
    trip
    for trip in trips()
    if trip.case.stream and trip.case.status == 200 and not trip.case.in_stream_error and limits_of(trip.case)
]
pytestmark = pytest.mark.usefixtures("own_faults_dropped")


@pytest.mark.parametrize("trip", STREAMED, ids=str)
def test_a_stream_is_stopped_closed_and_billed_once(
    trip: Trip, clients: Clients, replay: ReplayServer, steps: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    for limit in limits_of(trip.case):
        seen = Seen("")

        async def go(exchange: Exchange, seen: Seen = seen) -> None:
            client = clients.for_case(trip.case, exchange.url_at(trip.case.host))
            with uncollected():
                await trip.way.run(Call(trip.case, client, clients.mode), seen)

        stopped = braked(limit, trip.case, clients.mode, replay, steps, caplog, go)
        stopped.check()
        assert [kind for kind, *_ in seen.values("raised")] == [StepBudgetExceeded]
