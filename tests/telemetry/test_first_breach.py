"""The breaches of a declared limit are counted from 0 on, so that Prometheus's `increase()` sees the first one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, register_step_from_dict, step

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reader():
    harn.reset_steps()
    yield InMemoryMetricReader()
    harn.uninstrument()
    harn.reset_steps()


def counted(reader):
    """What every counter and histogram has, by its name."""
    found = reader.get_metrics_data()
    metrics = [] if found is None else found.resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: list(metric.data.data_points) for metric in metrics}


def breaches(reader):
    points = counted(reader).get("harn.step.budget.breaches", [])
    return {
        (each.attributes["harn.step.name"], each.attributes["harn.step.budget.limit"]): each.value for each in points
    }


def test_every_declared_limit_starts_at_zero_whether_declared_before_or_after(reader):
    @step("before", max_tokens=100, max_usd=0)
    def decorated():
        raise AssertionError("it is not called")

    register_step_from_dict("registered", {"name": "registered", "budget": {"max_usd": 0.5}})
    harn.instrument(meter_provider=MeterProvider([reader]))

    @step(max_tokens=0.5e3)
    async def after():
        raise AssertionError("it is not called")

    register_step_from_dict("too", {"budget": {"max_tokens": 0.5}})
    assert breaches(reader) == {
        ("before", "max_tokens"): 0,
        ("before", "max_usd"): 0,
        ("registered", "max_usd"): 0,
        ("after", "max_tokens"): 0,
        ("too", "max_tokens"): 0,
    }


def test_a_breach_is_counted_in_the_series_that_started_at_zero(reader):
    harn.instrument(meter_provider=MeterProvider([reader]))

    @step("draft", max_tokens=5)
    def draft():
        harn.record_llm_usage("m", 6, 0, 0.25)

    assert breaches(reader) == {("draft", "max_tokens"): 0}
    with pytest.raises(StepBudgetExceeded):
        draft()
    assert breaches(reader) == {("draft", "max_tokens"): 1}


def test_a_step_without_a_limit_and_a_step_that_is_only_entered_start_nothing(reader):
    harn.instrument(meter_provider=MeterProvider([reader]))

    @step("plan")
    def plan():
        raise AssertionError("it is not called")

    with step("entered", max_tokens=5):
        pass
    assert "harn.step.budget.breaches" not in counted(reader)


def test_no_other_series_is_made_up(reader):
    harn.instrument(meter_provider=MeterProvider([reader]))
    register_step_from_dict("draft", {"model": "gpt-4o-mini", "budget": {"max_usd": 0.5}})
    assert set(counted(reader)) == {"harn.step.budget.breaches"}


def test_without_metrics_nothing_starts(reader):
    register_step_from_dict("draft", {"budget": {"max_usd": 0.5}})
    harn.instrument(meter_provider=MeterProvider([reader]), metrics=False)
    register_step_from_dict("plan", {"budget": {"max_usd": 0.5}})
    assert counted(reader) == {}


def test_after_uninstrument_a_declaration_starts_nothing(reader):
    harn.instrument(meter_provider=MeterProvider([reader]))
    harn.uninstrument()
    register_step_from_dict("draft", {"budget": {"max_usd": 0.5}})
    assert counted(reader) == {}


def test_instrumenting_again_counts_on_at_the_new_provider(reader):
    register_step_from_dict("draft", {"budget": {"max_usd": 0.5}})
    harn.instrument(meter_provider=MeterProvider())
    harn.instrument(meter_provider=MeterProvider([reader]))
    assert breaches(reader) == {("draft", "max_usd"): 0}


def test_declaring_a_limit_loads_no_metrics_before_instrument_and_needs_no_sdk_after():
    program = (
        "import sys, otel_harn_steps as harn\n"
        "sys.modules['opentelemetry.sdk'] = None\n"  # as if it were not installed
        "harn.step('draft', max_usd=1)(print)\n"
        "assert 'opentelemetry.metrics' not in sys.modules\n"
        "harn.instrument()\n"
        "harn.step('plan', max_usd=1)(print)\n"
        "assert 'opentelemetry.metrics' in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_limit_of_a_file_of_steps_starts_at_zero_when_its_module_is_imported(tmp_path):
    (tmp_path / "harn-steps.toml").write_text('[[steps]]\ntarget = "agent:plan"\nbudget = { max_usd = 0.05 }\n')
    (tmp_path / "agent.py").write_text("def plan():\n    pass\n")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
        "OTEL_METRICS_EXPORTER": "console",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "otel_harn_steps.cli", "run", "--no-table", "--no-store", "--", sys.executable, "-c", "import agent"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    (scope,) = json.loads(ran.stdout)["resource_metrics"][0]["scope_metrics"]
    (metric,) = scope["metrics"]
    assert metric["name"] == "harn.step.budget.breaches"
    (point,) = metric["data"]["data_points"]
    assert (point["value"], point["attributes"]) == (
        0,
        {"harn.step.name": "plan", "harn.step.budget.limit": "max_usd"},
    )
