"""What `instrument()` reaches, and what `uninstrument()` leaves behind: nothing."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

import otel_harn_steps
from otel_harn_steps.testing import Exchange, ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import Answer, Received, error, recorded
from tests.replay.bills import UNMETERED_CALL, Bill, bill_of
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.endings import CallersOwnError
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import Call, ways_of

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
MESSAGES = case("anthropic.messages.TestTokenCounts.anthropic")
CHAT_STREAM = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
BOTH = pytest.mark.parametrize("plain", [CHAT, MESSAGES], ids=lambda plain: plain.id)


def call_of(plain: Case, exchange: Exchange, clients: Clients) -> Call:
    return Call(plain, clients.for_case(plain, exchange.url_at(plain.host)), clients.mode)


@BOTH
@pytest.mark.parametrize("bound", ["method", "raw", "streaming"])
def test_a_method_bound_before_instrument_is_billed(
    plain: Case, bound: str, clients: Clients, replay: ReplayServer
) -> None:
    call = call_of(plain, replay.serve(recorded(plain)), clients)
    method = getattr(call, bound)
    otel_harn_steps.instrument()
    try:
        clients.mode.run(in_a_step(call, method, is_manager=bound == "streaming"))
        (record,) = otel_harn_steps.drain_completed_steps()
    finally:
        otel_harn_steps.uninstrument()
    assert Bill.of_record(record) == bill_of(plain)


@BOTH
def test_a_copy_of_a_client_is_billed(plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType) -> None:
    exchange = replay.serve(recorded(plain))
    copy = clients.for_case(plain, exchange.url_at(plain.host)).with_options(max_retries=1)
    call = Call(plain, copy, clients.mode)
    clients.mode.run(in_a_step(call, call.method))
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == bill_of(plain)


@BOTH
def test_instrumenting_twice_bills_once(plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType) -> None:
    steps.instrument()
    call = call_of(plain, replay.serve(recorded(plain)), clients)
    clients.mode.run(in_a_step(call, call.method))
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == bill_of(plain)


@BOTH
def test_a_call_outside_any_step_is_nobodys(
    plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    call = call_of(plain, replay.serve(recorded(plain)), clients)
    clients.mode.run(call.make(call.method))
    assert steps.drain_completed_steps() == []


@BOTH
def test_only_the_clients_that_are_meant_are_patched(
    plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    steps.instrument(clients=["anthropic"])
    call = call_of(plain, replay.serve(recorded(plain)), clients)
    clients.mode.run(in_a_step(call, call.method))
    (record,) = steps.drain_completed_steps()
    assert record.llm_calls == (1 if plain.client == "anthropic" else 0)


@BOTH
def test_after_uninstrument_a_call_is_not_billed(
    plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    steps.uninstrument()
    call = call_of(plain, replay.serve(recorded(plain)), clients)
    clients.mode.run(in_a_step(call, call.method))
    (record,) = steps.drain_completed_steps()
    assert record.llm_calls == 0


@pytest.mark.parametrize("library", ["openai", "anthropic"])
def test_uninstrument_restores_every_original(library: str) -> None:
    before = methods_of(library)
    otel_harn_steps.instrument()
    during = methods_of(library)
    otel_harn_steps.uninstrument()
    assert during != before
    assert methods_of(library) == before


@pytest.mark.parametrize("trip", [Trip(CHAT_STREAM, way) for way in ways_of(CHAT_STREAM)], ids=str)
def test_a_server_that_rejects_our_asking_is_asked_no_more(trip: Trip, twice: Twice) -> None:
    def rejects(received: Received) -> Answer:
        if "stream_options" in received.json():
            return error(400, "Unrecognized request argument supplied: stream_options")
        return recorded(CHAT_STREAM)

    outcome = twice(trip, rejects)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == UNMETERED_CALL


@BOTH
def test_what_the_caller_raises_leaves_the_step_untouched(
    plain: Case, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    own = CallersOwnError("own")
    call = call_of(plain, replay.serve(recorded(plain)), clients)

    async def fail() -> None:
        with steps.step("s"):
            await call.make(call.method)
            raise own

    with pytest.raises(CallersOwnError) as caught:
        clients.mode.run(fail())
    (record,) = steps.drain_completed_steps()
    assert (caught.value, record.status, record.error) == (own, "failed", "own")


async def in_a_step(call: Call, method: object, *, is_manager: bool = False) -> None:
    with otel_harn_steps.step("s"):
        if is_manager:
            async with call.mode.entered(call.request(method)) as response:
                await call.mode.settle(response.read())
        else:
            await call.make(method)


def methods_of(library: str) -> dict[str, int]:
    """The identity of everything in the client library's classes that a patch could replace. (A patch is equal to what it wraps.)"""
    modules = (
        "_base_client",
        "resources.chat.completions",
        "resources.responses",
        "resources.messages",
        "resources.beta.messages",
        "_streaming",
    )
    found: dict[str, int] = {}
    for name in modules:
        try:
            module = importlib.import_module(f"{library}.{name}")
        except ImportError:
            continue
        classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
        found |= {
            f"{name}.{key}.{attribute}": id(value)
            for key, cls in classes.items()
            for attribute, value in vars(cls).items()
        }
    return found
