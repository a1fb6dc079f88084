"""Declaring a step: house plan, section 2.1."""

import logging
import math
from decimal import Decimal

import pytest

import otel_harn_steps as harn
from otel_harn_steps import Budget, StepDefinition, StepErrorBoundary, step


@pytest.fixture(autouse=True)
def clean():
    harn.reset_steps()
    yield
    harn.reset_steps()


def run_registered(function):
    with harn.enter_step(function) as active:
        pass
    return active.definition


def declared(metadata):
    harn.register_step_from_dict("f", metadata)
    return run_registered("f")


@pytest.mark.parametrize("function", [None, 1, b"f", ["f"]])
def test_the_dict_form_refuses_a_function_that_is_no_string(function):
    with pytest.raises(TypeError, match="function must be a string"):
        harn.register_step_from_dict(function, {})


@pytest.mark.parametrize("metadata", [None, 1, "x", [("name", "x")]])
def test_the_dict_form_refuses_metadata_that_is_no_mapping(metadata):
    with pytest.raises(TypeError, match="metadata must be a mapping"):
        harn.register_step_from_dict("f", metadata)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [({}, "f"), ({"name": "plan"}, "plan"), ({"name": ""}, ""), ({"name": 3}, "f"), ({"name": None}, "f")],
)
def test_the_name_is_taken_as_is_or_is_the_functions(metadata, name):
    assert declared(metadata).name == name


@pytest.mark.parametrize(("model", "kept"), [("m", "m"), ("", None), (None, None), (3, None), (["m"], None)])
def test_a_model_is_a_non_empty_string_or_none(model, kept):
    assert declared({"model": model}).model == kept


@pytest.mark.parametrize(
    ("text", "kept", "means"),
    [
        ("continue", "continue", "continue"),
        ("escalate", "escalate", "escalate"),
        ("fail", "fail", "fail"),
        ("Continue", "Continue", "fail"),
        (" continue", " continue", "fail"),
        ("ignore", "ignore", "fail"),
        (None, None, "fail"),
        (3, None, "fail"),
    ],
)
def test_any_boundary_text_is_kept_and_only_two_have_a_meaning(text, kept, means):
    definition = declared({"error_boundary": text})
    assert (definition.error_boundary, definition.boundary) == (kept, StepErrorBoundary(means))


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (100, 100),
        (1.9, 1),
        (0.5, 0),
        (0, None),
        (-1, None),
        (0.0, None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        ("100", None),
        (None, None),
        (10**400, 10**400),
        (2**63, 2**63),
    ],
)
def test_max_tokens_is_above_0_and_truncated(value, limit):
    assert declared({"budget": {"max_tokens": value}}).max_tokens == limit


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (0.05, 0.05),
        (1, 1),
        (0, 0),
        (0.0, 0.0),
        (-0.01, None),
        (math.nan, None),
        (math.inf, None),
        (False, None),
        ("1", None),
        (None, None),
        (10**400, None),
    ],
)
def test_max_usd_is_0_or_more(value, limit):
    definition = declared({"budget": {"max_usd": value}})
    assert definition.max_usd == limit
    assert type(definition.max_usd) is type(limit)


@pytest.mark.parametrize("budget", [None, 3, "x", []])
def test_a_budget_that_is_no_mapping_is_no_budget(budget):
    assert not declared({"budget": budget}).budget.is_limited


def test_unknown_keys_are_kept_as_metadata():
    definition = declared({"approval": "human", "receipt": True, "retry": {"max": 3}, "owner": "me"})
    assert dict(definition.metadata) == {"approval": "human", "receipt": True, "retry": {"max": 3}, "owner": "me"}


def test_each_ignored_value_is_logged_once_with_its_key_and_the_reason(caplog):
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        harn.register_step_from_dict(
            "f",
            {"name": 3, "model": 4, "error_boundary": 5, "budget": {"max_tokens": -1, "max_usd": "x", "max_eur": 1}},
        )
    texts = sorted(record.getMessage() for record in caplog.records)
    assert len(texts) == 6
    for key, reason in {
        "name": "must be a string",
        "model": "must be a string",
        "error_boundary": "must be a string",
        "budget.max_tokens": "above 0, not -1",
        "budget.max_usd": "not 'x'",
        "budget.max_eur": "max_tokens, max_usd, ",
    }.items():
        assert [text for text in texts if f"{key} is ignored" in text and reason in text], key


def test_what_is_right_or_absent_is_not_logged(caplog):
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        harn.register_step_from_dict("f", {"name": "n", "model": None, "budget": {"max_tokens": None, "max_usd": 0}})
    assert not caplog.records


def test_registering_again_replaces_the_definition_whole():
    harn.register_step_from_dict("f", {"name": "one", "model": "m", "budget": {"max_tokens": 5}})
    harn.register_step_from_dict("f", {"name": "two"})
    assert run_registered("f") == StepDefinition("two", "f")


def test_a_running_step_keeps_the_definition_that_it_started_with():
    harn.register_step_from_dict("f", {"name": "one"})
    with harn.enter_step("f") as active:
        harn.register_step_from_dict("f", {"name": "two"})
    assert (active.definition.name, harn.drain_completed_steps()[0].name) == ("one", "one")


def test_a_definition_is_registered_under_the_function_that_is_named():
    harn.register_step("g", StepDefinition("plan", "elsewhere", max_tokens=3))
    assert run_registered("g") == StepDefinition("plan", "g", max_tokens=3)


@pytest.mark.parametrize(("function", "definition"), [(1, StepDefinition("a", "b")), ("f", {"name": "a"})])
def test_register_step_checks_its_arguments(function, definition):
    with pytest.raises(TypeError):
        harn.register_step(function, definition)


def test_entering_a_function_that_is_not_registered_tracks_nothing():
    with harn.enter_step("nobody") as active:
        assert active is None
        assert harn.current_step() is None
    assert harn.drain_completed_steps() == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_tokens": 0}, ValueError),
        ({"max_tokens": -1}, ValueError),
        ({"max_tokens": math.nan}, ValueError),
        ({"max_tokens": "5"}, TypeError),
        ({"max_tokens": True}, TypeError),
        ({"max_usd": -0.1}, ValueError),
        ({"max_usd": math.inf}, ValueError),
        ({"max_usd": "5"}, TypeError),
        ({"model": ""}, ValueError),
        ({"model": 5}, TypeError),
        ({"error_boundary": "Continue"}, ValueError),
        ({"error_boundary": 5}, TypeError),
        ({"scope": "all"}, ValueError),
        ({"agent": 5}, TypeError),
        ({"budget": 5}, TypeError),
        ({"budget": {"max_eur": 5}}, ValueError),
        ({"budget": {"max_usd": 5}, "max_usd": 5}, TypeError),
    ],
)
def test_the_python_form_refuses_what_the_dict_form_ignores(options, error):
    with pytest.raises(error) as caught:
        step("plan", **options)
    assert next(iter(options)) in str(caught.value) or "max_eur" in str(caught.value)


def test_the_python_form_takes_a_budget_in_three_forms():
    for options in (
        {"max_tokens": 9.7, "max_usd": Decimal("0.05")},
        {"budget": Budget(max_tokens=9.7, max_usd=Decimal("0.05"))},
        {"budget": {"max_tokens": 9.7, "max_usd": Decimal("0.05")}},
    ):
        definition = step("plan", **options).definition
        assert (definition.max_tokens, definition.max_usd) == (9, Decimal("0.05"))


def test_a_bare_decorator_names_the_step_after_the_function():
    @step
    def plan():
        return harn.current_step().definition

    assert (plan().name, plan().function) == ("plan", "plan")


def test_a_method_is_a_function_with_its_class_in_its_name():
    class Planner:
        @step("plan")
        def plan(self):
            return harn.current_step().definition

        @step
        @classmethod
        def make(cls):
            return cls, harn.current_step().definition.function

        @staticmethod
        @step
        def help():
            return harn.current_step().definition.function

    assert Planner().plan().function == "Planner.plan"
    assert Planner.make() == (Planner, "Planner.make")
    assert Planner.help() == "Planner.help"


def test_a_class_is_no_step():
    with pytest.raises(TypeError, match="a function or a method"):
        step(Budget)


def test_an_entered_step_needs_a_name():
    with pytest.raises(TypeError, match="needs a name"), step(max_tokens=5):
        pass


def test_a_definition_is_immutable_and_checked():
    definition = StepDefinition("plan", "f")
    with pytest.raises(AttributeError):
        definition.name = "x"
    for wrong in (
        {"max_usd": -1},
        {"max_tokens": "x"},
        {"scope": "x"},
        {"error_boundary": 1},
        {"name": 1},
        {"max_tokens": False},
    ):
        with pytest.raises((TypeError, ValueError)):
            StepDefinition(**{"name": "plan", "function": "f", **wrong})
