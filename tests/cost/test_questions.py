"""What `price()` takes: a wrong value is named, and what is left out counts as nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_harn_steps import price

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "web_searches",
)


MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "gpt-image-1.5"),
    ("google", "gemini-2.5-flash"),
    ("anthropic", "claude-sonnet-4-5"),
    ("perplexity", "sonar-deep-research"),
]


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_a_call_that_used_nothing_costs_nothing(provider: str, model: str) -> None:
    assert price(model, provider=provider) == 0


@settings(deadline=None)  # the first question loads the price book
@given(st.fixed_dictionaries(dict.fromkeys(COUNTS, st.integers(0, 10**9))), st.sampled_from(MODELS))
def test_no_counts_however_odd_cost_less_than_nothing(counts: dict[str, int], where: tuple[str, str]) -> None:
    provider, model = where
    usd = price(model, provider=provider, **counts)
    assert usd is None or usd >= 0


def test_counts_that_contradict_each_other_have_no_price() -> None:
    tokens: dict[str, Any] = {"provider": "perplexity", "reasoning_tokens": 10**6}
    assert price("sonar-deep-research", output_tokens=0, **tokens) is None
    assert price("sonar-deep-research", output_tokens=10**6, **tokens) == 3


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "must not be negative, not -1"),
        (1.0, TypeError, "must be an integer, not 1.0"),
        (True, TypeError, "must be an integer, not True"),
    ],
)
def test_a_wrong_count_is_named(name: str, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        price("gpt-4o", **{name: value})
    assert str(caught.value) == f"{name} {text}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", None),
        ("provider", 1),
        ("service_tier", True),
        ("speed", 2),
        ("batch", "yes"),
        ("regional", 1),
        ("at", 0),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be .*, not {value!r}$"):
        price(**{"model": "gpt-4o", name: value})


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^at must be a time with a time zone"):
        price("gpt-4o", at=NOON.replace(tzinfo=None))


def test_a_time_is_the_same_in_every_zone() -> None:
    for hour, usd in ((2, "0.3"), (5, "0.15")):
        at = datetime(2026, 11, 16, hour, tzinfo=UTC)
        for zone in (UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-8))):
            got = price("deepseek-v4-flash", provider="deepseek", input_tokens=10**6, at=at.astimezone(zone))
            assert got == Decimal(usd)


def test_reasoning_is_a_part_of_the_output() -> None:
    tokens: dict[str, Any] = {"provider": "openai", "output_tokens": 1000, "at": NOON}
    assert price("o3", reasoning_tokens=400, **tokens) == price("o3", **tokens)


def test_anthropics_fast_speed_has_a_price_of_its_own_or_none() -> None:
    tokens: dict[str, Any] = {"provider": "anthropic", "input_tokens": 1000, "output_tokens": 1000, "at": NOON}
    listed = price("claude-opus-5", **tokens)
    fast = price("claude-opus-5", speed="fast", **tokens)
    assert listed is not None
    assert fast is not None
    assert fast > listed
    assert price("claude-opus-5", speed="unheard-of", **tokens) is None
