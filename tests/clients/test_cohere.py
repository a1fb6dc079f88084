"""cohere: what is billed is not what was processed, answers name no model, batches go out from threads."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import recorded
from tests.replay.bills import Bill
from tests.replay.cases import CASES, case
from tests.replay.clients import Clients
from tests.replay.native import HELLO, App, cohere, json_answer, native_bill

pytest.importorskip("cohere")

PRICED = {each["id"]: each for each in json.loads((CASES / "pricing" / "cases.json").read_text())}
STREAM = case("cohere.v2-chat.stream.stream_with_events_with_content")
EMBEDDED = {"id": "1", "embeddings": {"float": [[0.1]]}, "texts": ["a"], "response_type": "embeddings_by_type"}
OLD_EMBEDDED = {"id": "1", "embeddings": [[0.1]], "texts": ["a"], "response_type": "embeddings_floats"}
SAID = {
    "id": "1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
}


def meta(**billed: float) -> dict[str, Any]:
    return {"meta": {"api_version": {"version": "2"}, "billed_units": billed}}


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(cohere, clients.mode, replay)


def test_a_client_and_a_method_from_before_patching_are_billed(app: App) -> None:
    import otel_harn_steps

    exchange = app.server.serve(recorded(case("cohere.v2-chat.tool_choice_matrix_required-cohere_")))
    with cohere(app.mode, f"{app.server.address}/{exchange.token}") as client:
        chat = client.chat
        otel_harn_steps.instrument()
        try:

            async def in_a_step() -> None:
                with otel_harn_steps.step("s"):
                    await app.mode.settle(chat(model="command-r7b-12-2024", messages=HELLO))

            app.mode.run(in_a_step())
        finally:
            otel_harn_steps.uninstrument()
    (record,) = otel_harn_steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=33, output_tokens=22)


def test_a_raw_stream_is_billed_when_it_has_been_read(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        async with app.mode.entered(
            client.with_raw_response.chat_stream(model="command-r-08-2024", messages=HELLO)
        ) as response:
            assert response.status_code == 200
            assert len([event async for event in app.mode.each(response.data)]) == 40

    record, _ = app.run(steps, (recorded(STREAM),), go)
    assert Bill.of_record(record) == native_bill(STREAM)


def test_a_raw_stream_that_is_never_entered_is_no_call(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        client.with_raw_response.chat_stream(model="command-r-08-2024", messages=HELLO)

    record, requests = app.run(steps, (recorded(STREAM),), go)
    assert (requests, record.llm_calls) == (0, 0)


def test_embeddings_are_billed_by_their_input(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(
            client.embed(model="embed-v4.0", input_type="search_document", texts=["a"], embedding_types=["float"])
        )

    record, _ = app.run(steps, (json_answer({**EMBEDDED, **meta(input_tokens=7)}),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=7)
    assert record.cost_usd == pytest.approx(7 * 0.12e-6, abs=1e-15)


def test_every_batch_of_an_old_embedding_is_billed_and_none_twice(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.embed(model="embed-v4.0", input_type="search_document", texts=["a"] * 100))

    record, requests = app.run(steps, (json_answer({**OLD_EMBEDDED, **meta(input_tokens=7)}),), go, version=1)
    assert (requests, record.input_tokens, record.unmetered_calls) == (2, 14, 0)


def test_what_is_not_billed_by_tokens_has_no_known_price(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(
            client.embed(model="embed-v4.0", input_type="image", images=["data:"], embedding_types=["float"])
        )
        await app.mode.settle(client.rerank(model="rerank-v3.5", query="a", documents=["b"]))

    ranked = {"id": "1", "results": [{"index": 0, "relevance_score": 0.5}], **meta(search_units=1)}
    record, _ = app.run(steps, (json_answer({**EMBEDDED, **meta(images=1)}), json_answer(ranked)), go)
    assert (record.llm_calls, record.input_tokens, record.cost_usd, record.unpriced_calls) == (2, 0, 0, 2)


def test_a_search_has_the_price_that_the_user_gives_it(app: App, instrumented: Any) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.rerank(model="rerank-v3.5", query="a", documents=["b"]))

    ranked = {"id": "1", "results": [{"index": 0, "relevance_score": 0.5}], **meta(search_units=1)}
    with instrumented(prices={"cohere:rerank-v3.5": {"requests_kcount": 2}}) as steps:
        record, _ = app.run(steps, (json_answer(ranked),), go)
    assert (record.cost_usd, record.unpriced_calls) == (0.002, 0)


def test_an_answer_that_tells_no_billed_units_is_unmetered(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(model="command-r", messages=HELLO))

    record, _ = app.run(steps, (json_answer(SAID),), go)
    assert (record.llm_calls, record.unmetered_calls) == (1, 1)


@pytest.mark.parametrize(("cached", "of_billed"), [(0, 0), (144, 0), (208, 8), (212, 12), (300, 12)])
def test_cached_tokens_are_the_users_where_they_are_more_than_cohere_added(
    cached: int, of_billed: int, app: App, steps: ModuleType
) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(model="command-r7b-12-2024", messages=HELLO))

    usage = {"billed_units": {"input_tokens": 12, "output_tokens": 36}, "tokens": {"input_tokens": 212}}
    record, _ = app.run(steps, (json_answer({**SAID, "usage": {**usage, "cached_tokens": cached}}),), go)
    bill = Bill(llm_calls=1, input_tokens=12, output_tokens=36, cache_read_tokens=of_billed)
    assert Bill.of_record(record) == bill
    assert record.cost_usd == pytest.approx(12 * 0.0375e-6 + 36 * 0.15e-6, abs=1e-15)  # no cheaper for that


def test_processed_tokens_count_where_nothing_is_billed_by_tokens(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(model="command-r7b-12-2024", messages=HELLO))

    usage = {"tokens": {"input_tokens": 212, "output_tokens": 36}, "cached_tokens": 208}
    record, _ = app.run(steps, (json_answer({**SAID, "usage": usage}),), go)
    bill = Bill(llm_calls=1, input_tokens=212, output_tokens=36, cache_read_tokens=208)
    assert Bill.of_record(record) == bill


def test_a_budget_error_keeps_the_clients_own_answer(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        with pytest.raises(steps.StepBudgetExceeded) as caught:
            await app.mode.settle(client.chat(model="command-r", messages=HELLO))
        assert caught.value.response.message.content[0].text == "hi"
        raise caught.value

    said = {**SAID, "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 5}}}
    with pytest.raises(steps.StepBudgetExceeded):
        app.run(steps, (json_answer(said),), go, {"max_tokens": 1})


def test_a_worked_price_is_met_exactly(app: App, steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "otel_harn_steps._calls.settlement.time_ns", lambda: 1_794_744_000_000_000_000
    )  # 2026-11-15T12:00Z
    priced = PRICED["C1"]

    async def go(client: Any) -> None:
        await app.mode.settle(client.chat(model=priced["request_model"], messages=HELLO))

    record, _ = app.run(steps, (json_answer({**SAID, **priced["raw"]}),), go)
    assert record.cost_usd == float(priced["usd_expected"])
