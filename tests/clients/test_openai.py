"""What speaks OpenAI's protocol besides chat, and besides OpenAI: other providers' usage, images, audio, work in the background."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps._calls.client import Request
from otel_harn_steps._clients.openai import OPENAI
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps.testing import Exchange, ReplayServer
from tests.replay.answers import Answer, Received
from tests.replay.bills import UNMETERED_CALL, Bill
from tests.replay.clients import Clients


def used(usage: dict[str, Any], *, provider: str = "openai", operation: str = "chat", **answer: Any) -> Usage:
    (part,) = OPENAI.parse(Request(operation, provider, "m"), {"model": "m", "usage": usage, **answer}).parts
    return part.usage


# -- dialects ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 512}},
        {"prompt_cache_hit_tokens": 512, "prompt_cache_miss_tokens": 51},
        {"cached_tokens": 512},
        {"prompt_cache_hit_tokens": 512, "prompt_tokens_details": {"cached_tokens": 512}},
    ],
    ids=["openai", "deepseek", "moonshot, together", "deepseek today"],
)
def test_cached_input_is_read_wherever_it_stands(usage: dict[str, Any]) -> None:
    assert used({"prompt_tokens": 563, "completion_tokens": 9, **usage}) == Usage(563, 9, cache_read_tokens=512)


def test_reasoning_beside_the_output_is_output() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 410}
    assert used({**usage, "completion_tokens_details": {"reasoning_tokens": 300}}) == Usage(
        100, 310, reasoning_tokens=300
    )


def test_perplexitys_research_is_output_of_its_own_kinds() -> None:
    usage = {
        "prompt_tokens": 33,
        "completion_tokens": 7163,
        "total_tokens": 7196,
        "citation_tokens": 20016,
        "num_search_queries": 50,
        "reasoning_tokens": 73997,
    }
    assert used(usage, provider="perplexity") == Usage(
        33, 7163 + 73997 + 20016, reasoning_tokens=73997, output_citation_tokens=20016, web_searches=50
    )


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None}, {"seconds": 9, "type": "duration"}])
def test_usage_that_tells_no_tokens_is_none(usage: dict[str, Any]) -> None:
    assert OPENAI.parse(Request("chat", "openai", "m"), {"usage": usage}).parts == ()


@pytest.mark.parametrize("count", ["12", 12.0, 12.9, "12 "])
def test_counts_are_read_however_they_are_written(count: Any) -> None:
    assert used({"prompt_tokens": count, "completion_tokens": 1}).input_tokens == 12


def test_a_drawing_is_billed_beside_the_image() -> None:
    answer = {
        "usage": {"input_tokens": 10, "output_tokens": 20, "output_tokens_details": {"image_tokens": 20}},
        "svg_usage": {"input_tokens": 3, "output_tokens": 4, "model": "gpt-5.4"},
    }
    image, drawing = OPENAI.parse(Request("image_generation", "openai", "gpt-image-1"), answer).parts
    assert image.usage == Usage(10, 20, output_image_tokens=20)
    assert (drawing.model, drawing.usage) == ("gpt-5.4", Usage(3, 4))


# -- other endpoints -------------------------------------------------------------------------------------------------------


def says(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, (json.dumps(body).encode(),), headers={"content-type": "application/json"})


@pytest.fixture
def served(clients: Clients, replay: ReplayServer) -> Callable[..., tuple[Any, Exchange]]:
    """OpenAI's client, and the corner of the server that answers it."""

    def serve(*script: Any) -> tuple[Any, Exchange]:
        exchange = replay.serve(*script)
        return clients._openai_class(
            base_url=exchange.url_at("api.openai.com"), api_key="k", max_retries=0, http_client=clients._openai_http
        ), exchange

    return serve


UNTOLD = [
    ("images.generate", {"prompt": "a cat", "model": "dall-e-3"}, {"created": 1, "data": []}),
    ("audio.speech.create", {"input": "hi", "model": "tts-1", "voice": "alloy"}, {}),
    ("audio.transcriptions.create", {"file": ("a.wav", b"x"), "model": "whisper-1"}, {"text": "hi"}),
    ("moderations.create", {"input": "hi"}, {"id": "m", "model": "omni-moderation-latest", "results": []}),
]


@pytest.mark.parametrize(
    ("method", "arguments", "body"), UNTOLD, ids=lambda value: value if isinstance(value, str) else None
)
def test_a_call_that_tells_no_usage_is_counted(  # noqa: PLR0917 -- what varies, and what it runs in
    method: str,
    arguments: dict[str, Any],
    body: dict[str, Any],
    served: Callable[..., Any],
    clients: Clients,
    steps: ModuleType,
) -> None:
    client, _ = served(says(body))
    clients.mode.run(_in_a_step(steps, clients, client, method, arguments))
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == UNMETERED_CALL


TOLD = [
    (
        "images.generate",
        {"prompt": "a cat", "model": "gpt-image-1"},
        {
            "created": 1,
            "data": [],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 1000,
                "total_tokens": 1050,
                "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
            },
        },
        (50, 1000),
        0.0403,
    ),
    (
        "audio.transcriptions.create",
        {"file": ("a.wav", b"x"), "model": "gpt-4o-transcribe"},
        {
            "text": "hi",
            "usage": {
                "type": "tokens",
                "input_tokens": 14,
                "output_tokens": 45,
                "total_tokens": 59,
                "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            },
        },
        (14, 45),
        14 * 6e-6 + 45 * 10e-6,
    ),
    (
        "responses.compact",
        {"model": "gpt-5.4"},
        {
            "id": "r",
            "object": "response.compaction",
            "created_at": 1,
            "output": [],
            "usage": {
                "input_tokens": 100,
                "output_tokens": 10,
                "total_tokens": 110,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        },
        (100, 10),
        100 * 2.5e-6 + 10 * 15e-6,
    ),
]


@pytest.mark.parametrize(
    ("method", "arguments", "body", "tokens", "usd"), TOLD, ids=lambda value: value if isinstance(value, str) else None
)
def test_a_call_that_tells_usage_is_billed(  # noqa: PLR0917 -- as above
    method: str,
    arguments: dict[str, Any],
    body: dict[str, Any],
    tokens: tuple[int, int],
    usd: float,
    served: Callable[..., Any],
    clients: Clients,
    steps: ModuleType,
) -> None:
    client, _ = served(says(body))
    if not hasattr(client.responses, "compact"):
        pytest.skip("an older client")
    clients.mode.run(_in_a_step(steps, clients, client, method, arguments))
    (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.output_tokens) == tokens
    assert record.cost_usd == pytest.approx(usd, abs=1e-12)


async def _in_a_step(steps: ModuleType, clients: Clients, client: Any, method: str, arguments: dict[str, Any]) -> None:
    for name in method.split("."):
        client = getattr(client, name)
    with steps.step("s"):
        await clients.mode.settle(client(**arguments))


def test_an_image_without_a_model_is_not_given_the_steps(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    client, exchange = served(says({"created": 1, "data": []}))

    async def go() -> None:
        with steps.step("s", model="gpt-4o"):
            await clients.mode.settle(client.images.generate(prompt="a cat"))

    clients.mode.run(go())
    assert "model" not in exchange.requests[0].json()


# -- work in the background ------------------------------------------------------------------------------------------------

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5.4",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "background": True,
}
USAGE = {
    "input_tokens": 100,
    "output_tokens": 10,
    "total_tokens": 110,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def background(response_id: str) -> Callable[[Received], Answer]:
    """Queued at first, running at the first look, done at the second."""
    looks = iter(["queued", "in_progress"])

    def answer(_: Received) -> Answer:
        status = next(looks, "completed")
        usage = USAGE if status == "completed" else None
        return says({**RESPONSE, "id": response_id, "status": status, "usage": usage})

    return answer


def test_work_in_the_background_is_billed_once_when_it_is_fetched(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    client, _ = served(background(f"resp_once_{clients.mode.name}"))

    async def go() -> None:
        with steps.step("s"):
            started = await clients.mode.settle(client.responses.create(model="gpt-5.4", input="hi", background=True))
            for _ in range(4):
                await clients.mode.settle(client.responses.retrieve(started.id))

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 100, 10)


def test_work_in_the_background_that_nobody_fetches_is_an_unmetered_call(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    client, _ = served(background(f"resp_left_{clients.mode.name}"))

    async def go() -> None:
        with steps.step("s"):
            started = await clients.mode.settle(client.responses.create(model="gpt-5.4", input="hi", background=True))
            await clients.mode.settle(client.responses.retrieve(started.id))
        with steps.step("later"):
            await clients.mode.settle(client.responses.retrieve(started.id))

    clients.mode.run(go())
    first, later = steps.drain_completed_steps()
    assert Bill.of_record(first) == UNMETERED_CALL
    assert Bill.of_record(later) == Bill(1, 0, 100, 10)


def test_work_in_the_background_that_its_stream_has_told_is_not_billed_again(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    response = {**RESPONSE, "id": f"resp_streamed_{clients.mode.name}", "status": "completed", "usage": USAGE}
    done = {"type": "response.completed", "sequence_number": 1, "response": response}
    chunk = f"event: {done['type']}\ndata: {json.dumps(done)}\n\n".encode()
    streamed = Answer(200, (chunk,), streamed=True, headers={"content-type": "text/event-stream"})
    client, _ = served(streamed, says(response))

    async def go() -> None:
        with steps.step("s"):
            stream = client.responses.create(model="gpt-5.4", input="hi", background=True, stream=True)
            async for _ in clients.mode.each(await clients.mode.settle(stream)):
                pass
            await clients.mode.settle(client.responses.retrieve(response["id"]))

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 100, 10)


def test_a_response_that_was_billed_is_not_billed_when_it_is_fetched(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    client, _ = served(
        says({**RESPONSE, "id": "resp_plain", "background": False, "status": "completed", "usage": USAGE})
    )

    async def go() -> None:
        with steps.step("s"):
            made = await clients.mode.settle(client.responses.create(model="gpt-5.4", input="hi"))
            await clients.mode.settle(client.responses.retrieve(made.id))

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 100, 10)


def test_a_batch_is_billed_at_batch_prices_when_it_is_done(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    batch = {
        "id": f"batch_{clients.mode.name}",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "f",
        "completion_window": "24h",
        "created_at": 1,
        "status": "validating",
    }
    done = {
        **batch,
        "status": "completed",
        "model": "gpt-5-2025-08-07",
        "usage": {
            "input_tokens": 1_000_000,
            "output_tokens": 0,
            "total_tokens": 1_000_000,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
    states = iter([batch, batch])
    client, _ = served(lambda _: says(next(states, done)))

    async def go() -> None:
        with steps.step("s"):
            await clients.mode.settle(
                client.batches.create(input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h")
            )
            for _ in range(3):
                await clients.mode.settle(client.batches.retrieve(batch["id"]))

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 1_000_000, 0)
    assert record.cost_usd == 0.625


def test_the_results_of_anthropics_batch_are_billed_at_batch_prices(
    clients: Clients, replay: ReplayServer, steps: ModuleType
) -> None:
    batch_id = f"msgbatch_{clients.mode.name}"
    batch = {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "in_progress",
        "created_at": "2026-11-01T00:00:00Z",
        "expires_at": "2026-11-02T00:00:00Z",
        "request_counts": {},
    }
    usage = {
        "input_tokens": 10_000,
        "cache_creation_input_tokens": 2000,
        "cache_read_input_tokens": 5000,
        "output_tokens": 1000,
        "service_tier": "batch",
    }
    message = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-haiku-4-5-20251001",
        "usage": usage,
    }
    lines = [{"custom_id": str(n), "result": {"type": "succeeded", "message": message}} for n in range(2)] + [
        {"custom_id": "x", "result": {"type": "expired"}}
    ]

    def answer(received: Received) -> Answer:
        if received.path.endswith("/results"):
            return Answer(
                200,
                (b"".join(json.dumps(line).encode() + b"\n" for line in lines),),
                headers={"content-type": "application/binary"},
            )
        ended = {
            **batch,
            "processing_status": "ended",
            "results_url": f"{exchange.url_at('api.anthropic.com')}/v1/messages/batches/{batch_id}/results",
        }
        return says(batch if received.method == "POST" else ended)

    exchange = replay.serve(answer)
    client = clients._anthropic_class(
        base_url=exchange.url_at("api.anthropic.com"), api_key="k", max_retries=0, http_client=clients._anthropic_http
    )

    async def go() -> None:
        with steps.step("s"):
            started = await clients.mode.settle(client.messages.batches.create(requests=[]))
            for _ in range(2):
                results = await clients.mode.settle(client.messages.batches.results(started.id))
                assert len([line async for line in clients.mode.each(results)]) == 3

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 34_000, 2000, cache_read_tokens=10_000, cache_write_tokens=4000)
    assert record.cost_usd == 0.018
    assert record.model == "claude-haiku-4-5-20251001"


# -- searches ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "tool", "usd_a_search"),
    [
        ("gpt-4o-2024-08-06", "web_search", 0.01),
        ("gpt-4o-2024-08-06", "web_search_preview", 0.025),
        ("gpt-4.1-mini", "web_search_preview_2025_03_11", 0.025),
        ("gpt-5", "web_search_preview", 0.01),
        ("o4-mini", "web_search_preview", 0.01),
    ],
)
def test_the_first_search_tool_has_its_own_price_with_a_model_that_does_not_reason(  # noqa: PLR0917 -- parameters
    model: str, tool: str, usd_a_search: float, served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    response = {**RESPONSE, "background": False, "status": "completed", "model": model, "usage": USAGE}
    client, _ = served(
        says({**response, "output": [search, search], "tools": [{"type": tool}]}),
        says({**response, "output": [], "tools": []}),
    )

    async def go() -> None:
        for _ in range(2):
            with steps.step("s"):
                await clients.mode.settle(client.responses.create(model=model, input="hi"))

    clients.mode.run(go())
    searched, plain = steps.drain_completed_steps()
    assert searched.cost_usd - plain.cost_usd == pytest.approx(2 * usd_a_search, abs=1e-12)


# -- runs of assistants ----------------------------------------------------------------------------------------------------

RUN = {
    "id": "run_1",
    "object": "thread.run",
    "thread_id": "t",
    "assistant_id": "a",
    "model": "gpt-4o-mini",
    "usage": None,
}
RUN_USAGE = {"prompt_tokens": 381, "completion_tokens": 89, "total_tokens": 470}


def run_of(run_id: str) -> Callable[[Received], Answer]:
    """Stops for its tools at first, and is done at the second look after they have answered."""
    looks = iter(["queued", "requires_action", "queued", "in_progress"])

    def answer(_: Received) -> Answer:
        status = next(looks, "completed")
        return says({**RUN, "id": run_id, "status": status, "usage": RUN_USAGE if status == "completed" else None})

    return answer


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated")
def test_a_run_of_an_assistant_is_billed_once_when_it_is_done(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    client, exchange = served(run_of(f"run_{clients.mode.name}"))
    runs = client.beta.threads.runs

    async def go() -> None:
        with steps.step("s", model="gpt-4.1"):
            run = await clients.mode.settle(runs.create(thread_id="t", assistant_id="a"))
            whose = {"thread_id": "t", "run_id": run.id}
            await clients.mode.settle(runs.retrieve(**whose))
            await clients.mode.settle(runs.submit_tool_outputs(**whose, tool_outputs=[]))
            for _ in range(3):
                await clients.mode.settle(runs.retrieve(**whose))

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 381, 89)
    assert record.model == "gpt-4o-mini"
    assert "model" not in exchange.requests[0].json()  # the assistant has its own


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated")
def test_a_streamed_run_is_billed_whole_and_its_steps_are_parts_of_it(
    served: Callable[..., Any], clients: Clients, steps: ModuleType
) -> None:
    step = {
        "id": "step_1",
        "object": "thread.run.step",
        "run_id": "run_1",
        "usage": {**RUN_USAGE, "prompt_tokens": 154},
    }
    events = (
        ("thread.run.created", {**RUN, "status": "queued"}),
        ("thread.run.step.completed", {**step, "status": "completed"}),
        ("thread.run.completed", {**RUN, "status": "completed", "usage": RUN_USAGE}),
    )
    chunks = tuple(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events)
    client, _ = served(Answer(200, chunks, streamed=True, headers={"content-type": "text/event-stream"}))
    runs = client.beta.threads.runs

    async def go() -> None:
        with steps.step("s"):
            stream = await clients.mode.settle(runs.create(thread_id="t", assistant_id="a", stream=True))
            assert [event.event async for event in clients.mode.each(stream)] == [name for name, _ in events]

    clients.mode.run(go())
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 381, 89)
