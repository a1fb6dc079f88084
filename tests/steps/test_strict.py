"""`step()` takes what it knows and nothing else: a typo must never switch a budget off."""

import logging
from decimal import Decimal

import pytest

import otel_harn_steps as harn
from otel_harn_steps import Budget, Step, StepBudgetExceeded, StepDefinition, drain_completed_steps, step
from tests.steps.spending import spend


def test_an_unknown_option_is_refused_with_the_nearest_known_one():
    with pytest.raises(TypeError, match=r"no option 'max_tokns'; did you mean 'max_tokens'\? Allowed: name, model"):
        step("plan", max_tokns=5)


def test_what_else_belongs_to_a_step_goes_into_metadata():
    assert step("plan", metadata={"owner": "me"}).definition.metadata == {"owner": "me"}
    with pytest.raises(TypeError, match="metadata must be a mapping"):
        step("plan", metadata="me")


def test_an_unknown_key_of_a_budget_is_refused_with_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"budget has .*, not 'max_dollars'; did you mean"):
        step("plan", budget={"max_dollars": 1})


@pytest.mark.parametrize("boundary", [None, "fail", "escalate"])
def test_a_fallback_needs_the_boundary_that_delivers_it(boundary):
    with pytest.raises(ValueError, match="fallback is delivered by error_boundary 'continue' alone"):
        step("plan", error_boundary=boundary, fallback="none")


def test_a_with_block_cannot_deliver_a_fallback():
    entered = step("plan", error_boundary="continue", fallback="none")
    with pytest.raises(TypeError, match="a `with` block cannot deliver"), entered:
        pass
    assert harn.current_step() is None


def test_a_generator_cannot_deliver_a_fallback():
    def numbers():
        yield 1

    async def numbers_async():
        yield 1

    for function in (numbers, numbers_async):
        with pytest.raises(TypeError, match="a generator cannot deliver"):
            step("plan", error_boundary="continue", fallback="none")(function)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"agent": 5}, "agent must be a string, not 5"),
        ({"model": ""}, "model must not be empty"),
        ({"max_tokens": "5"}, "max_tokens must be a number above 0, not '5'"),
        ({"max_usd": -1}, "max_usd must be a finite number, 0 or more, not -1"),
        ({"scope": "all"}, "scope must be one of 'step', 'tree', not 'all'"),
        ({"budget": 5}, "budget must be a Budget or a mapping, not 5"),
        ({"budget": Budget(), "max_tokens": 5}, "not both"),
    ],
)
def test_a_bad_value_is_refused_by_every_python_form(values, message):
    for declare in (lambda: step("plan", **values), lambda: StepDefinition("plan", "plan", **values)):
        with pytest.raises((TypeError, ValueError), match=message):
            declare()


def test_a_definition_holds_its_budget():
    definition = StepDefinition("plan", "plan", max_tokens=0.5, max_usd=0.05)
    assert (definition.budget.max_tokens, definition.max_tokens, definition.max_usd) == (0, 0, 0.05)
    assert StepDefinition("plan", "plan", budget=definition.budget) == definition


def test_a_limit_of_any_size_is_a_limit_and_the_span_shows_what_it_can_carry(steps, spans):
    with step("s", max_tokens=2**70):
        spend(1)
    (record,) = drain_completed_steps()
    assert record.max_tokens == 2**70
    (span,) = spans.finished("step s")
    assert span.attributes["harn.step.budget.max_tokens"] == 2**63 - 1


def test_a_limit_in_dollars_of_any_size_is_held(steps):
    with pytest.raises(StepBudgetExceeded), step("s", max_usd=Decimal(10) ** 30):
        spend(1, Decimal(10) ** 30)
        spend(1, Decimal("0.000001"))


def test_the_dict_form_ignores_a_fallback_that_nobody_can_get(caplog):
    harn.register_step_from_dict("f", {"fallback": "none", "error_boundary": "escalate"})
    (warning,) = caplog.records
    assert (warning.levelno, "fallback is ignored" in warning.getMessage()) == (logging.WARNING, True)


def test_the_dict_form_says_loudly_that_a_limit_is_misspelt(caplog):
    harn.register_step_from_dict("f", {"budget": {"max_token": 5}})
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert "did you mean 'max_tokens'?" in said.getMessage()


def test_an_entered_step_ignores_a_registered_fallback(steps, caplog):
    harn.register_step_from_dict("f", {"fallback": "none", "error_boundary": "continue"})
    with harn.enter_step("f"):
        pass
    assert "fallback is ignored" in caplog.text


def test_a_step_is_public():
    assert isinstance(step("plan"), Step)
    assert step("plan").definition.name == "plan"
