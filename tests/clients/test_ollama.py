"""ollama: nothing is sent before a stream is read, and a prompt from the cache has no count."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC
from tests.replay.answers import Answer, recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.native import HELLO, App, json_answer, native_bill, ollama

client_library = pytest.importorskip("ollama")

STREAM = case("ollama.chat.stream.ollama_streaming_chat_legacy")
PLAIN = case("ollama.chat.ollama_async_chat_legacy")


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(ollama, clients.mode, replay)


def test_a_prompt_without_a_count_leaves_the_call_partly_unmetered(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(model="llama3", messages=HELLO))

    record, _ = app.run(steps, (recorded(PLAIN),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, unmetered_calls=1, output_tokens=79)


def test_a_local_model_costs_what_the_user_says_and_is_free_otherwise(app: App, instrumented: Any) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.generate(model="llama3", prompt="hi"))

    script = (recorded(case("ollama.generate.ollama_generation_legacy")),)
    with instrumented() as steps:
        free, _ = app.run(steps, script, go)
    with instrumented(prices={"ollama:*": {"input_mtok": 1, "output_mtok": 1}}) as steps:
        priced, _ = app.run(steps, script, go)
    assert (free.unpriced_calls, free.cost_usd) == (priced.unpriced_calls, 0) == (0, 0)
    assert priced.cost_usd == (priced.input_tokens + priced.output_tokens) / 1_000_000


@pytest.mark.parametrize(
    ("usage", "bill"), [({"prompt_eval_count": 4}, Bill(llm_calls=1, input_tokens=4)), ({}, UNMETERED_CALL)]
)
def test_embeddings_are_billed_by_their_input(usage: dict[str, int], bill: Bill, app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.embed(model="nomic-embed-text", input="hi"))

    record, _ = app.run(steps, (json_answer({"model": "nomic-embed-text", "embeddings": [[0.1]], **usage}),), go)
    assert Bill.of_record(record) == bill


def test_what_asks_no_model_is_no_call(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.pull("llama3"))
        async for _ in app.mode.each(await app.mode.settle(client.pull("llama3", stream=True))):
            pass

    record, requests = app.run(steps, (json_answer({"status": "success"}),), go)
    assert (requests, Bill.of_record(record)) == (2, NO_CALL)


def test_an_answer_that_the_client_can_not_read_is_paid_for_all_the_same(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        with pytest.raises(ValueError, match="message"):
            await app.mode.settle(client.chat(model="llama3", messages=HELLO))

    record, _ = app.run(
        steps, (json_answer({"model": "llama3", "message": 1, "prompt_eval_count": 4, "eval_count": 2}),), go
    )
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=4, output_tokens=2)


def test_a_server_that_is_not_there_is_no_call(steps: ModuleType) -> None:
    with ollama(SYNC, "http://127.0.0.1:9") as client, steps.step("s"), pytest.raises(ConnectionError):
        client.chat(model="llama3", messages=HELLO)
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == NO_CALL


def test_the_steps_default_model_is_asked_where_the_app_names_none(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(messages=HELLO))

    record, _ = app.run(
        steps, (json_answer({"message": {"role": "assistant"}, "eval_count": 1}),), go, {"model": "llama3"}
    )
    assert record.model == "llama3"


def test_a_function_of_the_module_is_billed(
    replay: ReplayServer, steps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = replay.serve(recorded(PLAIN))
    with ollama(SYNC, f"{replay.address}/{exchange.token}") as client:
        monkeypatch.setattr(client_library.chat.__self__, "_client", client._client)
        with steps.step("s"):
            client_library.chat(model="llama3", messages=HELLO)
    (record,) = steps.drain_completed_steps()
    assert record.output_tokens == 79


# -- a stream is sent when it is first read ----------------------------------------------------------------------------


async def read(app: App, stream: Any) -> None:
    async for _ in app.mode.each(stream):
        pass


def test_a_stream_belongs_to_the_step_in_which_it_is_sent(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        with steps.step("asks"):
            stream = await app.mode.settle(client.chat(model="llama3", messages=HELLO, stream=True))
        with steps.step("reads"):
            await read(app, stream)

    exchange = app.server.serve(recorded(STREAM))
    with ollama(app.mode, f"{app.server.address}/{exchange.token}") as client:
        app.mode.run(go(client))
    asks, reads = steps.drain_completed_steps()
    assert (Bill.of_record(asks), Bill.of_record(reads)) == (NO_CALL, native_bill(STREAM))


def test_a_stream_that_is_read_outside_of_every_step_passes_through(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await read(app, await app.mode.settle(client.chat(model="llama3", messages=HELLO, stream=True)))

    exchange = app.server.serve(recorded(STREAM))
    with ollama(app.mode, f"{app.server.address}/{exchange.token}") as client:
        app.mode.run(go(client))
    assert (len(exchange.requests), steps.drain_completed_steps()) == (1, [])


def test_an_exhausted_step_sends_no_stream(app: App, steps: ModuleType) -> None:
    raised: list[Exception] = []

    async def go(client: Any) -> None:
        for _ in range(2):
            stream = await app.mode.settle(client.chat(model="llama3", messages=HELLO, stream=True))
            try:
                await read(app, stream)
            except steps.StepBudgetExceeded as error:
                raised.append(error)
        raise raised[0]

    exchange = app.server.serve(recorded(STREAM))
    with ollama(app.mode, f"{app.server.address}/{exchange.token}") as client:

        async def in_a_step() -> None:
            with steps.step("s", max_tokens=10):
                await go(client)

        with pytest.raises(steps.StepBudgetExceeded):
            app.mode.run(in_a_step())
    (record,) = steps.drain_completed_steps()
    assert (len(exchange.requests), len(raised), Bill.of_record(record)) == (1, 2, native_bill(STREAM))


def test_a_stream_that_is_rejected_is_no_call(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        stream = await app.mode.settle(client.chat(model="nobody", messages=HELLO, stream=True))
        with pytest.raises(client_library.ResponseError):
            await read(app, stream)

    record, requests = app.run(steps, (json_answer({"error": "no such model"}, 404),), go)
    assert (requests, Bill.of_record(record)) == (1, NO_CALL)


def test_an_error_within_a_stream_goes_to_the_app_and_the_call_counts(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        stream = await app.mode.settle(client.chat(model="llama3", messages=HELLO, stream=True))
        with pytest.raises(client_library.ResponseError):
            await read(app, stream)

    lines = b'{"model": "llama3", "message": {"role": "assistant", "content": "h"}}\n', b'{"error": "out of memory"}\n'
    record, _ = app.run(steps, (Answer(200, lines, streamed=True),), go)
    assert Bill.of_record(record) == UNMETERED_CALL
