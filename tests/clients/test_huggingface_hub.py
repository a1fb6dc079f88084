"""huggingface_hub: the inference client, for whoever serves the model."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Spans
from tests.replay.answers import Answer, recorded
from tests.replay.bills import UNMETERED_CALL, Bill
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.native import HELLO, App, huggingface, json_answer

client_library = pytest.importorskip("huggingface_hub")

STREAM = case("huggingface.chat-completions.stream.cancel_recorded_provider_stream_huggingface")
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
CHAT = {"id": "1", "created": 1, "model": "meta-llama/Llama-3.1-8B-Instruct", "choices": [CHOICE], "usage": USAGE}


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(huggingface, clients.mode, replay)


@pytest.mark.parametrize("path", ["chat_completion", "chat.completions.create"])
def test_a_chat_is_billed(path: str, app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        method = client
        for name in path.split("."):
            method = getattr(method, name)
        await app.mode.settle(method(messages=HELLO))

    record, _ = app.run(steps, (json_answer(CHAT),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=12, output_tokens=5)
    assert record.model == CHAT["model"]


def test_a_stream_that_tells_no_usage_is_unmetered(app: App, steps: ModuleType) -> None:
    def without_usage(event: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in event.items() if name != "usage"}

    async def go(client: Any) -> None:
        async for _ in app.mode.each(await app.mode.settle(client.chat_completion(HELLO, stream=True))):
            pass

    record, _ = app.run(steps, (recorded(STREAM, without_usage),), go)
    assert Bill.of_record(record) == UNMETERED_CALL


@pytest.mark.parametrize("is_named", [True, False], ids=["by name", "by position"])
def test_what_was_asked_counts_where_no_usage_is_reported(is_named: bool, app: App, steps: ModuleType) -> None:
    long = [{"role": "user", "content": "four " * 7_000}]
    answer = {name: value for name, value in CHAT.items() if name != "usage"}

    async def go(client: Any) -> None:
        await app.mode.settle(client.chat_completion(messages=long) if is_named else client.chat_completion(long))

    with pytest.raises(steps.StepBudgetExceeded):
        app.run(steps, (json_answer(answer),), go, {"max_tokens": 9_000})


def test_generated_text_is_billed_by_its_details(app: App, steps: ModuleType) -> None:
    details = {
        "finish_reason": "length",
        "generated_tokens": 5,
        "prefill": [{"id": 1, "logprob": 0, "text": "a"}],
        "tokens": [],
    }
    said = [{"generated_text": "hi", "details": details}]

    async def go(client: Any) -> None:
        await app.mode.settle(client.text_generation("a", details=True, decoder_input_details=True))

    record, _ = app.run(steps, (json_answer(said),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=1, output_tokens=5)


def test_generated_text_without_details_is_unmetered(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        assert await app.mode.settle(client.text_generation("a")) == "hi"

    record, _ = app.run(steps, (json_answer([{"generated_text": "hi"}]),), go)
    assert Bill.of_record(record) == UNMETERED_CALL


def test_any_other_task_is_a_call_without_tokens(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.summarization("long"))

    record, _ = app.run(steps, (json_answer([{"summary_text": "hi"}]),), go)
    assert Bill.of_record(record) == UNMETERED_CALL


def test_a_provider_behind_the_router_is_named_and_priced_as_such(
    sync_clients: Clients, replay: ReplayServer, instrumented: Any, spans: Spans
) -> None:
    exchange = replay.serve(json_answer({**CHAT, "model": "meta-llama/llama-3.1-8b-instruct"}))
    kind = client_library.InferenceClient
    with instrumented(tracer_provider=spans.provider, call_spans=True) as steps:
        client = kind(provider="novita", token="test", base_url=None, model=None)
        client.model = f"{replay.address}/{exchange.token}/v1"
        with steps.step("s"):
            client.chat_completion(HELLO)
        (record,) = steps.drain_completed_steps()
    (span,) = spans.finished("chat")
    assert (span.attributes or {})["gen_ai.provider.name"] == "huggingface_novita"
    assert (record.unpriced_calls, record.cost_usd > 0) == (0, True)


def test_a_server_that_fails_is_no_call(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        with pytest.raises(Exception, match="503"):
            await app.mode.settle(client.chat_completion(HELLO))

    record, _ = app.run(steps, (Answer(503, (b"{}",)),), go)
    assert record.llm_calls == 0
