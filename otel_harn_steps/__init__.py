"""Per-step spans, exact cost and budgets that hold, for existing agent apps on OpenTelemetry.

from otel_harn_steps import instrument, step

instrument()

@step("plan", max_usd=0.05, error_boundary="escalate")
def plan(question): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from otel_harn_steps._steps.hooks import on_budget_pause, on_budget_threshold, on_step_end, on_step_start, remove_hook
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
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from otel_harn_steps._calls.record_usage import record_llm_usage
    from otel_harn_steps._cost.price import price
    from otel_harn_steps._instrument.instrument import instrument, uninstrument
    from otel_harn_steps._instrument.processor import StepSpanProcessor
    from otel_harn_steps._telemetry.journal import Journal
    from otel_harn_steps._telemetry.sink_queue import dropped_sink_events
    from otel_harn_steps._telemetry.sinks import JsonLinesSink, LogEventSink

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
    "reset_steps",
    "run",
    "step",
    "uninstrument",
    "unseen_calls",
]

# Imported at their first use: they need wrapt, the SDK, or the logs API, which a library that only declares steps
# should not pay for.
_LAZY = {
    "Journal": "_telemetry.journal",
    "JsonLinesSink": "_telemetry.sinks",
    "LogEventSink": "_telemetry.sinks",
    "StepSpanProcessor": "_instrument.processor",
    "dropped_sink_events": "_telemetry.sink_queue",
    "instrument": "_instrument.instrument",
    "record_llm_usage": "_calls.record_usage",
    "price": "_cost.price",
    "uninstrument": "_instrument.instrument",
}

for _public in (
    ActiveStep,
    Budget,
    CallRow,
    CompletedStep,
    ModelSpend,
    Run,
    StartedStep,
    Step,
    StepBudgetExceeded,
    StepDefinition,
    StepErrorBoundary,
    StepEscalated,
    UnseenCalls,
):
    _public.__module__ = __name__  # so that tracebacks, `error.type` and pickles name the public place


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- only for the lazy names

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
