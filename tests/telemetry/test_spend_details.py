"""The metrics of what a call's tokens are made of, of budgets, and of calls that nobody saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, record_llm_usage, step
from otel_harn_steps._cost.list_prices import list_card
from otel_harn_steps._cost.price_book import cache_savings_of, cost_picousd
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import Answer
from tests.instrumented import Spans, instrumented
from tests.steps.spending import spend

MODEL = "model-of-ours"
PRICES = {MODEL: {"input_mtok": 3, "output_mtok": 7, "cache_read_mtok": "0.3"}}


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    harn.reset_steps()
    yield InMemoryMetricReader()
    harn.reset_steps()


def counted(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The values of each metric: a counter's number, a histogram's sum and count."""
    data = reader.get_metrics_data()
    metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    points = {metric.name: list[Any](metric.data.data_points) for metric in metrics}
    return {
        name: [(point.sum, point.count) if hasattr(point, "count") else point.value for point in each]
        for name, each in points.items()
    }


def ask(replay: ReplayServer, usage: dict[str, Any]) -> None:
    """A call by the real client, whose answer reports this usage."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": usage,
    }
    exchange = replay.serve(
        lambda _: Answer(200, (json.dumps(answer).encode(),), headers={"content-type": "application/json"})
    )
    with openai.DefaultHttpxClient(proxy=replay.address, trust_env=False, verify=False) as http:
        client = openai.OpenAI(
            http_client=http, api_key="test", base_url=exchange.url_at("api.openai.com") + "/v1", max_retries=0
        )
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "go"}])


CACHED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 800},
    "completion_tokens_details": {"reasoning_tokens": 60},
}


def test_cached_and_reasoning_tokens_and_what_the_cache_saved_are_counted(
    reader: InMemoryMetricReader, replay: ReplayServer
) -> None:
    spans = Spans()
    with instrumented(
        meter_provider=MeterProvider([reader]), tracer_provider=spans.provider, prices=PRICES, call_spans=True
    ):
        with step("s"):
            ask(replay, CACHED)
        found = counted(reader)
    assert found["harn.step.cache_read_tokens"] == [800]
    assert found["harn.step.reasoning_tokens"] == [60]
    # 200 at 3 dollars a million, 800 at 0.3, 100 at 7; without a cache 1000 at 3.
    assert found["harn.call.cost"] == [0.00154]
    assert found["harn.call.cache_savings"] == [0.00216]
    (call,) = spans.finished("chat")
    assert (call.attributes or {})["harn.call.cache_savings_usd"] == 0.00216


def test_what_is_zero_is_not_counted(reader: InMemoryMetricReader, replay: ReplayServer) -> None:
    spans = Spans()
    with instrumented(
        meter_provider=MeterProvider([reader]), tracer_provider=spans.provider, prices=PRICES, call_spans=True
    ):
        with step("s"):
            ask(replay, {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100})
        found = counted(reader)
    assert not found.keys() & {
        "harn.step.cache_read_tokens",
        "harn.step.reasoning_tokens",
        "harn.step.unmetered_calls",
        "harn.call.cache_savings",
        "harn.step.budget.used",
        "harn.unseen_calls",
    }
    (call,) = spans.finished("chat")
    assert "harn.call.cache_savings_usd" not in (call.attributes or {})


def test_a_call_without_usage_is_counted_as_unmetered(reader: InMemoryMetricReader) -> None:
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s"):
            record_llm_usage("m", None, None)
        assert counted(reader)["harn.step.unmetered_calls"] == [1]


def test_savings_are_the_same_call_without_a_cache_less_what_it_cost() -> None:
    with instrumented(prices=PRICES):
        cached = Usage(1000, 100, cache_read_tokens=800)
        saved = cache_savings_of("openai", MODEL, cached, (), 0)
        with_cache = cost_picousd("openai", MODEL, cached, (), 0)
        without = cost_picousd("openai", MODEL, Usage(1000, 100), (), 0)
    assert None not in {saved, with_cache, without}
    assert saved == without - with_cache == 2_160_000_000  # type: ignore[operator]  # none of them is None


def test_writing_to_a_cache_is_no_part_of_what_reading_from_it_saved() -> None:
    card = list_card("anthropic", "claude-haiku-4-5", (), 1_790_000_000)
    assert card is not None
    saved = card.cache_savings_picousd(Usage(3000, 10, cache_read_tokens=1000, cache_write_tokens=1500))
    # 1000 tokens at 1 dollar a million, less the same at 0.1.
    assert saved == 900_000_000


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("nobody-knows-it", Usage(1000, 100, cache_read_tokens=800)),
        (MODEL, Usage(None, 100, cache_read_tokens=800)),
        (MODEL, Usage(1000, 100)),
        (None, Usage(1000, 100, cache_read_tokens=800)),
    ],
    ids=["unknown price", "unknown input", "nothing cached", "unknown model"],
)
def test_savings_that_are_not_known_are_none(model: str | None, usage: Usage) -> None:
    with instrumented(prices=PRICES):
        assert cache_savings_of("openai", model, usage, (), 0) is None


def test_a_run_with_a_budget_says_how_much_of_it_was_used(reader: InMemoryMetricReader) -> None:
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s", max_tokens=1000, max_usd=1):
            spend(250, 0.75)
        with pytest.raises(StepBudgetExceeded), step("s", max_tokens=100):
            spend(150)
        with step("s"):
            spend(10)
        assert sum(total for total, _ in counted(reader)["harn.step.budget.used"]) == pytest.approx(0.75 + 1.5)


def test_a_limit_without_shares_is_no_part_of_how_much_was_used(reader: InMemoryMetricReader) -> None:
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s", loop=3):
            spend(10)
        assert "harn.step.budget.used" not in counted(reader)


@pytest.mark.parametrize("wanted", [True, False])
def test_unseen_calls_are_counted_by_host(reader: InMemoryMetricReader, replay: ReplayServer, *, wanted: bool) -> None:
    with instrumented(meter_provider=MeterProvider([reader]), unseen_calls=True, metrics=wanted):
        url = replay.serve(Answer(200, (b"{}",))).url_at("api.openai.com") + "/v1/chat/completions"
        with httpx.Client(proxy=replay.address, trust_env=False, verify=False) as client:
            client.post(url, json={})
        assert counted(reader).get("harn.unseen_calls") == ([1] if wanted else None)
