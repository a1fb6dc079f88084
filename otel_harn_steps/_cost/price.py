"""`price()`: the number alone."""

from __future__ import annotations

import time
from datetime import datetime
from decimal import Decimal

from otel_harn_steps._arguments import flag, text, text_or_none
from otel_harn_steps._cost.money import to_exact_usd
from otel_harn_steps._cost.price_book import cost_picousd
from otel_harn_steps._cost.usage import Terms, Usage


def price(
    model: str,
    *,
    provider: str | None = None,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    cache_write_1h_tokens: int = 0,
    reasoning_tokens: int = 0,
    input_audio_tokens: int = 0,
    output_audio_tokens: int = 0,
    cache_read_audio_tokens: int = 0,
    input_image_tokens: int = 0,
    output_image_tokens: int = 0,
    web_searches: int = 0,
    service_tier: str | None = None,
    batch: bool = False,
    speed: str | None = None,
    regional: bool = False,
    at: datetime | None = None,
) -> Decimal | None:
    """What a call costs in US dollars, exactly. None for an unknown price, which is never 0.

    The settings of `instrument(prices=..., models=...)` hold here too.

    Args:
        model: as the provider names it: "gpt-5.4-2026-03-05", "eu.anthropic.claude-haiku-4-5-20251001-v1:0".
        provider: as in `gen_ai.provider.name` ("aws.bedrock") or as genai-prices has it ("aws"); None: the one that the
            model's name points to.
        input_tokens: all input, with what was read from and written to caches.
        output_tokens: all output, with reasoning.
        cache_read_tokens: of the input, what came from a cache.
        cache_write_tokens: of the input, what went into a cache, for however long.
        cache_write_1h_tokens: of that, what is kept for an hour.
        reasoning_tokens: of the output, what was thought.
        input_audio_tokens: of the input.
        output_audio_tokens: of the output.
        cache_read_audio_tokens: of the audio input, what came from a cache.
        input_image_tokens: of the input.
        output_image_tokens: of the output.
        web_searches: searches that the provider made and charges for.
        service_tier: "flex", "priority", ..., as the answer names it.
        batch: whether a batch API made the call.
        speed: Anthropic's "fast".
        regional: whether it was processed in a region that the app asked for: OpenAI's regional addresses, Anthropic's
            `inference_geo`. Bedrock's regions are in its model names.
        at: when the call was made, with a time zone; None for now. Prices change.

    Raises:
        TypeError: a count is not an integer, a name is not a string, or `at` is no time with a time zone.
        ValueError: a count is negative.
    """
    text("model", model)
    for name, value in (("provider", provider), ("service_tier", service_tier), ("speed", speed)):
        text_or_none(name, value)
    flag("batch", batch)
    flag("regional", regional)
    counts = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "cache_write_1h_tokens": cache_write_1h_tokens,
        "reasoning_tokens": reasoning_tokens,
        "input_audio_tokens": input_audio_tokens,
        "output_audio_tokens": output_audio_tokens,
        "cache_read_audio_tokens": cache_read_audio_tokens,
        "input_image_tokens": input_image_tokens,
        "output_image_tokens": output_image_tokens,
        "web_searches": web_searches,
    }
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must be an integer, not {count!r}")
        if count < 0:
            raise ValueError(f"{name} must not be negative, not {count!r}")
    terms = _terms(model, service_tier=service_tier, batch=batch, speed=speed, regional=regional)
    cost = cost_picousd(provider, model, Usage(**counts), terms, _seconds(at))
    return None if cost is None else to_exact_usd(cost)


def _seconds(at: datetime | None) -> float:
    if at is None:
        return time.time()
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise TypeError(f"at must be a time with a time zone, as in datetime(2026, 11, 15, tzinfo=UTC), not {at!r}")
    return at.timestamp()


def _terms(model: str, *, service_tier: str | None, batch: bool, speed: str | None, regional: bool) -> Terms:
    terms: list[tuple[str, str]] = []
    if service_tier is not None:
        terms.append(("service_tier", service_tier.lower()))
    if batch:
        terms.append(("processing", "batch"))
    if speed is not None:
        terms.append(("speed", speed))
    if regional:
        is_claude = "claude" in model
        terms.append(("inference_geo", "us") if is_claude else ("processing_region", "regional"))
    return tuple(terms)
