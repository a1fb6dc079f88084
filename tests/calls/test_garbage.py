"""What a call leaves behind is freed when it is over: a busy app must not wait for the garbage collector because of us."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Instrumented
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of

CASES = (
    case("openai.chat-completions.chat_tools"),
    case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest"),
    case("anthropic.messages.TestTokenCounts.anthropic"),
)
WAYS = {"create", "create.for", "raw.parse", "streaming.iter_bytes", "stream.final"}
TRIPS = [Trip(each, way) for each in CASES for way in ways_of(each) if way.name in WAYS]


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """What only the collector could free, once it is asked."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


# Async clients leave cycles of their own, which hold the context of the call.
@pytest.mark.parametrize("trip", TRIPS, ids=str)
def test_a_call_leaves_no_cycle_of_ours(
    trip: Trip, sync_clients: Clients, replay: ReplayServer, instrumented: Instrumented, garbage: list[Any]
) -> None:
    with instrumented() as steps:

        async def in_a_step() -> None:
            with steps.step("s"):
                await travel(trip, sync_clients, replay)

        sync_clients.mode.run(in_a_step())
        steps.drain_completed_steps()
        gc.collect()
        assert [each for each in garbage if _is_of_a_call(type(each).__module__)] == []


def _is_of_a_call(module: str) -> bool:
    others = ("otel_harn_steps._patching", "otel_harn_steps.testing")
    return module.startswith("otel_harn_steps") and not module.startswith(others)
