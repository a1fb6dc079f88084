"""`AnthropicBedrock` and `AnthropicVertex`: Anthropic's client on somebody else's cloud, who bills it under his own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer, check_provider
from tests.instrumented import Instrumented, Spans
from tests.replay.answers import recorded as recorded_answer
from tests.replay.bills import bill_of
from tests.replay.cases import Case, case
from tests.replay.checkable import checkable

anthropic = pytest.importorskip("anthropic")

PLAIN = case("anthropic.messages.TestTokenCounts.anthropic")
CACHED = case("anthropic.messages.anthropic_prompt_caching_async_legacy")

KEYS: Mapping[str, Mapping[str, str]] = {
    "Bedrock": {"aws_access_key": "test", "aws_secret_key": "test", "aws_region": "us-east-1"},
    "Vertex": {"access_token": "test", "region": "us-east5", "project_id": "test"},
}
MODELS = {
    "Bedrock": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "Vertex": "claude-sonnet-4-5@20250929",
}
BILLED_BY = {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai"}
both_clouds = pytest.mark.parametrize(
    "cloud",
    [
        pytest.param("Bedrock", marks=pytest.mark.skipif(find_spec("boto3") is None, reason="the client needs boto3")),
        "Vertex",
    ],
)


def on(cloud: str, recorded: Case) -> Case:
    """The recorded exchange as it is on a cloud."""
    request = {**recorded.request, "model": MODELS[cloud]}
    return checkable(replace(recorded, request=request), bill_of(recorded))


@both_clouds
@pytest.mark.parametrize("recorded", [PLAIN, CACHED], ids=lambda each: each.id)
def test_it_passes(cloud: str, recorded: Case) -> None:
    @contextmanager
    def client(base_url: str) -> Iterator[Callable[..., Any]]:
        kind = getattr(anthropic, f"Anthropic{cloud}")
        with kind(base_url=base_url, max_retries=0, **KEYS[cloud]) as opened:
            yield opened.messages.create

    assert "read whole" in check_provider(on(cloud, recorded), client)


@both_clouds
def test_the_async_client_passes(cloud: str) -> None:
    @asynccontextmanager
    async def client(base_url: str) -> AsyncIterator[Callable[..., Any]]:
        kind = getattr(anthropic, f"AsyncAnthropic{cloud}")
        async with kind(base_url=base_url, max_retries=0, **KEYS[cloud]) as opened:
            yield opened.messages.create

    assert "read whole" in check_provider(on(cloud, PLAIN), client)


@both_clouds
@pytest.mark.parametrize("resource", ["messages", "beta.messages"])
def test_the_cloud_is_the_provider(
    cloud: str, resource: str, replay: ReplayServer, instrumented: Instrumented, spans: Spans
) -> None:
    exchange = replay.serve(recorded_answer(PLAIN))
    base_url = f"{replay.address}/{exchange.token}"
    with instrumented(tracer_provider=spans.provider, call_spans=True), otel_harn_steps.step("s", model=MODELS[cloud]):
        with getattr(anthropic, f"Anthropic{cloud}")(base_url=base_url, max_retries=0, **KEYS[cloud]) as client:
            place = client
            for name in resource.split("."):
                place = getattr(place, name)
            place.create(**{name: value for name, value in PLAIN.request.items() if name != "model"})
    otel_harn_steps.drain_completed_steps()
    (span,) = spans.finished("chat")
    assert (span.attributes or {})["gen_ai.provider.name"] == BILLED_BY[cloud]
    assert (span.attributes or {})["gen_ai.request.model"] == MODELS[cloud]
    assert MODELS[cloud].replace(":", "%3A") in exchange.requests[0].path.replace(":", "%3A")
