"""mistralai: chats, agents, conversations, completions of code, embeddings; what is charged next to tokens is not priced by them."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import Answer
from tests.replay.bills import UNMETERED_CALL, Bill
from tests.replay.cases import CASES
from tests.replay.clients import Clients
from tests.replay.native import HELLO, App, json_answer, mistral

pytest.importorskip("mistralai")

PRICED = {each["id"]: each for each in json.loads((CASES / "pricing" / "cases.json").read_text())}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
BILL = Bill(llm_calls=1, input_tokens=12, output_tokens=5)
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "mistral-small-latest",
    "choices": [CHOICE],
    "usage": USAGE,
}
OUTPUT = {
    "object": "entry",
    "type": "message.output",
    "role": "assistant",
    "content": "hi",
    "model": "mistral-small-latest",
}


def events(*bodies: tuple[str, dict[str, Any]]) -> Answer:
    chunks = tuple(f"event: {name}\ndata: {json.dumps(body)}\n\n".encode() for name, body in bodies)
    return Answer(200, chunks, streamed=True, headers={"content-type": "text/event-stream"})


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(mistral, clients.mode, replay)


def method(app: App, resource: Any, name: str) -> Any:
    return getattr(resource, f"{name}_async" if app.mode.name == "async" else name)


@pytest.mark.parametrize(
    ("of", "name", "given"),
    [
        ("chat", "complete", {"model": "mistral-small-latest", "messages": HELLO}),
        ("fim", "complete", {"model": "codestral-2501", "prompt": "def f"}),
        ("agents", "complete", {"agent_id": "a", "messages": HELLO}),
    ],
)
def test_a_call_of_each_kind_is_billed(of: str, name: str, given: dict[str, Any], app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(method(app, getattr(client, of), name)(**given))

    record, _ = app.run(steps, (json_answer(CHAT),), go)
    assert (Bill.of_record(record), record.model) == (BILL, "mistral-small-latest")


def test_a_structured_answer_is_one_call(app: App, steps: ModuleType) -> None:
    from pydantic import BaseModel

    class Greeting(BaseModel):
        text: str

    async def go(client: Any) -> None:
        parsed = method(app, client.chat, "parse")(
            response_format=Greeting, model="mistral-small-latest", messages=HELLO
        )
        assert (await app.mode.settle(parsed)).choices[0].message.parsed == Greeting(text="hi")

    said = {**CHAT, "choices": [{**CHOICE, "message": {"role": "assistant", "content": '{"text": "hi"}'}}]}
    record, _ = app.run(steps, (json_answer(said),), go)
    assert Bill.of_record(record) == BILL


def test_an_answer_that_the_client_can_not_read_is_paid_for_all_the_same(app: App, steps: ModuleType) -> None:
    raised: list[str] = []

    async def go(client: Any) -> None:
        try:
            await app.mode.settle(method(app, client.chat, "complete")(model="mistral-small-latest", messages=HELLO))
        except Exception as error:  # noqa: BLE001 -- its name differs between versions
            raised.append(type(error).__name__)

    record, _ = app.run(steps, (json_answer({**CHAT, "choices": "none"}),), go)
    assert (len(raised), Bill.of_record(record)) == (1, BILL)


def test_a_conversation_is_billed_with_what_its_connectors_read_and_has_no_known_price(
    app: App, steps: ModuleType
) -> None:
    usage = {**USAGE, "connector_tokens": 100, "connectors": {"web_search": 1}, "total_tokens": 117}
    said = {"object": "conversation.response", "conversation_id": "c", "outputs": [OUTPUT], "usage": usage}

    async def go(client: Any) -> None:
        started = method(app, client.beta.conversations, "start")(model="mistral-small-latest", inputs="hi")
        await app.mode.settle(started)

    record, _ = app.run(steps, (json_answer(said),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=112, output_tokens=5)
    assert record.unpriced_calls == 1


def test_a_streamed_conversation_is_billed_at_its_end(app: App, steps: ModuleType) -> None:
    said = events(
        ("conversation.response.started", {"type": "conversation.response.started", "conversation_id": "c"}),
        ("conversation.response.done", {"type": "conversation.response.done", "usage": USAGE}),
    )

    async def go(client: Any) -> None:
        started = method(app, client.beta.conversations, "start_stream")(model="mistral-small-latest", inputs="hi")
        async with app.mode.entered(await app.mode.settle(started)) as stream:
            assert len([event async for event in app.mode.each(stream)]) == 2

    record, _ = app.run(steps, (said,), go)
    assert Bill.of_record(record) == BILL


def test_audio_is_counted_and_has_no_known_price(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(method(app, client.chat, "complete")(model="voxtral-small-latest", messages=HELLO))

    record, _ = app.run(steps, (json_answer({**CHAT, "usage": {**USAGE, "prompt_audio_seconds": 30}}),), go)
    assert (Bill.of_record(record), record.unpriced_calls) == (BILL, 1)


def test_reading_a_document_is_a_call_without_tokens(app: App, steps: ModuleType) -> None:
    said = {"pages": [], "model": "mistral-ocr-latest", "usage_info": {"pages_processed": 1}}

    async def go(client: Any) -> None:
        document = {"type": "document_url", "document_url": "https://example.org/a.pdf"}
        await app.mode.settle(method(app, client.ocr, "process")(model="mistral-ocr-latest", document=document))

    record, _ = app.run(steps, (json_answer(said),), go)
    assert (Bill.of_record(record), record.model) == (UNMETERED_CALL, "mistral-ocr-latest")


def test_the_steps_default_model_is_asked_where_the_app_names_none(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(method(app, client.chat, "complete")(messages=HELLO))

    exchange = app.server.serve(json_answer(CHAT))
    with mistral(app.mode, f"{app.server.address}/{exchange.token}") as client:

        async def in_a_step() -> None:
            with steps.step("s", model="mistral-tiny"):
                await go(client)

        app.mode.run(in_a_step())
    assert exchange.requests[0].json()["model"] == "mistral-tiny"


def test_a_worked_price_is_met_exactly(app: App, steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "otel_harn_steps._calls.settlement.time_ns", lambda: 1_794_744_000_000_000_000
    )  # 2026-11-15T12:00Z
    priced = PRICED["M1"]

    async def go(client: Any) -> None:
        await app.mode.settle(method(app, client.chat, "complete")(model=priced["request_model"], messages=HELLO))

    record, _ = app.run(steps, (json_answer({**CHAT, **priced["raw"]}),), go)
    assert record.cost_usd == float(priced["usd_expected"])
