"""Baggage that is allowed to be labels is not sent to a provider; what else the app carries is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import ollama
import pytest
from opentelemetry import baggage, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import otel_harn_steps as harn
from otel_harn_steps import labels, step
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import Answer
from tests.carrying import carrying
from tests.instrumented import Spans
from tests.provider import PRICES, Provider, provider
from tests.steps.sinks import Ledger

Ways = Callable[[Provider], object]


def inject(request: Any) -> None:
    """What the instrumentations of HTTP clients do with every request that goes out."""
    propagate.inject(request.headers)


async def inject_async(request: Any) -> None:
    inject(request)


@pytest.fixture(autouse=True)
def propagators() -> Iterator[None]:
    """Those that an SDK sets by default."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    yield
    propagate.set_global_textmap(before)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def llm(replay: ReplayServer, spans: Spans, ledger: Ledger) -> Iterator[Provider]:
    harn.reset_steps()
    given: dict[str, Any] = {"prices": PRICES, "sinks": [ledger], "tracer_provider": spans.provider}
    harn.instrument(baggage_labels=["tenant", "user"], **given)
    with provider(replay) as made:
        made.client._client.event_hooks = {"request": [inject]}
        made.aclient._client.event_hooks = {"request": [inject_async]}
        yield made
    harn.uninstrument()
    harn.reset_steps()


def sent(requests: list[Any]) -> list[str | None]:
    """The baggage of each request, which every one would have had a traceparent beside."""
    headers = [{name.lower(): value for name, value in each.headers.items()} for each in requests]
    return [each.get("baggage") for each in headers]


WAYS: dict[str, Ways] = {
    "whole": lambda llm: llm.ask(),
    "stream": lambda llm: list(llm.ask(stream=True)),
    "raw": lambda llm: llm.client.chat.completions.with_raw_response.create(**llm.request()),
    "async": lambda llm: asyncio.run(llm.ask_async()),
}


@pytest.mark.parametrize("within", ["step", "run", "nothing"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_sent_without_the_keys_that_are_labels(
    way: str, within: str, llm: Provider, ledger: Ledger, spans: Spans
) -> None:
    around: Any = {"step": step, "run": harn.run}.get(within, lambda _: nullcontext())
    with carrying(tenant="acme", session="of the app"), labels(user="ada"), around("s"):
        WAYS[way](llm)
        assert dict(baggage.get_all()) == {"tenant": "acme", "session": "of the app"}
    assert sent(llm.exchange.requests) == ["session=of+the+app"]
    seen = [dict(row.labels) for row in ledger.of("settled")]
    assert seen == ([] if within == "nothing" else [{"tenant": "acme", "user": "ada"}])
    assert {span.attributes["harn.label.tenant"] for span in spans.finished() if span.attributes} <= {"acme"}


def test_labels_are_never_baggage(llm: Provider) -> None:
    with labels(tenant="acme"), step("s"):
        llm.ask()
        assert not baggage.get_all()
    assert sent(llm.exchange.requests) == [None]


def test_what_the_app_sends_elsewhere_in_a_step_carries_its_baggage(llm: Provider) -> None:
    with carrying(tenant="acme"), step("s"):
        llm.ask()
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
    assert carrier["baggage"] == "tenant=acme"


def test_retries_of_a_client_carry_none_either(llm: Provider) -> None:
    failing = {"model": "m", "messages": [{"role": "user", "content": '{"status": 500}'}]}
    client = llm.client.with_options(max_retries=1)
    with carrying(tenant="acme"), step("s"), pytest.raises(Exception, match="no"):
        client.chat.completions.create(**failing)  # type: ignore[call-overload]  # a dict of its arguments
    assert sent(llm.exchange.requests) == [None, None]


@pytest.mark.parametrize("in_step", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_call_that_is_sent_when_it_is_read_carries_none(
    is_async: bool, in_step: bool, llm: Provider, replay: ReplayServer
) -> None:
    body = (
        b'{"model":"m","message":{"role":"assistant","content":"a"},"done":true,"prompt_eval_count":1,"eval_count":1}\n'
    )
    exchange = replay.serve(Answer(200, (body,), streamed=True, headers={"content-type": "application/x-ndjson"}))
    given: dict[str, Any] = {"proxy": replay.address, "trust_env": False, "host": exchange.url_at("ollama.com")}

    async def read() -> None:
        client = ollama.AsyncClient(**given, event_hooks={"request": [inject_async]})
        async with client._client:
            async for _ in await client.chat("m", stream=True):
                pass

    with carrying(tenant="acme", session="1"), step("s") if in_step else nullcontext():
        if is_async:
            asyncio.run(read())
        else:
            client = ollama.Client(**given, event_hooks={"request": [inject]})
            with client._client:
                list(client.chat("m", stream=True))
    assert sent(exchange.requests) == ["session=1"]


def test_beside_the_instrumentation_of_the_http_library(llm: Provider, spans: Spans) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.httpx", reason="not installed here")
    is_new = type(llm.client._client).__mro__[1].__module__.startswith("httpx2")
    instrumentor = (instrumentation.HTTPX2ClientInstrumentor if is_new else instrumentation.HTTPXClientInstrumentor)()
    for client in (llm.client._client, llm.aclient._client):
        client.event_hooks = {}
        instrumentor.instrument_client(client, tracer_provider=spans.provider)
    with carrying(tenant="acme", session="1"), step("s"):
        llm.ask()
        asyncio.run(llm.ask_async())
        list(llm.ask(stream=True))
    with carrying(tenant="acme", session="1"):
        llm.ask()
    assert sent(llm.exchange.requests) == ["session=1"] * 4
    assert all("traceparent" in map(str.lower, each.headers) for each in llm.exchange.requests)
