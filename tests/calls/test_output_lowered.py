"""What a call allows is lowered to what there is room for, and the lowered value is what is sent: for every client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._cost.estimate import output_cap
from otel_harn_steps.testing import Exchange, ReplayServer
from otel_harn_steps.testing._modes import Mode
from tests.replay.answers import recorded
from tests.replay.cases import Case
from tests.replay.clients import Clients
from tests.replay.native import call, client_for, native_cases
from tests.replay.runs import Trip, travel, trips

ROOM = 40
_SET = {
    "google_genai": {"config": {"max_output_tokens": 5_000}},
    "google_vertex": {"config": {"max_output_tokens": 5_000}},
    "mistral": {"max_tokens": 5_000},
    "cohere": {"max_tokens": 5_000},
    "ollama": {"options": {"num_predict": 5_000}},
    "huggingface": {"max_tokens": 5_000},
}
NATIVE = [
    case
    for case in native_cases()
    if case.status == 200
    and case.endpoint not in {"interactions", "batchEmbedContents", "embeddings", "v2/embed", "v2/rerank"}
]
ONE_EACH = list({(case.provider, case.endpoint, case.stream): case for case in NATIVE}.values())


GENERATED = list(
    {
        (trip.case.client, trip.case.endpoint, trip.case.stream, trip.way.name): trip
        for trip in trips()
        if trip.case.status == 200
        and trip.case.endpoint in {"chat.completions", "completions", "responses", "messages", "beta.messages"}
        and not {"max_completion_tokens", "n"} & trip.case.request.keys()
    }.values()
)


@pytest.fixture
def room(steps: ModuleType) -> Callable[[], Any]:
    return lambda: steps.step("s", max_output_tokens=ROOM, preflight="reserve", cap_output=True, stop_streams=False)


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.id)
@pytest.mark.filterwarnings("ignore")
def test_a_client_with_its_own_protocol_sends_the_lowered_value(
    case: Case, clients: Clients, replay: ReplayServer, room: Callable[[], Any]
) -> None:
    mode = clients.mode
    exchange = replay.serve(recorded(case))
    with client_for(case, mode, f"{replay.address}/{exchange.token}") as client:
        mode.run(_called(room, mode, lambda: call(client, case, mode, **_SET[case.provider])))
    assert output_cap(exchange.requests[0].json()) == ROOM


@pytest.mark.parametrize("trip", GENERATED, ids=str)
def test_a_generated_client_sends_the_lowered_value(
    trip: Trip, clients: Clients, replay: ReplayServer, room: Callable[[], Any]
) -> None:
    name = "max_output_tokens" if trip.case.endpoint == "responses" else "max_tokens"
    changed = replace(trip, case=replace(trip.case, request={**trip.case.request, name: 5_000}))

    async def go() -> Exchange:
        with suppress(StepBudgetExceeded), room():
            run = await travel(changed, clients, replay)
        return run.exchange

    requests = clients.mode.run(go()).requests
    if not requests:
        pytest.skip("the client refuses to send it")
    assert [sent.json()[name] for sent in requests] == [ROOM]


async def _called(room: Callable[[], Any], mode: Mode, make: Callable[[], Any]) -> None:
    # The recorded answer may be longer than what was allowed, and some answers are not understood by every client.
    with suppress(Exception), room():
        result = await mode.settle(make())
        if hasattr(result, "__next__") or hasattr(result, "__anext__"):
            async for _ in mode.each(result):
                pass
