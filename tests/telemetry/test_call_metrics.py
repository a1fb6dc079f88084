"""The metrics of calls: each call is counted once, as it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import record_llm_usage, step
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._steps.ledger import OpenCall
from otel_harn_steps._steps.totals import ModelCall
from tests.instrumented import instrumented


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    yield
    harn.reset_steps()


def counted(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], float]]:
    """The values of the metrics of calls, by their attributes."""
    data = reader.get_metrics_data()
    metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    for metric in metrics:
        if metric.name.startswith("harn.call"):
            points: Any = metric.data.data_points
            found[metric.name] = {tuple(sorted(point.attributes.items())): point.value for point in points}
    return found


def test_a_call_is_counted_with_its_step_provider_model_tokens_and_cost() -> None:
    reader = InMemoryMetricReader()
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s"):
            record_llm_usage("m", 100, 30, 0.25, provider="p")
        found = counted(reader)
    call = {
        "harn.step.name": "s",
        "gen_ai.provider.name": "p",
        "harn.step.model": "m",
        "harn.call.certainty": "measured",
    }

    def key(**more: str) -> tuple[Any, ...]:
        return tuple(sorted({**call, **more}.items()))

    assert found == {
        "harn.calls": {key(): 1},
        "harn.call.cost": {key(): 0.25},
        "harn.call.tokens": {key(**{"gen_ai.token.type": "input"}): 100, key(**{"gen_ai.token.type": "output"}): 30},
    }


def test_a_call_is_counted_once_however_often_it_is_settled() -> None:
    reader = InMemoryMetricReader()
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s") as active:
            row = OpenCall(active, "p", "chat", "m", 0)
            for _ in range(2):
                row.settle(ModelCall("p", "m", Usage(1, 1), 7))
        assert list(counted(reader)["harn.calls"].values()) == [1]


def test_no_call_is_counted_where_metrics_are_off() -> None:
    reader = InMemoryMetricReader()
    with instrumented(meter_provider=MeterProvider([reader]), metrics=False):
        with step("s"):
            record_llm_usage("m", 1, 1, 0.25)
        assert counted(reader) == {}


def test_no_call_is_counted_where_instrumentation_is_suppressed() -> None:
    reader = InMemoryMetricReader()
    with instrumented(meter_provider=MeterProvider([reader])):
        with step("s") as active, suppress_instrumentation():
            record_llm_usage("m", 1, 1, 0.25)
        assert counted(reader) == {}
    assert active.llm_calls == 1
