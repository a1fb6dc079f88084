"""What the records of a step say: its own, and those that amend it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps import _process
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._steps.totals import COUNTERS, SUBTREE_COUNTERS
from otel_harn_steps._telemetry.record import CompletedStep, completed_step, model_spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import SpanContext

    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.definition import StepDefinition
    from otel_harn_steps._steps.totals import Tally
    from otel_harn_steps._telemetry.record import Status

_own_counts = attrgetter(*COUNTERS)
_subtree_counts = attrgetter(*SUBTREE_COUNTERS)
_TOTALS: Final = tuple(f"total_{counter}" for counter in SUBTREE_COUNTERS)


def facts_of(step: ActiveStep) -> dict[str, Any]:
    """Which step it is, and where: fields of a record."""
    return _facts(*_where(step))


def _where(step: ActiveStep) -> tuple[Any, ...]:
    """What `_facts` takes."""
    parent = step.parent
    return (
        step.definition,
        step.span_context,
        None if parent is None else parent.definition.name,
        step.path,
        _process.run_id,
        step._step_id,
        None if parent is None else parent.step_id,
        step.agent,
        step.labels,
        step.detail,
    )


def _facts(  # noqa: PLR0917 -- two callers, with one tuple
    definition: StepDefinition,
    context: SpanContext,
    parent_step: str | None,
    path: str,
    run_id: str,
    step_id: str | None,
    parent_id: str | None,
    agent: str | None,
    labels: Mapping[str, str],
    detail: str | None,
) -> dict[str, Any]:
    span_id = f"{context.span_id:016x}" if context.is_valid else None
    return {
        "name": definition.name,
        "function": definition.function,
        "trace_id": f"{context.trace_id:032x}" if context.is_valid else None,
        "span_id": span_id,
        "parent_step": parent_step,
        "path": path,
        "run_id": run_id,
        "step_id": step_id or span_id,
        "parent_id": parent_id,
        "agent": agent,
        "labels": labels,
        "detail": detail,
    }


def finished(
    step: ActiveStep, status: Status, error: str | None, start_time_ns: int, end_time_ns: int
) -> Callable[[], CompletedStep]:
    """What makes the record of a step that ends now, whenever that is: what it says is decided now."""
    return partial(
        _record,
        _where(step),
        step.own,
        step.subtree,
        tuple(step.by_model.items()),
        status=status,
        error=error,
        last_model=step.last_model,
        start_time=start_time_ns,
        end_time=end_time_ns,
        breach=None if step.breach is None else step.breach.limit,
        open_calls=step.open_calls,
        price_book=step.price_book,
        budget_events=step.budget_events,
    )


def _record(
    where: tuple[Any, ...],
    own: Tally,
    subtree: Tally,
    by_model: Sequence[tuple[tuple[str, str | None], Tally]],
    *,
    last_model: str | None,
    **facts: Any,
) -> CompletedStep:
    definition: StepDefinition = where[0]
    budget = definition.budget
    return completed_step(
        **_facts(*where),
        **facts,
        model=last_model or definition.model,
        cost_usd=to_usd(own.cost_picousd),
        total_cost_usd=to_usd(subtree.cost_picousd),
        max_tokens=budget.max_tokens,
        max_usd=None if budget.max_usd is None else float(budget.max_usd),
        error_boundary=definition.error_boundary,
        by_model=tuple([model_spend(*key, tally) for key, tally in by_model]),
        estimated_cost_usd=to_usd(own.estimated_picousd),
        **dict(zip(COUNTERS, _own_counts(own), strict=True)),
        **dict(zip(_TOTALS, _subtree_counts(subtree), strict=True)),
    )
