"""Every public function with wrong values: a clear error that names argument, value and what is allowed, and no change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import (
    Budget,
    Journal,
    JsonLinesSink,
    LogEventSink,
    StepDefinition,
    StepSpanProcessor,
    drain_completed_steps,
    record_llm_usage,
    step,
)
from tests.instrumented import instrumented

NO_TEXT: list[Any] = [5, b"x", True, ["x"], {"x": 1}, 0.5]
NO_NUMBER: list[Any] = ["0.5", "5", True, False, [5], {}, b"5", 1j]
NO_FLAG: list[Any] = ["no", "false", 1, 0, None, []]
NO_PROVIDER: list[Any] = ["x", 5, {}, object]


@dataclass(frozen=True)
class Wrong:
    """One argument of one function, and what it must not be."""

    function: Any
    argument: str
    values: list[Any]
    allowed: str
    arguments: dict[str, Any]


def wrong(function: Any, argument: str, values: list[Any], allowed: str, **arguments: Any) -> Wrong:
    return Wrong(function, argument, values, allowed, arguments)


def usage(**arguments: Any) -> None:
    record_llm_usage(**{"model": "m", "input_tokens": 1, "output_tokens": 1, **arguments})


def define(**arguments: Any) -> StepDefinition:
    return StepDefinition(**{"name": "s", "function": "s", **arguments})


def labelled(**values: Any) -> None:
    with harn.labels(**values):
        raise AssertionError("entered")


COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
DECLARING = {"step": lambda **options: step("s", **options), "StepDefinition": define}

TABLE = [
    *(wrong(usage, name, NO_NUMBER, "must be a number of tokens, or None for unknown") for name in COUNTS),
    wrong(usage, "cost_usd", NO_NUMBER, "must be a number of US dollars, or None for unknown"),
    wrong(usage, "model", NO_TEXT, "must be a string"),
    wrong(usage, "provider", NO_TEXT, "must be a string"),
    *(
        entry
        for declare in DECLARING.values()
        for entry in (
            wrong(declare, "agent", NO_TEXT, "must be a string"),
            wrong(declare, "model", NO_TEXT, "must be a string"),
            wrong(declare, "model", [""], "must not be empty"),
            wrong(declare, "error_boundary", [5, ["fail"], b"fail"], "must be a string"),
            wrong(declare, "scope", ["all", 5, None, ["step"], "Step"], "must be one of 'step', 'tree'"),
            wrong(declare, "metadata", [5, "x", [("a", 1)]], "must be a mapping"),
            wrong(declare, "detail", [5, b"x", ["x"]], "must be a string, or a function of the step's arguments"),
            wrong(declare, "max_tokens", NO_NUMBER, "must be a number above 0"),
            wrong(declare, "max_tokens", [0, -1, math.nan, math.inf], "must be a finite number above 0"),
            wrong(declare, "max_usd", NO_NUMBER, "must be a number, 0 or more"),
            wrong(
                declare,
                "max_usd",
                [-0.1, math.nan, math.inf, Decimal("NaN"), Decimal("sNaN"), 10**400],
                "must be a finite number, 0 or more",
            ),
            wrong(declare, "budget", [5, "x", [("max_usd", 1)]], "must be a Budget or a mapping"),
        )
    ),
    wrong(lambda **options: step("s", **options), "error_boundary", ["Continue", ""], "must be one of 'fail', "),
    wrong(lambda name: step(name=name), "name", NO_TEXT, "must be a string"),
    wrong(define, "name", [*NO_TEXT, None], "must be a string"),
    wrong(define, "function", [*NO_TEXT, None], "must be a string"),
    wrong(Budget, "max_tokens", ["5", True], "must be a number above 0"),
    wrong(Budget, "max_usd", ["5", True], "must be a number, 0 or more"),
    wrong(lambda function: harn.register_step(function, define()), "function", NO_TEXT, "must be a string"),
    wrong(
        lambda definition: harn.register_step("f", definition),
        "definition",
        [{}, "x", None, StepDefinition],
        "must be a StepDefinition",
    ),
    wrong(lambda function: harn.register_step_from_dict(function, {}), "function", NO_TEXT, "must be a string"),
    wrong(
        lambda metadata: harn.register_step_from_dict("f", metadata),
        "metadata",
        [None, "x", 5, [("name", "x")]],
        "must be a mapping",
    ),
    wrong(harn.enter_step, "function", [*NO_TEXT, None], "must be a string"),
    wrong(harn.price, "model", [*NO_TEXT, None], "must be a string"),
    *(
        wrong(harn.price, name, NO_TEXT, "must be a string", model="gpt-4o")
        for name in ("provider", "service_tier", "speed")
    ),
    *(wrong(harn.price, name, NO_FLAG, "must be True or False", model="gpt-4o") for name in ("batch", "regional")),
    wrong(harn.price, "input_tokens", [*NO_NUMBER, 0.5, None], "must be an integer", model="gpt-4o"),
    wrong(harn.price, "output_tokens", [-1], "must not be negative", model="gpt-4o"),
    wrong(harn.price, "at", ["2026", 5, datetime(2026, 1, 1)], "must be a time with a time zone", model="m"),  # noqa: DTZ001 -- it has none
    wrong(labelled, "tenant", [*NO_TEXT, None], "must be a string"),
    wrong(lambda name: harn.run(name), "name", [*NO_TEXT, None], "must be a string"),
    wrong(lambda name: harn.run(name), "name", [""], "must not be empty"),
    wrong(JsonLinesSink, "path", [5, None, ["x"], True, JsonLinesSink], "must be a path"),
    wrong(JsonLinesSink, "path", ["", b""], "must be a path"),
    wrong(Journal, "folder", [5, None, ["x"], ""], "must be a path"),
    wrong(Journal, "max_bytes", [0, -1, "5", None, 0.5, True], "must be a whole number above 0", folder="journal"),
    wrong(Journal, "max_age_s", [0, -1, "5", None, True, math.nan], "must be a number of seconds above 0", folder="j"),
    wrong(Journal, "run_id", NO_TEXT, "must be a string", folder="journal"),
    wrong(Journal, "run_name", NO_TEXT, "must be a string", folder="journal"),
    wrong(LogEventSink, "logger_provider", NO_PROVIDER, "must be a LoggerProvider, or None for the global one"),
    wrong(lambda step: harn.mark_escalated({}, step), "step", NO_TEXT, "must be a string"),
    wrong(lambda function: harn.mark_escalated({}, None, function), "function", NO_TEXT, "must be a string"),
    wrong(lambda sinks: StepSpanProcessor(sinks), "sinks", [5, "x", None, JsonLinesSink], "must hold callables"),
    *(
        wrong(harn.instrument, name, NO_FLAG, "must be True or False")
        for name in ("stream_usage", "metrics", "redact_errors", "threads", "unseen_calls")
    ),
    *(
        wrong(harn.instrument, f"{name}_provider", NO_PROVIDER, f"must be a {name.title()}Provider, or None")
        for name in ("tracer", "meter", "logger")
    ),
    wrong(harn.instrument, "call_spans", ["no", None, 1, []], "must be 'auto', True or False"),
    wrong(harn.instrument, "sinks", [5, "x", None, {}, JsonLinesSink, print], "must be a list of callables"),
    wrong(harn.instrument, "sinks", [[JsonLinesSink], ["x"], [None], [5]], "must hold callables"),
    wrong(harn.instrument, "clients", ["openai", 5, {"openai"}], "must be a list of names"),
    wrong(harn.instrument, "clients", [["opnai"], [5], [None]], "must be of openai, "),
    wrong(harn.instrument, "frameworks", ["langgraph", 5, None], "must be 'auto' or a list of names"),
    wrong(harn.instrument, "frameworks", [["lang-graph"], [5]], "must be of "),
    wrong(harn.instrument, "providers", ["x", 5, None], "must be a list of ClientAdapter instances"),
    wrong(harn.instrument, "prices", [5, "x", None, []], "must be a mapping such as"),
    wrong(harn.instrument, "prices", [{"m": 5}, {"m": None}], "must be a mapping of rates"),
    wrong(harn.instrument, "prices", [{"m": {}}], "must have at least one rate"),
    wrong(harn.instrument, "prices", [{"m": {"input": 5}}], "has no rate 'input'; allowed: input_mtok"),
    wrong(harn.instrument, "prices", [{"m": {"input_mtok": None}}, {"m": {"input_mtok": True}}], "must be a number"),
    wrong(harn.instrument, "prices", [{"m": {"input_mtok": -1}}, {"m": {"input_mtok": math.nan}}], "must be finite"),
    wrong(harn.instrument, "models", [5, "x", None], "must be a mapping such as"),
    wrong(harn.instrument, "models", [{"m": 5}, {5: "m"}, {"m": ""}], "must map names to names of models"),
    wrong(harn.instrument, "unpriced", ["free", 5, None, True, ["ignore"]], "must be 'estimate', 'ignore', 'refuse'"),
    wrong(harn.instrument, "unmetered", ["free", 5, None, True, {}], "must be 'estimate', 'ignore' or 'refuse'"),
]
EVERY = [(entry, value) for entry in TABLE for value in entry.values]


def named(pair: Any) -> str:
    entry, value = pair
    return f"{getattr(entry.function, '__name__', 'f').strip('<>')} {entry.argument} {value!r}"[:60]


@pytest.mark.parametrize("pair", EVERY, ids=named)
def test_a_wrong_value_is_refused_by_name_before_anything_happens(pair: Any) -> None:
    entry, value = pair
    with instrumented(prices={"m": {"input_mtok": 1, "output_mtok": 0}}):
        before = harn.current_run()
        with step("around") as around:
            with pytest.raises((TypeError, ValueError)) as caught:
                entry.function(**{**entry.arguments, entry.argument: value})
            assert (around.llm_calls, around.unpriced_calls, around.unmetered_calls) == (0, 0, 0)
            usage(input_tokens=10**6)  # and the settings are as they were
        assert (harn.current_step(), harn.current_run()) == (None, before)
        (record,) = drain_completed_steps()
        assert (record.llm_calls, record.cost_usd) == (1, 1.0)
    message = str(caught.value)
    assert entry.allowed in message
    assert_names(message, entry.argument, value)


def assert_names(message: str, argument: str, value: Any) -> None:
    """The message says which argument it is about, and what was given: the value, or what of it is wrong."""
    shown = [value, *(value if isinstance(value, list) else ())]
    if isinstance(value, dict):
        shown += [
            *value,
            *value.values(),
            *(each for rates in value.values() if isinstance(rates, dict) for each in rates),
        ]
    assert argument in message or argument == "tenant"
    is_shown = any(repr(each) in message or type(each).__name__ in message for each in shown)
    assert is_shown or (value == "" and "empty" in message), message


def test_labels_say_which_label_is_wrong() -> None:
    with pytest.raises(TypeError, match="label tenant must be a string, not 5"):
        labelled(tenant=5)


def test_arguments_without_a_name_are_refused() -> None:
    with pytest.raises(TypeError, match=r"instrument\(\) takes its arguments by their names, not \['openai'\] alone"):
        harn.instrument(["openai"])


@pytest.mark.parametrize("anything", [None, 5, "x", [], {}, {"kind": []}, {5: 5}, object(), type])
def test_what_is_no_budget_error_is_none_whatever_it_is(anything: Any) -> None:
    assert harn.is_step_budget_exhausted(anything) is False
    assert harn.mark_escalated(anything)["escalated"] is True


# -- what is odd, and right --------------------------------------------------------------------------------------------


class NumPyInteger(int):
    """A number of its own class, as NumPy has them."""


@pytest.mark.parametrize("count", [5, 5.9, Decimal("5.5"), NumPyInteger(5), Fraction(11, 2)])
def test_a_count_may_be_any_number(steps: Any, count: Any) -> None:
    with step("s") as active:
        usage(input_tokens=count, output_tokens=None, cost_usd=0.5)
    assert (active.input_tokens, active.cost_usd, active.unmetered_calls) == (5, 0.5, 1)


@pytest.mark.parametrize("cost", [math.nan, math.inf, -0.5, Decimal("NaN"), Decimal("sNaN"), Decimal(-1)])
def test_a_cost_that_is_no_amount_is_unknown(steps: Any, cost: Any) -> None:
    with step("s") as active:
        usage(cost_usd=cost)
    assert (active.cost_usd, active.unpriced_calls) == (0.0, 1)


@pytest.mark.parametrize("cost", [1, 0.5, Decimal("0.5"), Fraction(1, 2), 0])
def test_a_cost_may_be_any_number(steps: Any, cost: Any) -> None:
    with step("s") as active:
        usage(cost_usd=cost)
    assert (active.cost_usd, active.unpriced_calls) == (float(cost), 0)


def test_a_path_may_be_of_any_kind(steps: Any, tmp_path: Path) -> None:
    for path in (tmp_path / "a", str(tmp_path / "b"), str(tmp_path / "c").encode()):
        JsonLinesSink(path)(next(iter(_a_record())))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "c"]


def _a_record() -> list[Any]:
    with step("s"):
        pass
    return drain_completed_steps()
