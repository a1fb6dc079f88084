"""What is held for a call comes back, whichever way the call ends: another one finds the room."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, step
from otel_harn_steps.testing import Answer, Received, ReplayServer
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider

ROOM = {"max_tokens": 200, "preflight": "reserve", "stop_streams": False}
"""Room for one call that allows 150 tokens, and for none beside it."""


@pytest.fixture
def llm(replay: ReplayServer) -> Iterator[Provider]:
    with instrumented(prices=PRICES), provider(replay) as made:
        yield made


def finds_room(llm: Provider) -> None:
    """Nothing is held any more: a call that needs all of the room is sent."""
    llm.ask(1, 1, max_tokens=150)


def finds_none(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught:
        llm.ask(1, 1, max_tokens=150)
    assert caught.value.projected
    caught.value.accept()


class Silent:
    """A provider that never answers."""

    def __init__(self, replay: ReplayServer) -> None:
        self.asked = threading.Event()
        self.exchange = replay.serve(self._answer)
        self.token = self.exchange.token

    def _answer(self, _: Received) -> Answer:
        self.asked.set()
        return Answer(200, (b"{}",), paced=True)


@pytest.fixture
def silent(replay: ReplayServer) -> Silent:
    return Silent(replay)


def client_at(replay: ReplayServer, exchange: Any, kind: Any = openai.OpenAI, **options: Any) -> Any:
    return kind(api_key="k", base_url=f"{replay.address}/{exchange.token}", **{"max_retries": 0, **options})


def asked(client: Any, **more: Any) -> Any:
    given = {"model": "model-of-ours", "max_tokens": 150, "messages": [{"role": "user", "content": "hi"}], **more}
    return client.chat.completions.create(**given)


async def test_of_a_call_that_is_cancelled(llm: Provider, replay: ReplayServer, silent: Silent) -> None:
    async with client_at(replay, silent, openai.AsyncOpenAI) as client:
        with step("s", **ROOM) as active:
            task = asyncio.create_task(asked(client))
            await asyncio.to_thread(silent.asked.wait)
            finds_none(llm)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert active.open_calls == 0
            finds_room(llm)


def test_of_a_call_that_times_out(llm: Provider, replay: ReplayServer, silent: Silent) -> None:
    with client_at(replay, silent, timeout=0.05) as client, step("s", **ROOM):
        with pytest.raises(openai.APITimeoutError):
            asked(client)
        finds_room(llm)


def test_of_a_call_that_the_client_tries_again(llm: Provider, replay: ReplayServer) -> None:
    exchange = replay.serve(Answer(500, (b"{}",), headers={"content-type": "application/json", "retry-after-ms": "1"}))
    with client_at(replay, exchange, max_retries=2) as client, step("s", **ROOM):
        with pytest.raises(openai.InternalServerError):
            asked(client)
        assert len(exchange.requests) == 3
        finds_room(llm)


def test_of_a_call_that_cannot_be_sent(llm: Provider) -> None:
    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1", max_retries=0) as client, step("s", **ROOM):
        with pytest.raises(openai.APIConnectionError):
            asked(client)
        finds_room(llm)


def test_of_a_call_whose_wrapper_fails(llm: Provider) -> None:
    def framework() -> None:
        asked(llm.client, messages=[{"role": "user", "content": '{"in": 1, "out": 1}'}])
        raise KeyError("the framework's own")

    with step("s", **ROOM):
        with pytest.raises(KeyError):
            framework()
        finds_room(llm)


def test_of_a_stream_whose_reader_fails(llm: Provider) -> None:
    with step("s", **{**ROOM, "max_tokens": 350}):
        stream = llm.ask(1, 20, max_tokens=200, stream=True)
        with pytest.raises(KeyError):
            for _ in stream:
                raise KeyError("the app's own")
        stream.close()
        finds_room(llm)


def test_of_a_job_in_the_background(llm: Provider, replay: ReplayServer) -> None:
    body = b'{"id": "resp_1", "object": "response", "status": "queued", "background": true, "model": "m", "output": []}'
    exchange = replay.serve(Answer(200, (body,), headers={"content-type": "application/json"}))
    with client_at(replay, exchange) as client, step("outer", scope="tree", **ROOM):
        with step("inner"):
            client.responses.create(model="m", input="hi", background=True, max_output_tokens=150)
        finds_room(llm)


def test_of_a_step_that_is_a_generator(llm: Provider) -> None:
    @step("made")
    def making() -> Iterator[str]:
        for event in llm.ask(1, 20, max_tokens=150, stream=True):
            yield event.choices[0].delta.content

    with step("outer", scope="tree", **ROOM):
        values = making()
        next(values)
        finds_none(llm)
        values.close()
        finds_room(llm)


def test_of_a_thread_that_ends_in_the_middle_of_a_stream(llm: Provider) -> None:
    def work() -> None:
        next(llm.ask(1, 20, max_tokens=150, stream=True))

    with step("s", **ROOM):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
        finds_room(llm)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_holds_nothing_and_its_parent_what_it_held(llm: Provider) -> None:
    with step("s", **ROOM) as active:
        stream = llm.ask(1, 20, max_tokens=150, stream=True)
        next(stream)
        child = os.fork()
        if not child:
            try:
                finds_room(llm)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finds_none(llm)
        for _ in stream:
            pass
        finds_room(llm)
        assert active.llm_calls == 2


def test_a_client_over_another_holds_room_once(llm: Provider, replay: ReplayServer) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.ChatOpenAI(
        model="model-of-ours", api_key="k", base_url=str(llm.client.base_url), max_tokens=150, max_retries=0,
        http_client=llm.client._client,
    )  # fmt: skip
    with step("s", **ROOM):
        model.invoke('{"in": 1, "out": 1}')
        finds_room(llm)


def test_a_call_that_is_refused_holds_nothing(llm: Provider) -> None:
    with step("s", **ROOM):
        for _ in range(3):
            with pytest.raises(StepBudgetExceeded) as caught:
                llm.ask(1, 1, max_tokens=250)
            caught.value.accept()
        finds_room(llm)


def test_a_step_within_gives_back_what_it_held_of_the_step_around_it(llm: Provider) -> None:
    with step("outer", scope="tree", **ROOM) as outer:
        for _ in range(5):
            with step("inner", max_tokens=160, preflight="reserve"):
                llm.ask(1, 1, max_tokens=140)
        finds_room(llm)
        assert outer.total_llm_calls == 6
    assert {record.status for record in harn.drain_completed_steps()} == {"completed"}
