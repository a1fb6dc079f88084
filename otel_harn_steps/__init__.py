"""Per-step spans, exact cost and budgets that hold, for existing agent apps on OpenTelemetry.

from otel_harn_steps import instrument, step

instrument()

@step("plan", max_usd=0.05, error_boundary="escalate")
def plan(question): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from otel_harn_steps._calls.record_usage import record_llm_usage
    from otel_harn_steps._cost.price import price
    from otel_harn_steps._instrument.instrument import instrument, uninstrument
    from otel_harn_steps._instrument.processor import StepSpanProcessor
    from otel_harn_steps._instrument.reset import reset_steps
    from otel_harn_steps._instrument.unseen_counts import UnseenCalls, unseen_calls
    from otel_harn_steps._steps.active import ActiveStep, current_step
    from otel_harn_steps._steps.budget import Budget
    from otel_harn_steps._steps.decorator import Step, enter_step, step
    from otel_harn_steps._steps.definition import StepDefinition, StepErrorBoundary
    from otel_harn_steps._steps.errors import (
        StepBudgetExceeded,
        StepBudgetStop,
        StepEscalated,
        is_step_budget_exhausted,
        mark_escalated,
    )
    from otel_harn_steps._steps.hooks import (
        on_budget_pause,
        on_budget_threshold,
        on_step_end,
        on_step_start,
        remove_hook,
    )
    from otel_harn_steps._steps.labels import labels
    from otel_harn_steps._steps.program_run import Run, current_run, run
    from otel_harn_steps._steps.registry import register_step, register_step_from_dict
    from otel_harn_steps._steps.steering import Remaining
    from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
    from otel_harn_steps._telemetry.delivery import (
        LedgerSink,
        drain_completed_steps,
        dropped_completed_steps,
        peek_completed_steps,
    )
    from otel_harn_steps._telemetry.journal import Journal
    from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
    from otel_harn_steps._telemetry.sink_queue import dropped_sink_events
    from otel_harn_steps._telemetry.sinks import JsonLinesSink, LogEventSink
    from otel_harn_steps.notebook import report

__all__ = [
    "ActiveStep",
    "Budget",
    "CallRow",
    "CompletedStep",
    "Journal",
    "JsonLinesSink",
    "LedgerSink",
    "LogEventSink",
    "ModelSpend",
    "Remaining",
    "Run",
    "StartedStep",
    "Step",
    "StepBudgetExceeded",
    "StepBudgetStop",
    "StepDefinition",
    "StepErrorBoundary",
    "StepEscalated",
    "StepSpanProcessor",
    "UnseenCalls",
    "__version__",
    "current_run",
    "current_step",
    "drain_completed_steps",
    "dropped_completed_steps",
    "dropped_sink_events",
    "enter_step",
    "instrument",
    "is_step_budget_exhausted",
    "labels",
    "mark_escalated",
    "on_budget_pause",
    "on_budget_threshold",
    "on_step_end",
    "on_step_start",
    "peek_completed_steps",
    "price",
    "record_llm_usage",
    "register_step",
    "register_step_from_dict",
    "remove_hook",
    "report",
    "reset_steps",
    "run",
    "step",
    "uninstrument",
    "unseen_calls",
]

# Imported at their first use: a library that only mentions the package should not pay for what it does not use.
_LAZY: Final = {
    "ActiveStep": "_steps.active",
    "Budget": "_steps.budget",
    "CallRow": "_telemetry.call_row",
    "CompletedStep": "_telemetry.record",
    "current_run": "_steps.program_run",
    "current_step": "_steps.active",
    "drain_completed_steps": "_telemetry.delivery",
    "dropped_completed_steps": "_telemetry.delivery",
    "dropped_sink_events": "_telemetry.sink_queue",
    "enter_step": "_steps.decorator",
    "instrument": "_instrument.instrument",
    "is_step_budget_exhausted": "_steps.errors",
    "Journal": "_telemetry.journal",
    "JsonLinesSink": "_telemetry.sinks",
    "labels": "_steps.labels",
    "LedgerSink": "_telemetry.delivery",
    "LogEventSink": "_telemetry.sinks",
    "mark_escalated": "_steps.errors",
    "ModelSpend": "_telemetry.record",
    "on_budget_pause": "_steps.hooks",
    "on_budget_threshold": "_steps.hooks",
    "on_step_end": "_steps.hooks",
    "on_step_start": "_steps.hooks",
    "peek_completed_steps": "_telemetry.delivery",
    "price": "_cost.price",
    "record_llm_usage": "_calls.record_usage",
    "register_step": "_steps.registry",
    "register_step_from_dict": "_steps.registry",
    "Remaining": "_steps.steering",
    "remove_hook": "_steps.hooks",
    "report": "notebook",
    "reset_steps": "_instrument.reset",
    "Run": "_steps.program_run",
    "run": "_steps.program_run",
    "StartedStep": "_telemetry.call_row",
    "Step": "_steps.decorator",
    "step": "_steps.decorator",
    "StepBudgetExceeded": "_steps.errors",
    "StepBudgetStop": "_steps.errors",
    "StepDefinition": "_steps.definition",
    "StepErrorBoundary": "_steps.definition",
    "StepEscalated": "_steps.errors",
    "StepSpanProcessor": "_instrument.processor",
    "uninstrument": "_instrument.instrument",
    "unseen_calls": "_instrument.unseen_counts",
    "UnseenCalls": "_instrument.unseen_counts",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- only for the lazy names

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
