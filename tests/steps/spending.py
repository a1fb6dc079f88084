"""Spending without a client."""

from __future__ import annotations

from otel_harn_steps import record_llm_usage


def spend(tokens=130, usd=0.0, model="m"):
    record_llm_usage(model, tokens - tokens // 4, tokens // 4, usd)
