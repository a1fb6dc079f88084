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
    from collections.abc import Sequence

    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.definition import StepDefinition
    from otel_harn_steps._steps.totals import Tally
    from otel_harn_steps._telemetry.record import Status

_own_counts = attrgetter(*COUNTERS)
_subtree_counts = attrgetter(*SUBTREE_COUNTERS)
_TOTALS: Final = tuple(f"total_{counter}" for counter in SUBTREE_COUNTERS)
_where = attrgetter("definition", "span_context", "_step_id", "path", "agent", "labels", "detail")
_of_parent = attrgetter("definition", "span_context", "_step_id")
_spent = attrgetter("own", "subtree", "last_model", "open_calls", "price_book", "budget_events")


def facts_of(step: ActiveStep) -> dict[str, Any]:
    """Which step it is, and where: fields of a record."""
    return _facts(_where(step), None if step.parent is None else _of_parent(step.parent), _process.run_id)


def _facts(where: tuple[Any, ...], parent: tuple[Any, ...] | None, run_id: str) -> dict[str, Any]:
    definition, context, step_id, path, agent, labels, detail = where
    parent_step: str | None = None
    parent_id: str | None = None
    if parent is not None:
        of_parent, context_of_parent, parent_id = parent
        parent_step, parent_id = of_parent.name, parent_id or f"{context_of_parent.span_id:016x}"
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
        (_where(step), None if step.parent is None else _of_parent(step.parent), _process.run_id),
        _spent(step),
        tuple(step.by_model.items()),
        status,
        error,
        start_time_ns,
        end_time_ns,
        None if step.breach is None else step.breach.limit,
    )


def _record(  # noqa: PLR0917 -- one caller, which runs at the end of every step
    place: tuple[tuple[Any, ...], tuple[Any, ...] | None, str],
    spent: tuple[Any, ...],
    by_model: Sequence[tuple[tuple[str, str | None], Tally]],
    status: Status,
    error: str | None,
    start_time_ns: int,
    end_time_ns: int,
    breach: str | None,
) -> CompletedStep:
    own, subtree, last_model, open_calls, price_book, budget_events = spent
    definition: StepDefinition = place[0][0]
    budget = definition.budget
    return completed_step(
        **_facts(*place),
        status=status,
        error=error,
        start_time=start_time_ns,
        end_time=end_time_ns,
        breach=breach,
        open_calls=open_calls,
        price_book=price_book,
        budget_events=budget_events,
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
