"""Gateways and local servers, through the real clients: at a host that is nobody's, the model says who bills."""

from __future__ import annotations

import json
from decimal import Decimal
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from otel_harn_steps import price
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Instrumented, Spans
from tests.replay.answers import Answer
from tests.replay.clients import Clients
from tests.replay.native import HELLO

ELSEWHERE = "llm.corp.example"
INPUT, OUTPUT = 1000, 200


def chat(model: str, **usage: Any) -> Answer:
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT, **usage},
    }
    return Answer(200, (json.dumps(body).encode(),), headers={"content-type": "application/json"})


def message(model: str, **usage: Any) -> Answer:
    body = {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT, **usage},
    }
    return Answer(200, (json.dumps(body).encode(),), headers={"content-type": "application/json"})


def streamed_message(model: str, **usage: Any) -> Answer:
    start = {"id": "1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": {"input_tokens": INPUT, "output_tokens": 1}}  # fmt: skip
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": OUTPUT, **usage}}
    events = ({"type": "message_start", "message": start}, delta, {"type": "message_stop"})
    chunks = tuple(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    return Answer(200, chunks, streamed=True, headers={"content-type": "text/event-stream"})


def listed(model: str, provider: str) -> float:
    found = price(model, provider=provider, input_tokens=INPUT, output_tokens=OUTPUT)
    assert found
    return float(found)


class Gateway:
    """A server that answers at this machine's own address, or at any name through the clients' proxy."""

    def __init__(self, clients: Clients, replay: ReplayServer) -> None:
        self._clients = clients
        self._replay = replay
        self.mode = clients.mode

    def address(self, answer: Answer, host: str) -> str:
        exchange = self._replay.serve(answer)
        if host in ("127.0.0.1", "localhost"):
            return f"http://{host}:{urlsplit(self._replay.address).port}/{exchange.token}"
        return exchange.url_at(host)

    def ask_openai(self, answer: Answer, model: str, host: str) -> None:
        kind = openai.OpenAI if self.mode.name == "sync" else openai.AsyncOpenAI
        client = kind(api_key="test", base_url=self.address(answer, host), http_client=self._clients._openai_http)
        self.mode.run(self._settled(lambda: client.chat.completions.create(model=model, messages=HELLO)))

    def ask_anthropic(self, answer: Answer, model: str, host: str, **more: Any) -> None:
        kind = anthropic.Anthropic if self.mode.name == "sync" else anthropic.AsyncAnthropic
        client = kind(api_key="test", base_url=self.address(answer, host), http_client=self._clients._anthropic_http)
        given = {"model": model, "messages": HELLO, "max_tokens": 9, **more}
        self.mode.run(self._settled(lambda: client.messages.create(**given)))

    async def _settled(self, make: Any) -> None:
        result = await self.mode.settle(make())
        if isinstance(result, openai.Stream | anthropic.Stream):
            list(result)
        elif isinstance(result, openai.AsyncStream | anthropic.AsyncStream):
            _ = [event async for event in result]


@pytest.fixture
def gateway(clients: Clients, replay: ReplayServer) -> Gateway:
    return Gateway(clients, replay)


def spent(steps: ModuleType, ask: Any) -> tuple[float, int]:
    """The cost of the call, and whether it is of unknown price."""
    with steps.step("s"):
        ask()
    (record,) = steps.drain_completed_steps()
    assert (record.llm_calls, record.input_tokens, record.output_tokens) == (1, INPUT, OUTPUT)
    return record.cost_usd, record.unpriced_calls


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ELSEWHERE])
@pytest.mark.parametrize(
    ("model", "vendor"),
    [
        ("gpt-4o", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-flash", "google"),
    ],
)
def test_a_vendors_model_behind_a_gateway_costs_the_vendors_price(
    model: str, vendor: str, host: str, gateway: Gateway, steps: ModuleType
) -> None:
    assert spent(steps, lambda: gateway.ask_openai(chat(model), model, host)) == (listed(model, vendor), 0)
    assert spent(steps, lambda: gateway.ask_anthropic(message(model), model, host)) == (listed(model, vendor), 0)


def test_a_routing_prefix_does_not_hide_the_vendor(gateway: Gateway, steps: ModuleType) -> None:
    model = "anthropic/claude-sonnet-4-5"
    ask = lambda: gateway.ask_openai(chat(model), model, ELSEWHERE)  # noqa: E731 -- as short as what it says
    assert spent(steps, ask) == (listed("claude-sonnet-4-5", "anthropic"), 0)


@pytest.mark.parametrize("model", ["llama3.1", "gpt-oss-20b", "gemma-3-27b-it"])
def test_a_local_model_is_free(model: str, gateway: Gateway, steps: ModuleType) -> None:
    assert spent(steps, lambda: gateway.ask_openai(chat(model), model, "127.0.0.1")) == (0, 0)
    assert spent(steps, lambda: gateway.ask_anthropic(message(model), model, "localhost")) == (0, 0)


def test_a_local_model_costs_what_you_say(gateway: Gateway, instrumented: Instrumented) -> None:
    with instrumented(prices={"llama3.1": {"input_mtok": 1, "output_mtok": 5}}) as steps:
        ask = lambda: gateway.ask_openai(chat("llama3.1"), "llama3.1", "127.0.0.1")  # noqa: E731 -- as above
        assert spent(steps, ask) == (0.002, 0)


def test_an_unknown_model_of_a_gateway_has_no_price(gateway: Gateway, steps: ModuleType) -> None:
    assert spent(steps, lambda: gateway.ask_openai(chat("fast"), "fast", ELSEWHERE)) == (0, 1)


def test_the_provider_of_a_gateways_call_is_that_of_the_protocol(
    gateway: Gateway, steps: ModuleType, spans: Spans
) -> None:
    spent(steps, lambda: gateway.ask_openai(chat("claude-sonnet-4-5"), "claude-sonnet-4-5", ELSEWHERE))
    (span,) = spans.finished("chat")
    assert (span.attributes or {})["gen_ai.provider.name"] == "openai"


# -- OpenRouter through the anthropic client ---------------------------------------------------------------------------

REPORTED = {"cost": 0.0123, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (message("anthropic/claude-sonnet-4.5", **REPORTED), {}),
        (streamed_message("anthropic/claude-sonnet-4.5", **REPORTED), {"stream": True}),
    ],
    ids=["plain", "stream"],
)
def test_what_openrouter_says_that_it_charges_comes_first(
    answer: Answer, more: dict[str, Any], gateway: Gateway, instrumented: Instrumented, spans: Spans
) -> None:
    model = "anthropic/claude-sonnet-4.5"
    with instrumented(tracer_provider=spans.provider, call_spans=True) as steps:
        assert spent(steps, lambda: gateway.ask_anthropic(answer, model, "openrouter.ai", **more)) == (0.0123, 0)
    (span,) = spans.finished("chat")
    assert (span.attributes or {})["gen_ai.provider.name"] == "openrouter"


def test_with_your_own_key_what_the_vendor_charges_is_added(gateway: Gateway, steps: ModuleType) -> None:
    own_key = {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}
    answer, model = message("anthropic/claude-sonnet-4.5", **own_key), "anthropic/claude-sonnet-4.5"
    cost, _ = spent(steps, lambda: gateway.ask_anthropic(answer, model, "openrouter.ai"))
    assert Decimal(str(cost)) == Decimal("0.021")


def test_elsewhere_a_field_named_cost_means_nothing(gateway: Gateway, steps: ModuleType) -> None:
    answer, model = message("claude-sonnet-4-5", cost=7), "claude-sonnet-4-5"
    ask = lambda: gateway.ask_anthropic(answer, model, "api.anthropic.com")  # noqa: E731 -- as above
    assert spent(steps, ask) == (listed(model, "anthropic"), 0)


def test_the_anthropic_client_at_another_provider_is_billed_by_that_one(
    gateway: Gateway, instrumented: Instrumented, spans: Spans
) -> None:
    model = "deepseek-chat"
    with instrumented(tracer_provider=spans.provider, call_spans=True) as steps:
        ask = lambda: gateway.ask_anthropic(message(model), model, "api.deepseek.com")  # noqa: E731 -- as above
        assert spent(steps, ask) == (listed(model, "deepseek"), 0)
    (span,) = spans.finished("chat")
    assert (span.attributes or {})["gen_ai.provider.name"] == "deepseek"
