"""Which budget error a boundary finds behind what left the step, and what the record says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import otel_harn_steps as harn
from otel_harn_steps import CompletedStep, StepBudgetExceeded, StepEscalated, step
from tests.steps.spending import spend


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    yield
    harn.reset_steps()


def records() -> dict[str, CompletedStep]:
    return {record.name: record for record in harn.drain_completed_steps()}


def from_it() -> None:
    try:
        spend()
    except StepBudgetExceeded as error:
        raise LookupError("no answer") from error


def while_handling_it() -> None:
    try:
        spend()
    except StepBudgetExceeded:
        raise LookupError("no answer")  # noqa: B904 -- as apps do


def deep_below() -> None:
    try:
        while_handling_it()
    except LookupError as error:
        raise RuntimeError from error


def behind_a_circle() -> None:
    first, second = ValueError("first"), ValueError("second")
    try:
        spend()
    except StepBudgetExceeded as error:
        first.__cause__, second.__cause__ = second, first
        raise ExceptionGroup("both", [first, second, error]) from first


def behind_errors_that_share_a_cause() -> None:
    shared = ValueError("shared")
    one, two = KeyError("one"), KeyError("two")
    one.__cause__ = two.__cause__ = shared
    try:
        spend()
    except StepBudgetExceeded as error:
        group = ExceptionGroup("all", [error])
        three = KeyError("three")
        three.__cause__ = group
        # The shared one is met a second time before the group is.
        raise RuntimeError from ExceptionGroup("several", [shared, one, two, three])


@pytest.mark.parametrize(
    "body", [from_it, while_handling_it, deep_below, behind_errors_that_share_a_cause], ids=lambda each: each.__name__
)
def test_a_budget_error_is_found_wherever_it_is_behind_another(body: Callable[[], None]) -> None:
    with step("s", max_tokens=100, error_boundary="continue"):
        body()
    assert records()["s"].status == "skipped"


def test_errors_that_cause_each_other_are_looked_at_once() -> None:
    with pytest.raises(ExceptionGroup) as caught, step("s", max_tokens=100, error_boundary="continue"):
        behind_a_circle()
    assert [str(each) for each in caught.value.exceptions] == ["first", "second"]


def test_a_circle_without_a_budget_error_is_a_failure() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(ValueError, match="first"), step("s", max_tokens=100, error_boundary="continue"):
        try:
            spend()
        except StepBudgetExceeded:
            raise first from second
    assert records()["s"].status == "failed"


def test_what_has_a_cause_is_not_judged_by_what_was_handled_meanwhile() -> None:
    with pytest.raises(LookupError), step("s", max_tokens=100, error_boundary="continue"):
        try:
            spend()
        except StepBudgetExceeded:
            raise LookupError from ValueError("the reason")
    assert records()["s"].status == "failed"


def test_a_step_does_not_forgive_the_breach_of_any_step_above() -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("top", max_tokens=100, scope="tree"):
        with step("middle", error_boundary="continue"), step("inner", error_boundary="continue"):
            spend()
    assert caught.value.step == "top"
    ended = records()
    assert {name: record.status for name, record in ended.items()} == dict.fromkeys(
        ("top", "middle", "inner"), "failed"
    )
    assert all("exceeded max_tokens budget" in (record.error or "") for record in ended.values())


def test_the_record_of_a_step_that_lets_the_others_of_a_group_out_names_the_group() -> None:
    with pytest.raises(ExceptionGroup), step("s", max_tokens=100, error_boundary="continue"):
        try:
            spend()
        except StepBudgetExceeded as error:
            raise ExceptionGroup("several", [error, ValueError("of the app")]) from None
    record = records()["s"]
    assert (record.status, "several" in (record.error or "")) == ("failed", True)


def test_a_breach_of_a_step_above_in_a_group_is_let_out() -> None:
    with pytest.raises(ExceptionGroup) as caught, step("top", max_tokens=150, scope="tree"):
        with step("s", max_tokens=100, error_boundary="continue"):
            for _ in range(2):
                with pytest.raises(StepBudgetExceeded) as own:
                    spend()
            above = harn.current_step().parent.breach
            raise ExceptionGroup("several", [own.value, above])
    assert own.value.step == "s"
    assert caught.value.exceptions == (above,)
    assert above.step == "top"


def test_an_escalation_has_the_facts_of_its_breach() -> None:
    @step("named", max_tokens=100, error_boundary="escalate")
    def some_function() -> None:
        spend()

    with pytest.raises(StepEscalated) as caught:
        some_function()
    error = caught.value.error
    assert isinstance(error, StepBudgetExceeded)
    assert (caught.value.step, caught.value.function) == (error.step, error.function) == ("named", "some_function")
    assert caught.value.as_dict() == {
        **error.as_dict(),
        "escalated": True,
        "category": caught.value.as_dict()["category"],
    }
    assert caught.value.as_dict()["escalated"] is True


def test_a_swallowed_breach_is_not_its_own_cause() -> None:
    @step("s", max_tokens=100)
    def swallows() -> None:
        with pytest.raises(StepBudgetExceeded):
            spend()

    with pytest.raises(StepBudgetExceeded) as caught:
        swallows()
    assert caught.value.__cause__ is None


def test_an_error_of_the_app_that_follows_a_nested_steps_breach_is_its_own() -> None:
    with pytest.raises(LookupError), step("outer", error_boundary="continue"):
        try:
            with step("inner", max_tokens=100):
                spend()
        except StepBudgetExceeded as error:
            raise LookupError("no answer") from error
    assert {name: record.status for name, record in records().items()} == {"inner": "failed", "outer": "failed"}
