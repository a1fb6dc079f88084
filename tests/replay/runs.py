"""One call, made once: which answers, which client, what was seen."""

from __future__ import annotations

from dataclasses import dataclass

from otel_harn_steps.testing import Exchange, ReplayServer
from otel_harn_steps.testing._modes import uncollected
from otel_harn_steps.testing._seen import Seen
from tests.replay.answers import Answer, Script, recorded
from tests.replay.cases import Case, cases
from tests.replay.clients import Clients
from tests.replay.ways import Call, Way, ways_of


@dataclass(frozen=True, slots=True)
class Trip:
    """A case and a way to make its call."""

    case: Case
    way: Way

    def __str__(self) -> str:
        return f"{self.case.id}-{self.way.name}"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of making a call."""

    seen: Seen
    exchange: Exchange


def trips() -> list[Trip]:
    """Every way of every `openai` and `anthropic` case, as far as the installed clients have it."""
    return [
        Trip(case, way) for client in ("openai", "anthropic") for case in cases(client=client) for way in ways_of(case)
    ]


async def travel(
    trip: Trip, clients: Clients, server: ReplayServer, *script: Answer | Script, max_retries: int = 0
) -> Run:
    """Make the call against a fresh exchange; without a script it gets the recorded answer."""
    exchange = server.serve(*(script or (recorded(trip.case),)))
    address = exchange.url_at(trip.case.host)
    seen = Seen(address)
    client = clients.for_case(trip.case, address, max_retries=max_retries)
    with uncollected():
        await trip.way.run(Call(trip.case, client, clients.mode), seen)
    return Run(seen, exchange)
