"""google-genai: each request of a loop is billed, thoughts and tools count, searches have their fee."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Instrumented, Spans
from tests.replay.answers import Answer, recorded
from tests.replay.bills import UNMETERED_CALL, Bill
from tests.replay.cases import CASES, case
from tests.replay.clients import Clients
from tests.replay.native import App, google, json_answer, ollama

genai = pytest.importorskip("google.genai")
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # of version 1

PRO = "gemini-3.1-pro-preview"
PRICED = {each["id"]: each for each in json.loads((CASES / "pricing" / "cases.json").read_text())}


def answer(prompt: int, written: int, part: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [part or {"text": "hi"}]}
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": written, "totalTokenCount": prompt + written}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", **more}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
    }


def events(*bodies: dict[str, Any]) -> Answer:
    chunks = tuple(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)
    return Answer(200, chunks, streamed=True, headers={"content-type": "text/event-stream"})


CALLS_A_TOOL = {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}}


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(google, clients.mode, replay)


def weather(city: str) -> str:
    """The weather in a city."""
    return "rain"


TWO_ROUNDS = (answer(100, 10, CALLS_A_TOOL), answer(150, 20))


def test_every_round_of_automatic_function_calling_is_billed(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(
            client.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"tools": [weather]})
        )

    record, requests = app.run(steps, tuple(map(json_answer, TWO_ROUNDS)), go)
    assert (requests, Bill.of_record(record)) == (2, Bill(llm_calls=2, input_tokens=250, output_tokens=30))


def test_every_round_of_streamed_automatic_function_calling_is_billed(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        stream = await app.mode.settle(
            client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi", config={"tools": [weather]})
        )
        async for _ in app.mode.each(stream):
            pass

    record, requests = app.run(steps, tuple(map(events, TWO_ROUNDS)), go)
    assert (requests, Bill.of_record(record)) == (2, Bill(llm_calls=2, input_tokens=250, output_tokens=30))


def test_the_round_after_the_budget_is_crossed_is_not_sent(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(
            client.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"tools": [weather]})
        )

    exchange = app.server.serve(*map(json_answer, TWO_ROUNDS))
    with google(app.mode, f"{app.server.address}/{exchange.token}") as client:

        async def in_a_step() -> None:
            with steps.step("s", max_tokens=50):
                await go(client)

        with pytest.raises(StepBudgetExceeded) as caught:
            app.mode.run(in_a_step())
    assert (len(exchange.requests), caught.value.consumed_tokens) == (1, 110)
    assert caught.value.response.usage_metadata.prompt_token_count == 100


def test_a_chat_session_is_billed_like_the_calls_that_it_makes(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.chats.create(model="gemini-2.5-flash").send_message("hi"))

    record, _ = app.run(steps, (json_answer(answer(7, 3)),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=7, output_tokens=3)


def test_a_client_called_in_a_tool_is_a_call_of_its_own(
    sync_clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    pytest.importorskip("ollama")
    app = App(google, sync_clients.mode, replay)
    inner = replay.serve(recorded(case("ollama.generate.ollama_generation_legacy")))

    def asks_another(city: str) -> str:
        """The weather in a city."""
        with ollama(app.mode, f"{replay.address}/{inner.token}") as other:
            return str(other.generate(model="llama3", prompt=city)["response"])

    asks_another.__annotations__ = {"city": str, "return": str}  # version 1 does not understand them as text

    async def go(client: Any) -> None:
        client.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"tools": [asks_another]})

    named = {"functionCall": {"name": "asks_another", "args": {"city": "Bonn"}}}
    record, _ = app.run(steps, (json_answer(answer(100, 10, named)), json_answer(answer(150, 20))), go)
    assert Bill.of_record(record) == Bill(llm_calls=3, input_tokens=250 + 17, output_tokens=30 + 63)


def test_the_steps_default_model_is_asked_where_the_app_names_none(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_content(contents="hi"))

    body = answer(7, 3)
    del body["modelVersion"]
    record, _ = app.run(steps, (json_answer(body),), go, step={"model": "gemini-2.5-pro"})
    assert (record.model, record.llm_calls, record.unpriced_calls) == ("gemini-2.5-pro", 1, 0)


def test_an_app_that_asks_for_the_http_response_is_billed_from_it(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        config = genai.types.GenerateContentConfig(should_return_http_response=True)
        response = await app.mode.settle(
            client.models.generate_content(model="gemini-2.5-flash", contents="hi", config=config)
        )
        assert response.usage_metadata is None

    record, _ = app.run(steps, (json_answer(answer(7, 3)),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, input_tokens=7, output_tokens=3)


def test_a_stream_that_has_only_told_its_prompt_leaves_the_output_unknown(app: App, steps: ModuleType) -> None:
    begun = answer(9, 0)
    del begun["usageMetadata"]["candidatesTokenCount"], begun["candidates"][0]["finishReason"]

    async def go(client: Any) -> None:
        stream = await app.mode.settle(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
        async for _ in app.mode.each(stream):
            break

    record, _ = app.run(steps, (events(begun, answer(9, 4)),), go)
    assert Bill.of_record(record) == Bill(llm_calls=1, unmetered_calls=1, input_tokens=9)


def test_the_last_usage_of_a_stream_counts_even_if_it_is_less(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        stream = await app.mode.settle(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
        async for _ in app.mode.each(stream):
            pass

    record, _ = app.run(steps, (events(answer(9, 12), answer(9, 4)),), go)
    assert (record.input_tokens, record.output_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("counts", "bill"),
    [
        ([3, 4], Bill(llm_calls=1, input_tokens=7)),
        ([], Bill(llm_calls=1, unmetered_calls=1)),
    ],
)
def test_embeddings_are_billed_where_tokens_are_counted(
    counts: list[int], bill: Bill, app: App, steps: ModuleType
) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.models.embed_content(model="text-embedding-005", contents=["a", "b"]))

    vectors = [
        {"embeddings": {"values": [0.1], "statistics": {"token_count": count, "truncated": False}}} for count in counts
    ]
    record, _ = app.run(steps, (json_answer({"predictions": vectors}),), go, vertex=True)
    assert Bill.of_record(record) == bill


def test_a_drawn_image_is_a_call_without_tokens(app: App, steps: ModuleType, recwarn: pytest.WarningsRecorder) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_images(model="imagen-4.0-generate-001", prompt="a cat"))

    record, _ = app.run(steps, (json_answer({"predictions": []}),), go, vertex=True)
    assert Bill.of_record(record) == Bill(llm_calls=1, unmetered_calls=1)


def test_counting_tokens_is_no_call(app: App, steps: ModuleType) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.models.count_tokens(model="gemini-2.5-flash", contents="hi"))

    record, requests = app.run(steps, (json_answer({"totalTokens": 3}),), go)
    assert (requests, record.llm_calls) == (1, 0)


@pytest.mark.parametrize(("vertex", "provider"), [(False, "gcp.gemini"), (True, "gcp.vertex_ai")])
def test_the_cloud_that_answers_is_the_provider(
    vertex: bool, provider: str, app: App, instrumented: Instrumented, spans: Spans
) -> None:
    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_content(model="gemini-2.5-flash", contents="hi"))

    with instrumented(tracer_provider=spans.provider, call_spans=True) as steps:
        app.run(steps, (json_answer(answer(7, 3)),), go, vertex=vertex)
    (span,) = spans.finished("chat gemini-2.5-flash")
    assert (span.attributes or {})["gen_ai.provider.name"] == provider


# -- dollars -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_november(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made at the time of the worked prices."""
    monkeypatch.setattr(
        "otel_harn_steps._calls.settlement.time_ns", lambda: 1_794_744_000_000_000_000
    )  # 2026-11-15T12:00Z


def grounded(*queries: str) -> dict[str, Any]:
    return {
        "content": {"parts": [{"text": "hi"}]},
        "finishReason": "STOP",
        "groundingMetadata": {"webSearchQueries": list(queries)},
    }


@pytest.mark.usefixtures("in_november")
@pytest.mark.parametrize(
    ("case_id", "queries"), [("G2", ()), ("G4", ()), ("G6", ("rain bonn", "", "snow", "rain bonn"))]
)
def test_a_worked_price_is_met_exactly(case_id: str, queries: tuple[str, ...], app: App, steps: ModuleType) -> None:
    priced = PRICED[case_id]

    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_content(model=priced["request_model"], contents="hi"))

    body = {**priced["raw"], "candidates": [grounded(*queries)]}
    record, _ = app.run(steps, (json_answer(body),), go)
    assert record.cost_usd == float(priced["usd_expected"])
    counted = priced["normalised"]
    assert (record.input_tokens, record.output_tokens) == (counted["input_tokens"], counted["output_tokens"])


@pytest.mark.usefixtures("in_november")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "queries", "fees"),
    [
        ("gemini-2.5-flash", (), 0),
        ("gemini-2.5-flash", ("a", "b", "c"), 0.035),
        (PRO, ("",), 0),
        (PRO, ("a", "b", "a"), 0.028),
    ],
)
def test_a_grounded_prompt_has_one_fee_before_gemini_3_and_one_a_query_since(  # noqa: PLR0917 -- parameters
    model: str, queries: tuple[str, ...], fees: float, streamed: bool, app: App, steps: ModuleType
) -> None:
    last = {**answer(1000, 100), "modelVersion": model}
    first = {"candidates": [{"groundingMetadata": {"webSearchQueries": list(queries)}}], "modelVersion": model}

    async def go(client: Any) -> None:
        if not streamed:
            await app.mode.settle(client.models.generate_content(model=model, contents="hi"))
            return
        async for _ in app.mode.each(
            await app.mode.settle(client.models.generate_content_stream(model=model, contents="hi"))
        ):
            pass

    script = events(first, last) if streamed else json_answer({**last, "candidates": [grounded(*queries)]})
    record, _ = app.run(steps, (script,), go)
    tokens_usd = 0.00055 if model == "gemini-2.5-flash" else 0.0032
    assert record.cost_usd == pytest.approx(tokens_usd + fees, abs=1e-12)


@pytest.mark.usefixtures("in_november")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("more", "fees"),
    [({}, 0.035), ({"urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "https://example.org"}]}}, 0)],
)
def test_a_page_is_from_a_search_unless_the_app_named_it(
    more: dict[str, Any], fees: float, streamed: bool, app: App, steps: ModuleType
) -> None:
    pages = {"groundingChunks": [{"web": {"uri": "https://example.org", "title": "a page"}}]}
    last = answer(1000, 100, groundingMetadata=pages)
    script = (
        events(answer(1000, 50, **more), last)
        if streamed
        else json_answer(answer(1000, 100, groundingMetadata=pages, **more))
    )

    async def go(client: Any) -> None:
        method = client.models.generate_content_stream if streamed else client.models.generate_content
        result = await app.mode.settle(method(model="gemini-2.5-flash", contents="hi"))
        if streamed:
            async for _ in app.mode.each(result):
                pass

    record, _ = app.run(steps, (script,), go)
    assert record.cost_usd == pytest.approx(0.00055 + fees, abs=1e-12)


@pytest.mark.parametrize("traffic", ["ON_DEMAND_FLEX", "PROVISIONED_THROUGHPUT"])
def test_traffic_at_another_price_than_the_books_has_no_known_price(traffic: str, app: App, steps: ModuleType) -> None:
    body = answer(7, 3)
    body["usageMetadata"]["trafficType"] = traffic

    async def go(client: Any) -> None:
        await app.mode.settle(client.models.generate_content(model="gemini-2.5-flash", contents="hi"))

    record, _ = app.run(steps, (json_answer(body),), go, vertex=True)
    assert (record.input_tokens, record.output_tokens, record.cost_usd, record.unpriced_calls) == (7, 3, 0, 1)


# -- work in the background ---------------------------------------------------------------------------------------------


def interaction(interaction_id: str, status: str, **more: Any) -> Answer:
    when = {"created": "2026-05-13T19:57:43Z", "updated": "2026-05-13T19:57:43Z"}
    return json_answer({"id": interaction_id, "object": "interaction", "agent": "a", "status": status, **when, **more})


@pytest.mark.filterwarnings("ignore:Interactions usage is experimental", "ignore:Async interactions client")
@pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="a version without interactions")
@pytest.mark.parametrize("looks", [0, 1, 4])
def test_an_interaction_in_the_background_is_billed_once_where_it_is_done(
    looks: int, app: App, steps: ModuleType
) -> None:
    usage = {"total_input_tokens": 10, "total_output_tokens": 20, "total_tokens": 30}
    name = f"v1_{app.mode.name}_{looks}"
    running = interaction(name, "in_progress")

    async def go(client: Any) -> None:
        started = await app.mode.settle(client.interactions.create(agent="a", input="hi", background=True))
        for _ in range(looks):
            await app.mode.settle(client.interactions.get(started.id))

    record, requests = app.run(steps, (running, running, interaction(name, "completed", usage=usage)), go)
    assert requests == 1 + looks
    assert Bill.of_record(record) == (Bill(1, 0, 10, 20) if looks > 1 else UNMETERED_CALL)
