"""Leaving a step, the boundary, the records: house plan, sections 2.4 and 2.5."""

import asyncio
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode

import otel_harn_steps as harn
from otel_harn_steps import CompletedStep, StepBudgetExceeded, StepEscalated, drain_completed_steps, step
from tests.steps.spending import spend


class Plain:
    """A step as a decorated function."""

    @staticmethod
    def run(body, **options):
        return step("s", **options)(lambda: body())()


class Coroutine:
    @staticmethod
    def run(body, **options):
        @step("s", **options)
        async def run():
            return body()

        return asyncio.run(run())


class Generator:
    @staticmethod
    def run(body, **options):
        @step("s", **options)
        def run():
            yield 1
            return body()

        def caller():
            return (yield from run())

        running = caller()
        assert next(running) == 1
        with pytest.raises(StopIteration) as stopped:
            next(running)
        return stopped.value.value


every_form = pytest.mark.parametrize("form", [Plain, Coroutine, Generator])


def the_record():
    (record,) = drain_completed_steps()
    return record


def breach():
    spend(130)
    pytest.fail("a crossed budget must raise")


def the_span(spans):
    (span,) = spans.finished("step s")
    return span


@every_form
def test_a_step_that_returns_is_completed(form, steps, spans):
    assert form.run(lambda: 7) == 7
    record, span = the_record(), the_span(spans)
    assert (record.status, record.error) == ("completed", None)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["harn.step.status"] == "completed"
    assert "harn.step.budget.exceeded" not in span.attributes  # it has no budget
    assert "error.type" not in span.attributes


@every_form
@pytest.mark.parametrize("boundary", [None, "fail"])
def test_fail_passes_the_same_error(form, boundary, steps, spans):
    seen = []

    def body():
        try:
            breach()
        except StepBudgetExceeded as error:
            seen.append(error)
            raise

    with pytest.raises(StepBudgetExceeded) as caught:
        form.run(body, max_tokens=100, error_boundary=boundary)
    assert caught.value is seen[0]
    record, span = the_record(), the_span(spans)
    assert (record.status, record.error) == ("failed", "step `s` exceeded max_tokens budget (130 > 100)")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "otel_harn_steps.StepBudgetExceeded"
    assert span.attributes["harn.step.budget.exceeded"] is True
    assert span.attributes["harn.step.budget.limit"] == "max_tokens"


@pytest.mark.parametrize("form", [Plain, Coroutine])
def test_continue_gives_the_fallback(form, steps, spans):
    assert form.run(breach, max_tokens=100, error_boundary="continue", fallback="instead") == "instead"
    assert form.run(breach, max_tokens=100, error_boundary="continue") is None
    first, second = drain_completed_steps()
    assert (first.status, second.status) == ("skipped", "skipped")
    assert {span.status.status_code for span in spans.finished()} == {StatusCode.ERROR}


@every_form
def test_escalate_raises_from_the_original(form, steps, spans):
    with pytest.raises(StepEscalated) as caught:
        form.run(breach, max_tokens=100, error_boundary="escalate")
    original = caught.value.__cause__
    assert isinstance(original, StepBudgetExceeded)
    assert caught.value.error is original
    assert caught.value.as_dict() == {**original.as_dict(), "escalated": True, "category": "handoff_escalation"}
    assert (the_record().status, the_span(spans).status.status_code) == ("escalated", StatusCode.ERROR)


@every_form
@pytest.mark.parametrize("boundary", ["fail", "continue", "escalate"])
def test_any_other_exception_passes_untouched(form, boundary, steps, spans):
    error = ValueError("broken")

    def body():
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        form.run(body, error_boundary=boundary)
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    record, span = the_record(), the_span(spans)
    assert (record.status, record.error) == ("failed", "broken")
    assert span.attributes["error.type"] == "ValueError"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "broken")


@every_form
@pytest.mark.parametrize("kind", [KeyboardInterrupt, asyncio.CancelledError])
def test_an_interruption_is_cancelled_whatever_the_boundary(form, kind, steps, spans):
    def body():
        raise kind

    with pytest.raises(kind):
        form.run(body, error_boundary="continue")
    assert (the_record().status, the_span(spans).status.status_code) == ("cancelled", StatusCode.ERROR)


def test_system_exit_is_a_failure(steps):
    with pytest.raises(SystemExit), step("s", error_boundary="continue"):
        raise SystemExit(3)
    assert (the_record().status) == "failed"


def test_a_context_manager_swallows_escalates_and_passes(steps):
    with step("s", max_tokens=100, error_boundary="continue"):
        breach()
    with pytest.raises(StepEscalated), step("s", max_tokens=100, error_boundary="escalate"):
        breach()
    with pytest.raises(StepBudgetExceeded), step("s", max_tokens=100):
        breach()
    assert [record.status for record in drain_completed_steps()] == ["skipped", "escalated", "failed"]


async def test_an_async_context_manager_does_the_same(steps):
    async with step("s", max_tokens=100, error_boundary="continue") as active:
        breach()
    assert active.llm_calls == 1
    with pytest.raises(StepEscalated):
        async with step("s", max_tokens=100, error_boundary="escalate"):
            breach()
    assert [record.status for record in drain_completed_steps()] == ["skipped", "escalated"]


def goes_on():
    try:
        breach()
    except StepBudgetExceeded:
        return "went on"


def test_a_swallowed_breach_is_judged_at_the_exit(steps):
    with pytest.raises(StepBudgetExceeded):
        Plain.run(goes_on, max_tokens=100)
    with pytest.raises(StepEscalated):
        Plain.run(goes_on, max_tokens=100, error_boundary="escalate")


def test_a_body_that_swallowed_its_breach_gives_its_own_value_under_continue(steps, spans):
    assert Plain.run(goes_on, max_tokens=100, error_boundary="continue", fallback="instead") == "went on"
    assert the_record().status == "completed"
    assert the_span(spans).attributes["harn.step.budget.limit"] == "max_tokens"


@pytest.mark.parametrize("boundary", ["fail", "escalate"])
def test_a_breach_that_the_body_accepted_is_not_raised_again(boundary, steps):
    def body():
        try:
            breach()
        except StepBudgetExceeded as error:
            error.accept()
            return "went on"

    assert Plain.run(body, max_tokens=100, error_boundary=boundary) == "went on"
    assert the_record().status == "completed"


def test_accepting_a_refusal_accepts_the_breach_behind_it(steps):
    with step("s", max_tokens=100) as active:
        with pytest.raises(StepBudgetExceeded):
            breach()
        with pytest.raises(StepBudgetExceeded) as refused:
            active.admit()
        refused.value.accept()
    assert the_record().status == "completed"


def test_a_boundary_judges_what_a_nested_step_let_out(steps):
    with step("outer", error_boundary="continue"), step("inner", max_tokens=100):
        breach()
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("inner", "failed"),
        ("outer", "skipped"),
    ]


def test_an_escalation_passes_every_boundary_above(steps):
    with (
        pytest.raises(StepEscalated) as caught,
        step("top", error_boundary="escalate"),
        step("outer", error_boundary="continue"),
    ):
        with step("inner", max_tokens=100, error_boundary="escalate"):
            breach()
    assert caught.value.step == "inner"
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("inner", "escalated"),
        ("outer", "failed"),
        ("top", "failed"),
    ]


@pytest.mark.parametrize("boundary", ["fail", "continue", "escalate"])
def test_a_step_forgives_its_own_overspending_but_not_its_parents(boundary, steps):
    with pytest.raises(StepBudgetExceeded) as caught, step("parent", max_tokens=100, scope="tree"):
        with step("child", error_boundary=boundary):
            breach()
    assert caught.value.step == "parent"
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("child", "failed"),
        ("parent", "failed"),
    ]


def test_a_parent_may_forgive_its_own_tree(steps):
    with (
        step("parent", max_tokens=100, scope="tree", error_boundary="continue"),
        step("child", error_boundary="continue"),
    ):
        breach()
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("child", "failed"),
        ("parent", "skipped"),
    ]


def test_a_breach_of_both_is_forgiven_below_and_raised_above(steps):
    with pytest.raises(StepBudgetExceeded) as caught, step("parent", max_tokens=100, scope="tree"):
        with step("child", max_tokens=100, error_boundary="continue"):
            breach()
    assert caught.value.step == "parent"
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("child", "skipped"),
        ("parent", "failed"),
    ]


def test_records_are_in_the_order_of_finishing_with_all_their_fields(steps, spans):
    with step("outer", model="big", max_tokens=1000, max_usd=1, error_boundary="escalate"), step("inner"):
        harn.record_llm_usage("m", 100, 30, 0.25, cache_read_tokens=40, cache_write_tokens=10, reasoning_tokens=5)
    inner, outer = drain_completed_steps()
    inner_span, outer_span = spans.finished("step")
    assert (inner.name, inner.function, inner.model, inner.path, inner.parent_step) == (
        "inner",
        "inner",
        "m",
        "outer/inner",
        "outer",
    )
    assert (inner.input_tokens, inner.output_tokens, inner.cost_usd, inner.llm_calls) == (100, 30, 0.25, 1)
    assert (inner.cache_read_tokens, inner.cache_write_tokens, inner.reasoning_tokens) == (40, 10, 5)
    assert (outer.input_tokens, outer.cost_usd, outer.total_input_tokens, outer.total_output_tokens) == (
        0,
        0.0,
        100,
        30,
    )
    assert (outer.total_cost_usd, outer.total_llm_calls, outer.max_tokens, outer.max_usd) == (0.25, 1, 1000, 1.0)
    assert (outer.error_boundary, outer.model, outer.parent_step, outer.path) == ("escalate", "big", None, "outer")
    for record, span in ((inner, inner_span), (outer, outer_span)):
        assert (record.trace_id, record.span_id) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
        assert (record.start_time, record.end_time) == (span.start_time, span.end_time)
        assert record.start_time <= record.end_time


def test_draining_empties_and_peeking_does_not(steps):
    with step("s"):
        pass
    assert harn.peek_completed_steps() == harn.peek_completed_steps() == drain_completed_steps()
    assert drain_completed_steps() == []


def test_the_log_is_bounded_and_counts_what_it_dropped(steps):
    from otel_harn_steps._telemetry.delivery import DEFAULT_CAPACITY, LeavingRecord, RecordLog

    log = RecordLog(capacity=2)
    with step("s"):
        pass
    (record,) = drain_completed_steps()
    for _ in range(5):
        log(LeavingRecord(lambda: record))
    assert (len(log.peek()), log.dropped, DEFAULT_CAPACITY) == (2, 3, 10_000)
    assert harn.dropped_completed_steps() == 0


whole = st.integers(min_value=0, max_value=2**53)
money = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
texts = st.none() | st.text()


@given(
    st.builds(
        CompletedStep,
        name=st.text(),
        function=st.text(),
        model=texts,
        input_tokens=whole,
        output_tokens=whole,
        cost_usd=money,
        llm_calls=whole,
        status=st.sampled_from(["completed", "failed", "skipped", "escalated", "cancelled"]),
        error=texts,
        max_usd=st.none() | money,
        total_cost_usd=money,
        trace_id=texts,
        path=st.text(),
    )
)
def test_a_record_survives_json(record):
    assert CompletedStep.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record


def test_a_number_that_is_not_finite_becomes_null():
    record = CompletedStep("s", "s", None, 1, 1, math.inf, 1, "completed", None, max_usd=math.nan)
    assert (record.to_dict()["cost_usd"], record.to_dict()["max_usd"]) == (None, None)


def test_a_record_of_a_newer_version_can_be_read():
    record = CompletedStep("s", "s", None, 1, 1, 0.5, 1, "completed", None)
    assert CompletedStep.from_dict({**record.to_dict(), "new": 1}) == record
    with pytest.raises(TypeError, match="status"):
        CompletedStep.from_dict({"name": "s"})


# -- what a framework makes of a budget error ------------------------------------------------------------------------


def wrapped_by_a_framework():
    try:
        breach()
    except StepBudgetExceeded as error:
        raise RuntimeError("the model call failed") from error


def translated_by_the_app():
    try:
        breach()
    except StepBudgetExceeded:
        raise LookupError("no answer") from None


def test_a_wrapped_breach_that_leaves_its_exhausted_step_is_that_breach(steps):
    assert Plain.run(wrapped_by_a_framework, max_tokens=100, error_boundary="continue", fallback="instead") == "instead"
    with pytest.raises(StepBudgetExceeded):
        Plain.run(wrapped_by_a_framework, max_tokens=100)
    assert [record.status for record in drain_completed_steps()] == ["skipped", "failed"]


def test_an_error_that_the_app_raises_from_none_is_its_own(steps):
    with pytest.raises(LookupError):
        Plain.run(translated_by_the_app, max_tokens=100, error_boundary="continue")


async def in_a_task_group(*bodies):
    async with asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(body())


async def spends_too_much():
    breach()


async def fails():
    raise ValueError("of the app")


def test_a_breach_in_an_exception_group_is_judged_by_the_boundary(steps):
    @step("s", max_tokens=100, error_boundary="continue", fallback="instead")
    async def run():
        await in_a_task_group(spends_too_much)

    assert asyncio.run(run()) == "instead"
    assert the_record().status == "skipped"


def test_continue_lets_the_other_errors_of_a_group_out(steps):
    @step("s", max_tokens=100, error_boundary="continue")
    async def run():
        await in_a_task_group(fails, spends_too_much)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    assert [type(each) for each in caught.value.exceptions] == [ValueError]
    assert the_record().status == "failed"


def test_a_group_leaves_a_step_that_fails_as_it_is(steps):
    @step("s", max_tokens=100)
    async def run():
        await in_a_task_group(spends_too_much)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    assert caught.group_contains(StepBudgetExceeded)


def test_escalate_escalates_the_breach_in_a_group(steps):
    @step("s", max_tokens=100, error_boundary="escalate")
    async def run():
        await in_a_task_group(spends_too_much)

    with pytest.raises(StepEscalated) as caught:
        asyncio.run(run())
    assert caught.value.as_dict()["limit"] == "max_tokens"


# -- ends that are none of ours ----------------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_printed_costs_no_record_and_no_span(steps, spans):
    with pytest.raises(UnprintableError), step("s"):
        raise UnprintableError
    assert the_record().error.endswith("UnprintableError")
    assert the_span(spans).status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("code", "status"), [(0, "completed"), (None, "completed"), (2, "failed"), ("no", "failed")])
def test_an_exit_is_a_failure_only_if_its_code_says_so(code, status, steps):
    with pytest.raises(SystemExit) as caught, step("s"):
        raise SystemExit(code)
    assert caught.value.code == code
    assert the_record().status == status


def test_an_interrupt_while_something_is_settled_passes_on_after_the_step_was_left(steps, spans):
    settled = []

    def interrupted():
        settled.append("interrupted")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), step("s") as active:
        active.on_leave(lambda: settled.append("first"))
        active.on_leave(interrupted)
    assert settled == ["interrupted", "first"]
    assert harn.current_step() is None
    assert the_record().status == "cancelled"
    assert the_span(spans).end_time is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_records_of_its_parents_and_leaves_none_for_its_open_step(steps):
    with step("before"):
        spend(1)
    reader, writer = os.pipe()
    with step("open"):
        child = os.fork()
        if child == 0:
            counts = [len(harn.peek_completed_steps())]
    if child == 0:
        counts.append(len(harn.peek_completed_steps()))
        os.write(writer, json.dumps(counts).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(reader, 100)) == [0, 0]
    assert [record.name for record in drain_completed_steps()] == ["before", "open"]
    os.close(reader)
    os.close(writer)
