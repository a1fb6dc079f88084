"""What every record of a step says alike: its own, and those that amend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_harn_steps import _process

if TYPE_CHECKING:
    from otel_harn_steps._steps.active import ActiveStep


def facts_of(step: ActiveStep) -> dict[str, Any]:
    """Which step it is, and where: fields of a record."""
    definition, context = step.definition, step.span.get_span_context()
    return {
        "name": definition.name,
        "function": definition.function,
        "trace_id": f"{context.trace_id:032x}" if context.is_valid else None,
        "span_id": f"{context.span_id:016x}" if context.is_valid else None,
        "parent_step": None if step.parent is None else step.parent.definition.name,
        "path": step.path,
        "run_id": _process.run_id,
        "step_id": step.step_id,
        "parent_id": step.parent_id,
        "agent": step.agent,
        "labels": step.labels,
        "detail": step.detail,
    }
