"""A forked child's counters: its own from zero, and the app's as the SDK has them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from otel_harn_steps import record_llm_usage, step
from tests.instrumented import instrumented

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def counted(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    metrics = [each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics]
    return {
        each.name: sum(getattr(point, "value", getattr(point, "sum", 0)) for point in each.data.data_points)
        for each in metrics
    }


def spend(cost_usd: float) -> None:
    with step("s", max_usd=100):
        record_llm_usage("m", 1, 1, cost_usd)


DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


@pytest.mark.parametrize("temporality", [None, DELTA], ids=["cumulative", "delta"])
def test_a_child_counts_from_zero_and_its_parent_goes_on(temporality: Any) -> None:
    reader = InMemoryMetricReader(preferred_temporality=temporality)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    of_app = provider.get_meter("app").create_counter("of.app")

    def work() -> dict[str, float]:
        spend(0.25)
        return counted(reader)

    with instrumented(meter_provider=provider):
        of_app.add(3)
        spend(2)
        child = in_child(work)
        spend(1)
        parent = counted(reader)

    names = ("harn.step.cost", "harn.step.run.cost", "harn.call.cost", "of.app")
    assert [child[name] for name in names] == [0.25, 0.25, 0.25, 3]
    assert [parent[name] for name in names] == [3, 3, 3, 3]


def test_a_childs_breaches_begin_at_zero_for_every_limit_that_is_declared() -> None:
    reader = InMemoryMetricReader()

    with instrumented(meter_provider=MeterProvider([reader], shutdown_on_exit=False)):
        step("declared", max_usd=1)(spend)(1)
        child = in_child(lambda: counted(reader))

    assert child == {"harn.step.budget.breaches": 0}
