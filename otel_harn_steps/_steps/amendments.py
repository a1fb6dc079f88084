"""Amendments: records of what came after a step's own record, or from another process than the step's."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.context import get_current

from otel_harn_steps import _settings
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.facts import facts_of
from otel_harn_steps._steps.totals import COUNTERS, NOTHING, ModelCall, Tally
from otel_harn_steps._telemetry import metrics
from otel_harn_steps._telemetry.delivery import deliver
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend, completed_step, model_spend
from otel_harn_steps._telemetry.tracer import is_suppressed

if TYPE_CHECKING:
    from otel_harn_steps._steps.active import ActiveStep

_AMENDING, _COUNTING = guard("amending a step"), guard("counting an amendment")


def amend(step: ActiveStep, call: ModelCall, replaces: ModelCall | None, breached: str | None, *, is_own: bool) -> None:
    """Let an amendment leave: a record that holds one late call, so that every sum over records stays right.

    Args:
        step: the step that it amends.
        call: the call, which the step's totals hold.
        replaces: what the step's record has of it. The amendment holds the difference.
        breached: the limit that the call made it cross; None for none.
        is_own: whether it is billed to this step itself, and not to one nested in it.
    """
    total = Tally.of(call, replaces=replaces)
    record: CompletedStep | None = None
    try:
        with _AMENDING:
            record = _amendment(step, call, replaces, total, breached, is_own=is_own)
            deliver(record)
    except BaseException:  # an interrupt: the amendment leaves all the same, and by no means twice
        if record is None:
            with _AMENDING:
                deliver(_amendment(step, call, replaces, total, breached, is_own=is_own))
        raise
    if _settings.in_force.metrics and not is_suppressed(get_current()):
        with _COUNTING:
            if is_own:
                by_model = {(call.provider, call.model): total}
                metrics.count_spend(step.definition.name, step.status or "running", step.labels, by_model)
            if breached is not None:
                metrics.count_breach(step.definition.name, breached)


def _amendment(
    step: ActiveStep, call: ModelCall, replaces: ModelCall | None, total: Tally, breached: str | None, *, is_own: bool
) -> CompletedStep:
    own = total if is_own else NOTHING
    now = time_ns()
    return completed_step(
        **facts_of(step),
        model=call.model if is_own else None,
        status=step.status or "running",
        error=None,
        cost_usd=to_usd(own.cost_picousd),
        estimated_cost_usd=to_usd(own.estimated_picousd),
        total_input_tokens=total.input_tokens,
        total_output_tokens=total.output_tokens,
        total_cost_usd=to_usd(total.cost_picousd),
        total_llm_calls=total.llm_calls,
        start_time=now,
        end_time=now,
        amends=step.step_id,
        breach=breached,
        by_model=_by_model(call, replaces) if is_own else (),
        price_book=call.price_book if is_own else None,
        **{counter: getattr(own, counter) for counter in COUNTERS},
    )


def _by_model(call: ModelCall, replaces: ModelCall | None) -> tuple[ModelSpend, ...]:
    """The difference, by model: what was counted before may have been billed under another one."""
    if replaces is None or (replaces.provider, replaces.model) == (call.provider, call.model):
        return (model_spend(call.provider, call.model, Tally.of(call, replaces=replaces)),)
    taken_back = NOTHING.minus(Tally.of(replaces))
    return (
        model_spend(call.provider, call.model, Tally.of(call)),
        model_spend(replaces.provider, replaces.model, taken_back),
    )
