"""What a configuration is tried with: a step that spent, as OTLP in JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final

from otel_harn_steps._telemetry import names

COST_USD: Final = 0.0625  # a float that every way of writing it keeps
_PROMPT: Final = "gen_ai.input.messages"


def trace_with(prompt: str) -> dict[str, Any]:
    """A step that crossed its budget, which every sampling keeps, and its call, with a prompt on it."""
    trace_id, step_id, call_id = os.urandom(16).hex(), os.urandom(8).hex(), os.urandom(8).hex()
    ends = time.time_ns()
    times = {"startTimeUnixNano": str(ends - 10**9), "endTimeUnixNano": str(ends)}
    step = {
        names.STEP_NAME: "check",
        names.STEP_FUNCTION: "check",
        names.STEP_PATH: "check",
        names.INPUT_TOKENS: 1000,
        names.OUTPUT_TOKENS: 100,
        names.COST_USD: COST_USD,
        names.LLM_CALLS: 1,
        names.MODEL: "some-model",
        names.STATUS: "failed",
        names.BUDGET_EXCEEDED: True,
    }
    call = {
        names.OPERATION: "chat",
        names.PROVIDER: "openai",
        names.RESPONSE_MODEL: "some-model",
        names.CALL_COST_USD: COST_USD,
        _PROMPT: f"a prompt: {prompt}",
    }
    spans = [
        {"traceId": trace_id, "spanId": call_id, "parentSpanId": step_id, "name": "chat some-model", "kind": 3}
        | {"attributes": _attributes(call)} | times,
        {"traceId": trace_id, "spanId": step_id, "name": "step check", "kind": 1}
        | {"attributes": _attributes(step), "status": {"code": 2}} | times,
    ]  # fmt: skip
    return {
        "resourceSpans": [{"resource": _RESOURCE, "scopeSpans": [{"scope": {"name": names.SCOPE}, "spans": spans}]}]
    }


def spend() -> dict[str, Any]:
    """The app's own metric of the same spend."""
    now = time.time_ns()
    point = {
        "attributes": _attributes({names.STEP_NAME: "check", names.STATUS: "failed", names.MODEL: "some-model"}),
        "startTimeUnixNano": str(now - 10**9), "timeUnixNano": str(now), "asDouble": COST_USD,
    }  # fmt: skip
    name, unit, _ = names.METRIC_COST
    total = {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": True}
    metrics = [{"name": name, "unit": unit, "sum": total}]
    return {
        "resourceMetrics": [
            {"resource": _RESOURCE, "scopeMetrics": [{"scope": {"name": names.SCOPE}, "metrics": metrics}]}
        ]
    }


def _attributes(values: Mapping[str, object]) -> list[dict[str, Any]]:
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(value)]: value}} for key, value in values.items()]


_RESOURCE: Final = {"attributes": _attributes({"service.name": "otel-harn-steps-check"})}
