"""Settings that only a file had a reason for so far."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, drain_completed_steps, record_llm_usage, step


@pytest.fixture
def settings():
    def settings(**given):
        otel_harn_steps.instrument(**given)

    yield settings
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()


def test_redacted_errors_name_the_type_only(settings):
    settings(redact_errors=True)

    with pytest.raises(LookupError), step("plan"):
        raise LookupError("the prompt said: secret")

    [record] = drain_completed_steps()
    assert record.error == "LookupError"


def test_errors_are_told_whole_unless_redacted(settings):
    settings()

    with pytest.raises(LookupError), step("plan"):
        raise LookupError("no such page")

    [record] = drain_completed_steps()
    assert record.error == "no such page"


def test_the_message_of_a_budget_error_holds_no_text_of_the_app_and_stays(settings):
    settings(redact_errors=True)

    with pytest.raises(StepBudgetExceeded), step("plan", max_tokens=10):
        record_llm_usage(model="gpt-4o", input_tokens=20, output_tokens=0)

    [record] = drain_completed_steps()
    assert record.error == "step `plan` exceeded max_tokens budget (20 > 10)"


@pytest.mark.parametrize("is_on", [True, False])
def test_metrics_are_there_unless_switched_off(settings, is_on):
    reader = InMemoryMetricReader()
    settings(metrics=is_on, meter_provider=MeterProvider([reader]))

    with step("plan"):
        pass

    assert (reader.get_metrics_data() is not None) is is_on
