"""`step("ticket", detail=...)`: what a run is about, on spans and records, and never in a metric."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import StepDefinition, drain_completed_steps, step
from otel_harn_steps._steps.totals import ModelCall
from tests.instrumented import instrumented
from tests.steps.sinks import Ledger
from tests.steps.spending import spend


def the_record():
    (record,) = drain_completed_steps()
    return record


def test_a_detail_is_on_the_span_the_record_and_the_start_of_the_step(spans):
    ledger = Ledger()
    with instrumented(tracer_provider=spans.provider, sinks=[ledger]):
        with step("ticket", detail="T-17") as active:
            assert active.detail == "T-17"
        (started,), record = ledger.of("started"), the_record()
    (span,) = spans.finished("step")
    assert (span.name, span.attributes["harn.step.name"], span.attributes["harn.step.detail"]) == (
        "step ticket",
        "ticket",
        "T-17",
    )
    assert (started.name, started.detail, record.name, record.detail) == ("ticket", "T-17", "ticket", "T-17")
    assert record.to_dict()["detail"] == "T-17"


def test_a_detail_is_on_the_amendments_of_a_step_and_not_on_the_steps_in_it(steps):
    with step("ticket", detail="T-17") as active, step("inner"):
        pass
    active.add(ModelCall("p", "m", None, 1))
    inner, ticket, amendment = drain_completed_steps()
    assert (inner.detail, ticket.detail, amendment.detail) == (None, "T-17", "T-17")


def test_no_metric_has_a_detail():
    reader = InMemoryMetricReader()
    with instrumented(meter_provider=MeterProvider([reader])):
        for number in range(20):
            with step("ticket", detail=f"T-{number}"):
                spend()
    text = reader.get_metrics_data().to_json()
    assert '"ticket"' in text
    assert "T-1" not in text


def test_a_detail_may_be_made_of_the_arguments(steps):
    @step("ticket", detail=lambda ticket, **_: f"T-{ticket}")
    def answer(ticket, tone="kind"):
        return tone

    class Desk:
        name = "first"

        @step("ticket", detail=lambda self, ticket: f"{self.name} {ticket}")
        async def answer(self, ticket): ...

        @step("ticket", detail=lambda self: self.name)
        def words(self):
            yield 1

        @step("ticket", detail=lambda self: self.name)
        async def awords(self):
            yield 1

    async def main():
        await Desk().answer("T-3")
        return [word async for word in Desk().awords()]

    assert (answer(17, tone="short"), list(Desk().words()), asyncio.run(main())) == ("short", [1], [1])
    assert [record.detail for record in drain_completed_steps()] == ["T-17", "first", "first T-3", "first"]


def ask(*_):
    raise LookupError("no such ticket")


@pytest.mark.parametrize(
    "detail",
    [ask, lambda: None, lambda ticket: 5, lambda ticket: None],
    ids=["raises", "takes none", "a number", "none"],
)
def test_a_detail_that_cannot_be_made_is_none_and_the_app_goes_on(steps, detail):
    @step("ticket", detail=detail)
    def answer(ticket):
        return ticket

    assert answer(1) == 1
    assert the_record().detail is None


def test_a_with_block_has_no_arguments_to_make_a_detail_of():
    with pytest.raises(TypeError, match="detail that is made of arguments, which a `with` block does not have"):
        with step("ticket", detail=ask):
            pass


@pytest.mark.parametrize("detail", [5, ["T"], b"T"])
def test_a_detail_is_a_string_or_a_function(detail):
    for declare in (lambda: step("ticket", detail=detail), lambda: StepDefinition("t", "t", detail=detail)):
        with pytest.raises(TypeError, match="detail must be a string, or a function of the step's arguments"):
            declare()


def test_a_registered_step_has_the_detail_of_its_dict_form(steps, caplog):
    harn.register_step_from_dict("f", {"detail": "T-17"})
    harn.register_step_from_dict("g", {"detail": 5})
    harn.register_step("h", StepDefinition("h", "h", detail=ask))
    for function in ("f", "g", "h"):
        with harn.enter_step(function):
            pass
    assert [record.detail for record in drain_completed_steps()] == ["T-17", None, None]
    assert "step 'g': detail is ignored: detail must be a string, not 5" in caplog.text
    assert "step 'h': detail is ignored: a step that is entered has no arguments" in caplog.text
