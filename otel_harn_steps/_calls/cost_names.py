"""What a call cost and used, under the names by which spans of calls have it, and those of the setting `emit`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from otel_harn_steps import _settings
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry import names

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._cost.usage import Usage


def cost_attributes(cost_picousd: int) -> dict[str, AttributeValue]:
    """The attributes of a call's span that say its price, whoever made the span."""
    usd = to_usd(cost_picousd)
    attributes: dict[str, AttributeValue] = {names.CALL_COST_USD: usd}
    for name in _settings.in_force.emit:
        if name == names.LANGFUSE:
            attributes[names.LANGFUSE_COST] = json.dumps({"total": usd})
        elif name != names.PHOENIX:
            attributes[name] = usd
    return attributes


def emitted_attributes(operation: str, model: str | None, usage: Usage | None) -> dict[str, AttributeValue]:
    """What backends are told of a call beside its price, as `emit` says.

    Args:
        operation: as in `gen_ai.operation.name`.
        model: the model that the price is of.
        usage: what it used. None: unknown.
    """
    attributes: dict[str, AttributeValue] = {}
    emit = _settings.in_force.emit
    if names.LANGFUSE in emit:
        attributes.update(_langfuse_attributes(operation, usage))
    if names.PHOENIX in emit and model is not None:
        attributes[names.PHOENIX_MODEL] = model
        if usage is not None and usage.cache_write_tokens:
            attributes[names.PHOENIX_CACHE_WRITE] = usage.cache_write_tokens
        if usage is not None and usage.web_searches:
            attributes[names.PHOENIX_SEARCHES] = usage.web_searches
    return attributes


def _langfuse_attributes(operation: str, usage: Usage | None) -> dict[str, AttributeValue]:
    """What Langfuse is told of a call beside its price.

    Its parts of the usage do not overlap: it adds them up.
    """
    attributes: dict[str, AttributeValue] = {
        names.LANGFUSE_TYPE: "embedding" if operation == "embeddings" else "generation"
    }
    if usage is not None:
        attributes[names.LANGFUSE_USAGE] = json.dumps(_parts(usage))
    return attributes


def _parts(usage: Usage) -> dict[str, int]:
    whole_input, whole_output = usage.input_tokens or 0, usage.output_tokens or 0
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    parts = {
        "input": max(whole_input - cached, 0),
        "input_cached_tokens": usage.cache_read_tokens,
        "input_cache_creation": usage.cache_write_tokens,
        "output": max(whole_output - usage.reasoning_tokens, 0),
        "output_reasoning_tokens": usage.reasoning_tokens,
        "total": whole_input + whole_output,
    }
    return {name: count for name, count in parts.items() if count or name in ("input", "output", "total")}
