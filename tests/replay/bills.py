"""What a recorded call must cost in tokens, read from the recorded bytes by this file's own rules.

Input includes what was read from and written to caches, output includes reasoning, whatever the provider calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_harn_steps.testing import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.cases import Case

__all__ = ["NO_CALL", "UNMETERED_CALL", "Bill", "bill_of"]

_NOT_IN_TOTALS = frozenset({"compaction", "advisor_message"})
"""Anthropic's `usage.iterations` of these types come on top of the top-level numbers."""


def bill_of(case: Case) -> Bill:
    """The bill of one call that got this case's answer and read all of it."""
    if case.status >= 400 or case.endpoint == "count_tokens":
        return NO_CALL
    if case.expected_usage is None:
        return UNMETERED_CALL
    return _anthropic(case.expected_usage) if case.client == "anthropic" else _openai(case.expected_usage)


def _openai(usage: Mapping[str, Any]) -> Bill:
    chat = "prompt_tokens" in usage
    read = usage.get("prompt_tokens_details" if chat else "input_tokens_details") or {}
    written = usage.get("completion_tokens_details" if chat else "output_tokens_details") or {}
    return Bill(
        llm_calls=1,
        input_tokens=usage["prompt_tokens" if chat else "input_tokens"],
        output_tokens=usage.get("completion_tokens" if chat else "output_tokens") or 0,
        cache_read_tokens=read.get("cached_tokens") or 0,
        cache_write_tokens=read.get("cache_write_tokens") or 0,
        reasoning_tokens=written.get("reasoning_tokens") or 0,
    )


def _anthropic(usage: Mapping[str, Any]) -> Bill:
    hidden = [part for part in usage.get("iterations") or () if part["type"] in _NOT_IN_TOTALS]
    parts = [usage, *hidden]

    def total(name: str) -> int:
        return sum(part.get(name) or 0 for part in parts)

    read, written = total("cache_read_input_tokens"), total("cache_creation_input_tokens")
    return Bill(
        llm_calls=1,
        input_tokens=total("input_tokens") + read + written,
        output_tokens=total("output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=sum((part.get("output_tokens_details") or {}).get("thinking_tokens") or 0 for part in parts),
    )
