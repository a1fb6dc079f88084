"""Dollars are exact, whatever the app has made of decimal numbers."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, price, record_llm_usage, step
from otel_harn_steps._cost.money import to_picousd

PICO = Decimal("1e-12")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    yield
    harn.reset_steps()


def billed(usd: Any) -> int:
    """The pico-dollars that are billed for a call of this cost."""
    with step("s") as active:
        record_llm_usage("m", 1, 1, usd)
    return round(Fraction(active.cost_usd) * 10**12)


@contextmanager
def decimals(**settings: Any) -> Iterator[None]:
    """An app that has set its decimal context."""
    with decimal.localcontext() as context:
        for name, value in settings.items():
            setattr(context, name, value)
        yield


def traps(signal: type[decimal.DecimalException]) -> dict[type[decimal.DecimalException], bool]:
    return {**dict.fromkeys(decimal.getcontext().traps, False), signal: True}


@pytest.mark.parametrize(
    ("usd", "picousd"),
    [
        (Decimal("0.5e-12"), 0),
        (Decimal("1.5e-12"), 2),
        (Decimal("2.5e-12"), 2),
        (Decimal("2.5000000000000000000000000000000000001e-12"), 3),
        (1.5e-12, 2),
        (0.1, 10**11),
        (3, 3 * 10**12),
        (Decimal("1e-999999"), 0),
    ],
)
def test_a_part_of_a_pico_dollar_is_rounded_half_even(usd: Any, picousd: int) -> None:
    assert billed(usd) == picousd


@pytest.mark.parametrize(
    "context",
    [
        {"prec": 3},
        {"prec": 13},
        {"rounding": decimal.ROUND_UP},
        {"rounding": decimal.ROUND_DOWN},
        {"Emax": 1, "Emin": -1},
        {"traps": traps(decimal.Inexact)},
        {"traps": traps(decimal.Rounded)},
        {"traps": traps(decimal.FloatOperation)},
    ],
    ids=["3 digits", "13 digits", "up", "down", "small exponents", "inexact", "rounded", "float"],
)
def test_the_apps_decimal_context_changes_no_amount(context: dict[str, Any]) -> None:
    usd = Decimal("1.2345678901245")
    with decimals(**context):
        assert billed(usd) == 1_234_567_890_124
        assert price("gpt-4o-mini", provider="openai", input_tokens=123_457, output_tokens=333) == Decimal("0.01871835")
        with step("exact", max_usd=0.123456789012):
            record_llm_usage("m", 1, 1, 0.123456789012)
        with pytest.raises(StepBudgetExceeded), step("less", max_usd=0.123456789012):
            record_llm_usage("m", 1, 1, 0.123456789013)


@pytest.mark.parametrize(
    "usd", [Decimal("1e400"), Decimal("9e999999"), 1.7e308, pytest.param(10**5000, id="5001 digits"), 1.1e300]
)
def test_what_no_call_can_cost_is_an_unknown_cost(usd: Any) -> None:
    with step("s"):
        record_llm_usage("m", 1, 1, 0.5)
        record_llm_usage("m", 1, 1, usd)
        record_llm_usage("m", 1, 1, usd)
    (record,) = harn.drain_completed_steps()
    assert (record.cost_usd, record.llm_calls, record.unpriced_calls) == (0.5, 3, 2)


def test_the_most_that_is_an_amount_is_exact_too() -> None:
    most = Decimal("1E300")
    assert to_picousd(most) == 10**312
    with decimal.localcontext() as context:
        context.prec = 320
        assert to_picousd(most - PICO) == 10**312 - 1
        assert to_picousd(most + PICO) is None


def test_a_truth_value_is_no_amount() -> None:
    assert (to_picousd(True), to_picousd(False), to_picousd("1")) == (None, None, None)


@given(st.integers(0, 10**312))
def test_an_amount_in_pico_dollars_is_kept_to_the_last_one(picousd: int) -> None:
    assert to_picousd(Decimal(f"{picousd}E-12")) == picousd


@pytest.mark.parametrize(
    ("tokens", "usd"), [(0, "0"), (1, "0.00000015"), (2_000_000, "0.3"), (20_000_000, "3"), (10**9, "150")]
)
def test_a_price_has_no_trailing_zeros_and_no_exponent(tokens: int, usd: str) -> None:
    got = price("gpt-4o-mini", provider="openai", input_tokens=tokens)
    assert got is not None
    assert f"{got:f}" == usd
    assert got.as_tuple() == Decimal(usd).as_tuple()
