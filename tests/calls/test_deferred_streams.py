"""A stream reads from the network when the app asks and no sooner: here the server holds each event back until the test allows it.

Whatever reads ahead hangs, and fails by the client's timeout.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import Exchange, ReplayServer
from tests.replay.answers import Answer, asked_usage, recorded
from tests.replay.bills import bill_of
from tests.replay.cases import Case, JsonObject, case
from tests.replay.clients import Clients
from tests.replay.ways import Call, has

UNASKED = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
STREAMS = [
    case("openai.chat-completions.stream.async_chat_completion_streaming"),
    case("openai.responses.stream.responses_stream"),
    case("anthropic.messages.stream.sync_messages_stream_version_v1_only"),
    case("anthropic.beta-messages.stream.sync_messages_beta_stream"),
]
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@pytest.mark.parametrize("opened", ["create", "raw"])
@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.id)
def test_each_next_takes_one_event(
    stream: Case, opened: str, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    answer = recorded(stream, without_pings, paced=True)
    exchange = replay.serve(answer)

    async def read() -> None:
        with steps.step("s"):
            await in_lockstep(call_of(stream, exchange, clients), exchange, opened, events_in(answer))

    clients.mode.run(read())
    (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.output_tokens) == (bill_of(stream).input_tokens, bill_of(stream).output_tokens)


def test_asking_for_usage_does_not_read_ahead(clients: Clients, replay: ReplayServer, steps: ModuleType) -> None:
    exchange = replay.serve(asked_usage(UNASKED, USAGE, paced=True))

    async def read() -> None:
        with steps.step("s"):
            await in_lockstep(call_of(UNASKED, exchange, clients), exchange, "create", events_in(recorded(UNASKED)))

    clients.mode.run(read())
    (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.output_tokens) == (11, 7)


# An async manager that nobody enters drops the coroutine that it holds, with us and without.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("stream", [UNASKED, *STREAMS], ids=lambda stream: stream.id)
def test_a_stream_helper_sends_nothing_before_it_is_entered(
    stream: Case, clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    exchange = replay.serve(recorded(stream))
    call = call_of(stream, exchange, clients)
    if not has("stream")(call.resource):
        pytest.skip("no stream helper here")
    with steps.step("s"):
        call.request(call.resource.stream, without=["stream"])
        call.request(call.streaming)
    (record,) = steps.drain_completed_steps()
    assert (exchange.requests, record.llm_calls, record.unmetered_calls) == ([], 0, 0)


def test_an_async_call_nobody_awaits_is_no_call(
    async_clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    exchange = replay.serve(recorded(UNASKED))
    call = call_of(UNASKED, exchange, async_clients)
    with steps.step("s"):
        call.request(call.method).close()
    (record,) = steps.drain_completed_steps()
    assert (exchange.requests, record.llm_calls, record.unmetered_calls) == ([], 0, 0)


@pytest.mark.parametrize("stream", [UNASKED, *STREAMS], ids=lambda stream: stream.id)
def test_a_cancelled_read_is_a_call_of_a_cancelled_step(
    stream: Case, async_clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    exchange = replay.serve(recorded(stream, without_pings, paced=True))
    call = call_of(stream, exchange, async_clients)

    async def read_all(first_read: asyncio.Event) -> None:
        with steps.step("s"):
            async for _ in call.mode.each(await call.make(call.method)):
                first_read.set()

    async def cancel() -> None:
        first_read = asyncio.Event()
        reading = asyncio.create_task(read_all(first_read))
        exchange.allow()
        await first_read.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    async_clients.mode.run(cancel())
    exchange.allow(len(recorded(stream).chunks))
    (record,) = steps.drain_completed_steps()
    assert (record.status, record.llm_calls, record.output_tokens) == ("cancelled", 1, 0)


def call_of(stream: Case, exchange: Exchange, clients: Clients) -> Call:
    return Call(stream, clients.for_case(stream, exchange.url_at(stream.host)), clients.mode)


async def in_lockstep(call: Call, exchange: Exchange, opened: str, events: int) -> None:
    stream = await (call.make(call.method) if opened == "create" else parsed(call))
    for _ in range(events):
        exchange.allow()
        await call.mode.pull(stream)
    exchange.allow(len(recorded(call.case).chunks))
    with pytest.raises(StopAsyncIteration):
        await call.mode.pull(stream)


async def parsed(call: Call) -> Any:
    response = await call.make(call.raw)
    return await call.mode.settle(response.parse())


def without_pings(event: JsonObject) -> JsonObject | None:
    return None if event.get("type") == "ping" else event


def events_in(answer: Answer) -> int:
    """The events that reach the app: all but the one that says that the stream is done."""
    return sum(b"[DONE]" not in chunk for chunk in answer.chunks)
