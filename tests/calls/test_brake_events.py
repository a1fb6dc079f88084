"""Every recorded stream, stopped by a budget at every event: there, closed, one row, and a bill near the truth."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import CallRow, StepBudgetExceeded
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import Mode
from otel_harn_steps.testing._seen import Seen
from tests.instrumented import instrumented
from tests.replay.arrivals import Arrival, arrivals, first_beyond, shown_output
from tests.replay.brakes import Braked, Brakes
from tests.replay.cases import Case, all_cases
from tests.replay.clients import Clients
from tests.replay.native import PACKAGES, call, client_for, native_cases, reads
from tests.replay.stainless import LIBRARIES, clients_of, trips_of
from tests.replay.ways import Call, way, ways_of
from tests.steps.sinks import Ledger

_OF_LIBRARIES = {trip.case.id: library for library in LIBRARIES for trip in trips_of(library)}
_NATIVE = {case.id for case in native_cases(stream=True)} if PACKAGES else set()


def stoppable(case: Case) -> bool:
    is_answer = case.stream and case.status == 200 and not case.in_stream_error
    has_client = case.id in _NATIVE or (case.client in {"openai", "anthropic"} and bool(ways_of(case)))
    return is_answer and has_client and any(first_beyond(arrivals(case)))


STREAMS = [case for case in all_cases().values() if stoppable(case)]
Opens = Callable[[str], AbstractContextManager[Any]]
Reads = Callable[[Any, Seen], Awaitable[None]]
pytestmark = pytest.mark.usefixtures("own_faults_dropped")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def steps(ledger: Ledger) -> Iterator[ModuleType]:
    with instrumented(sinks=[ledger]) as package:
        yield package


@pytest.fixture
def brakes(clients: Clients, replay: ReplayServer, steps: ModuleType, caplog: pytest.LogCaptureFixture) -> Brakes:
    return Brakes(clients.mode, replay, steps, caplog)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)
def test_a_stream_is_stopped_where_its_budget_ends_and_billed_near_the_truth(
    case: Case, clients: Clients, brakes: Brakes, ledger: Ledger
) -> None:
    budgets = list(first_beyond(arrivals(case)))
    stops_at(budgets[:: max(1, len(budgets) // 2)], case, clients, brakes, ledger)


@pytest.mark.left_out
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)
def test_a_stream_is_stopped_at_each_of_its_events(
    case: Case, clients: Clients, brakes: Brakes, ledger: Ledger
) -> None:
    stops_at(list(first_beyond(arrivals(case))), case, clients, brakes, ledger)


def stops_at(
    budgets: list[tuple[int, Arrival]], case: Case, clients: Clients, brakes: Brakes, ledger: Ledger
) -> None:
    opens, go = reading(case, clients)
    inputs = set()
    with brakes.opened(case, opens) as braked:
        for limit, arrival in budgets:
            seen = Seen("")
            stopped = braked(limit, lambda client, seen=seen: go(client, seen))
            stopped.check()
            assert len(seen.values("event") or seen.values("value")) == arrival.seen, limit
            row = the_row(ledger)
            assert row.outcome == "cut"
            billed = billed_input(row, arrival)
            inputs |= {billed} if arrival.counted is None else set()
    assert len(inputs) <= 1, inputs
    near_the_truth([arrival for _, arrival in budgets], case)


def the_row(ledger: Ledger) -> CallRow:
    (row,) = ledger.of("settled")
    assert isinstance(row, CallRow)
    ledger.events.clear()
    return row


def billed_input(row: CallRow, arrival: Arrival) -> int:
    """The input tokens of a row whose output is billed as what had come: by the provider's count, if there is one."""
    if arrival.counted is not None:
        assert (row.output_tokens, row.estimated_tokens) == (arrival.counted, 0)
        return row.input_tokens or 0
    assert row.output_tokens is None
    return (row.input_tokens or 0) + row.estimated_tokens - arrival.budgeted


def reading(case: Case, clients: Clients) -> tuple[Opens, Reads]:
    """How a client for this case is opened at an address, and how it reads the stream."""
    if case.id in _NATIVE:

        async def go(client: Any, seen: Seen) -> None:
            await reads(await clients.mode.settle(call(client, case, clients.mode)), clients.mode, seen)

        return partial(client_for, case, clients.mode), go

    async def go_the_way(client: Any, seen: Seen) -> None:
        await way(case, "create.for").run(Call(case, client, clients.mode), seen)

    return (lambda address: nullcontext(clients.for_case(case, re.sub("//[^/]+", f"//{case.host}", address)))), go_the_way


def near_the_truth(found: list[Arrival], case: Case) -> None:
    whole = shown_output(case)
    for arrival in found:
        if whole is not None and arrival.counted is None:
            truth = whole * arrival.share
            assert 0.5 * truth - 10 <= arrival.budgeted <= 1.4 * truth + 10, arrival
