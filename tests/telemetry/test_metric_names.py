"""Names of steps that are made at run time do not fill metrics, and nothing else."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import drain_completed_steps, step
from tests.instrumented import instrumented
from tests.steps.spending import spend


def names_in(reader):
    """By metric, the names of steps, with the sum of their numbers."""
    found = {}
    for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                name = point.attributes["harn.step.name"]
                sums = found.setdefault(metric.name, {})
                sums[name] = sums.get(name, 0) + getattr(point, "value", getattr(point, "count", 0))
    return found


@pytest.fixture
def reader():
    return InMemoryMetricReader()


def run_tickets(count, **options):
    for number in range(count):
        with step(f"ticket {number}", **options):
            spend(10, 0.5)


def test_steps_whose_names_are_too_many_are_counted_as_other(reader, caplog):
    with instrumented(meter_provider=MeterProvider([reader]), metric_step_names=3):
        run_tickets(10, max_tokens=100)
        run_tickets(10)
        found = names_in(reader)
        records = drain_completed_steps()
    few = {"ticket 0", "ticket 1", "ticket 2", "other"}
    assert {metric: set(names) for metric, names in found.items()} == dict.fromkeys(found, few)
    assert found["harn.step.cost"] == {"ticket 0": 1, "ticket 1": 1, "ticket 2": 1, "other": 7}
    assert found["harn.calls"]["other"] == 14
    assert {record.name for record in records} == {f"ticket {number}" for number in range(10)}
    (told,) = [record.getMessage() for record in caplog.records if "metric" in record.getMessage()]
    assert "steps have more than 3 names: step 'ticket 3' and all further ones are 'other' in metrics" in told
    assert "step(..., detail=...)" in told


def test_a_thousand_names_are_not_too_many(reader):
    with instrumented(meter_provider=MeterProvider([reader])):
        run_tickets(1001)
        found = names_in(reader)
    assert len(found["harn.step.duration"]) == 1001
    assert "other" in found["harn.step.duration"]


def test_limits_that_are_declared_count_as_names(reader):
    with instrumented(meter_provider=MeterProvider([reader]), metric_step_names=2):
        for number in range(4):
            step(f"ticket {number}", max_tokens=5)(len)
        found = names_in(reader)
    assert found == {"harn.step.budget.breaches": {"ticket 0": 0, "ticket 1": 0, "other": 0}}


def test_calls_that_no_step_claims_keep_their_name(reader):
    with instrumented(meter_provider=MeterProvider([reader]), metric_step_names=1), harn.run("nightly"):
        run_tickets(2)
        spend(10)
        found = names_in(reader)
    assert set(found["harn.calls"]) == {"ticket 0", "other", "(no step)"}


@pytest.mark.parametrize("value", [0, "10", None, True, 2.5])
def test_the_number_of_names_is_a_whole_number_above_0(value):
    with pytest.raises((TypeError, ValueError), match="metric_step_names must be a whole number above 0, not "):
        harn.instrument(metric_step_names=value)
