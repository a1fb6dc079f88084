"""Rows of calls and steps, made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from otel_harn_steps._telemetry.call_row import NO_STEP, CallRow, StartedStep
from otel_harn_steps._telemetry.record import CompletedStep

RUN = "0123456789abcdef"


def sent(call_id: object, path: str = "plan", **fields: Any) -> CallRow:
    """The row of a call that was sent. `path` "": no step claims it."""
    known: dict[str, Any] = {
        "call_id": str(call_id),
        "run_id": RUN,
        "step_id": f"id of {path}" if path else None,
        "parent_id": None,
        "step": path.rpartition("/")[2] or NO_STEP,
        "path": path,
        "agent": None,
        "labels": {},
        "sent_at": 1_790_000_000_000_000_000,
        "provider": "openai",
        "operation": "chat",
        "requested_model": "gpt-5",
    }
    return CallRow(**(known | fields))


def settled(call_id: object, path: str = "plan", **fields: Any) -> CallRow:
    """The row of a call that was answered: 100 tokens in, 20 out, a tenth of a cent."""
    answered: dict[str, Any] = {
        "outcome": "answered",
        "certainty": "measured",
        "duration_ns": 5,
        "model": "gpt-5",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_picousd": 10**9,
    }
    return replace(sent(call_id, path), **(answered | fields))


def started(path: str = "plan", **fields: Any) -> StartedStep:
    """A step that was entered."""
    name = path.rpartition("/")[2]
    known: dict[str, Any] = {
        "step_id": f"id of {path}",
        "run_id": RUN,
        "parent_id": None,
        "name": name,
        "function": name,
        "path": path,
        "start_time": 1,
    }
    return StartedStep(**(known | fields))


def ended(path: str = "plan", **fields: Any) -> CompletedStep:
    """The record of a step that has ended: it called no model, and is `completed`."""
    name = path.rpartition("/")[2]
    known: dict[str, Any] = {
        "name": name,
        "function": name,
        "model": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
        "llm_calls": 0,
        "status": "completed",
        "error": None,
        "path": path,
        "run_id": RUN,
        "step_id": f"id of {path}",
    }
    return CompletedStep(**(known | fields))
