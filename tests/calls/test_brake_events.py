"""Every recorded stream, stopped by a budget at every event: there, closed, one row, and a bill near the truth."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import Seen
from tests.instrumented import instrumented
from tests.replay.answers import recorded
from tests.replay.arrivals import arrivals, first_beyond, shown_output
from tests.replay.brakes import Brakes
from tests.replay.cases import Case, all_cases
from tests.replay.clients import Clients
from tests.replay.native import call, client_for, native_cases, reads
from tests.replay.stainless import LIBRARIES, Library, clients_of, trips_of
from tests.replay.stops import check_stops, is_near
from tests.replay.ways import Call, way, ways_of
from tests.steps.sinks import Ledger

_NATIVE = {case.id for case in native_cases(stream=True)}
_MOST_BYTES_AROUND = 90
"""What a tool's use has around it in tokens, in bytes."""
Opens = Callable[[str], AbstractContextManager[Any]]
Reads = Callable[[Any, Seen], Awaitable[None]]
pytestmark = pytest.mark.usefixtures("own_faults_dropped")


def _is_stoppable(case: Case) -> bool:
    is_answer = case.stream and case.status == 200 and not case.in_stream_error
    has_client = case.id in _NATIVE or (case.client in {"openai", "anthropic"} and bool(ways_of(case)))
    return is_answer and has_client and any(first_beyond(arrivals(case)))


STREAMS = [case for case in all_cases().values() if _is_stoppable(case)]
OF_LIBRARIES = [
    (library, trip.case)
    for library in LIBRARIES
    for trip in trips_of(library)
    if trip.way.name == "create.for" and trip.case in STREAMS
]


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
    check_stops(budgets[:: max(1, len(budgets) // 2)], case, *_reading(case, clients), brakes, ledger)


@pytest.mark.left_out
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)
def test_a_stream_is_stopped_at_each_of_its_events(
    case: Case, clients: Clients, brakes: Brakes, ledger: Ledger
) -> None:
    budgets = list(first_beyond(arrivals(case)))
    every = 1 if clients.mode.name == "sync" else max(1, len(budgets) // 10)
    check_stops(budgets[::every], case, *_reading(case, clients), brakes, ledger)


@pytest.mark.left_out
@pytest.mark.parametrize("given", OF_LIBRARIES, ids=lambda given: f"{given[0].name}-{given[1].id}")
def test_a_stream_of_another_generated_client_is_stopped_at_each_of_its_events(
    given: tuple[Library, Case],
    replay: ReplayServer,
    steps: ModuleType,
    caplog: pytest.LogCaptureFixture,
    ledger: Ledger,
) -> None:
    library, case = given
    with clients_of(library, replay.address, "sync") as clients:
        brakes = Brakes(clients.mode, replay, steps, caplog)
        check_stops(list(first_beyond(arrivals(case))), case, *_reading(case, clients), brakes, ledger)


@pytest.mark.parametrize("case", [case for case in all_cases().values() if case.stream], ids=lambda case: case.id)
def test_what_a_budget_counts_of_a_stream_grows_with_what_comes(case: Case) -> None:
    for before, after in pairwise(arrivals(case)):
        assert after.budgeted >= before.budgeted
        if after.counted is None:
            assert after.budgeted - before.budgeted <= max(1, after.size + _MOST_BYTES_AROUND * (after.size > 0))
        assert is_near(after, shown_output(case)), after


def _reading(case: Case, clients: Clients) -> tuple[Opens, Reads]:
    """How a client for this case is opened at an address, and how it reads the stream."""
    mode = clients.mode
    if case.id in _NATIVE and case.client not in {"openai", "anthropic"}:

        async def go(client: Any, seen: Seen) -> None:
            await reads(await mode.settle(call(client, case, mode)), mode, seen)

        return partial(client_for, case, mode), go

    def opens(address: str) -> AbstractContextManager[Any]:
        return nullcontext(clients.for_case(case, re.sub("//[^/]+", f"//{case.host}", address)))

    async def go_that_way(client: Any, seen: Seen) -> None:
        await way(case, "create.for").run(Call(case, client, mode), seen)

    return opens, go_that_way


# -- what a provider counts as it goes ---------------------------------------------------------------------------------


def test_where_each_event_says_what_has_been_used_that_stops_the_stream_and_is_billed(
    replay: ReplayServer, steps: ModuleType, ledger: Ledger, clients: Clients
) -> None:
    case = all_cases()["openai.chat-completions.stream.async_chat_completion_streaming"]
    counts = iter(range(0, 1_000, 100))

    def counting(event: dict[str, Any]) -> dict[str, Any]:
        so_far = {"prompt_tokens": 7, "completion_tokens": next(counts)}
        return {**event, "usage": so_far}

    exchange = replay.serve(recorded(case, counting))
    client = clients.for_case(case, exchange.url_at(case.host))
    seen = Seen("")
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_output_tokens=299, stop_streams=True):
        clients.mode.run(way(case, "create.for").run(Call(case, client, clients.mode), seen))
    (row,) = ledger.of("settled")
    assert (row.input_tokens, row.output_tokens, row.estimated_tokens, row.certainty) == (7, 300, 0, "measured")
    assert len(seen.values("event")) == 3


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "left"])
def test_a_count_of_no_output_is_no_count_where_some_has_come(
    is_stopped: bool, replay: ReplayServer, steps: ModuleType, ledger: Ledger, clients: Clients
) -> None:
    case = all_cases()["openai.chat-completions.stream.async_chat_completion_streaming"]
    first = {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}
    exchange = replay.serve(recorded(case, lambda event: {**event, "usage": first}))
    client = clients.for_case(case, exchange.url_at(case.host))

    async def three_events() -> None:
        stream = await clients.mode.settle(client.chat.completions.create(**case.request))
        for _ in range(3):
            await clients.mode.pull(stream)
        await clients.mode.settle(stream.close())

    limits = {"max_output_tokens": 1 if is_stopped else 100}
    with pytest.raises(steps.StepBudgetExceeded) if is_stopped else nullcontext():
        with steps.step("s", stop_streams=True, **limits):
            clients.mode.run(three_events())
    (row,) = ledger.of("settled")
    assert (row.input_tokens, row.output_tokens, row.estimated_tokens) == (7, None, 2)


@pytest.mark.parametrize(
    ("limit", "billed"), [(1, 152), (200, 241), (250, 265)], ids=["thoughts", "second turn", "later"]
)
def test_what_google_counts_of_a_turn_is_added_to_the_turns_before(
    limit: int, billed: int, clients: Clients, brakes: Brakes, ledger: Ledger
) -> None:
    case = all_cases()["google_genai.streamGenerateContent.stream.code_execution_stream"]
    opens, go = _reading(case, clients)
    with brakes.opened(case, opens) as braked:
        braked(limit, lambda client: go(client, Seen(""))).check()
    (row,) = ledger.of("settled")
    assert (row.output_tokens, row.estimated_tokens) == (billed, 0)
