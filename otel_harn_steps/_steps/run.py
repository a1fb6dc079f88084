"""One run of a step: from entering it to the moment its record has left."""

from __future__ import annotations

from contextvars import Token
from operator import attrgetter
from time import time_ns

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from otel_harn_steps import _process
from otel_harn_steps._guard import guard, type_name
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.active import ActiveStep, context_of, current_step
from otel_harn_steps._steps.boundary import Verdict, decide
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated
from otel_harn_steps._steps.span import start_attributes, zeros_of
from otel_harn_steps._steps.totals import COUNTERS, SUBTREE_COUNTERS
from otel_harn_steps._telemetry import delivery, metrics, names
from otel_harn_steps._telemetry.call_row import StartedStep
from otel_harn_steps._telemetry.delivery import end_span_with, step_started
from otel_harn_steps._telemetry.record import CompletedStep, completed_step, model_spend
from otel_harn_steps._telemetry.tracer import is_suppressed, tracer

_RECORD_COUNTERS = (*COUNTERS, *(f"total_{counter}" for counter in SUBTREE_COUNTERS))
_record_counts = attrgetter(*(f"own.{each}" for each in COUNTERS), *(f"subtree.{each}" for each in SUBTREE_COUNTERS))
# Made once: they are entered for every step.
_MAKING, _DELIVERING, _COUNTING = guard("making a record"), guard("delivering a record"), guard("counting a step")
_TELLING_START = guard("telling that a step has begun")
_CLOSING = guard("closing a step's span", ours=False)
_READING_MESSAGE = guard("reading an error's message", ours=False)


class StepRun:
    """A step that has been entered. Made current at once; `leave` it exactly once."""

    __slots__ = ("_context", "_is_left", "_is_quiet", "_start_time_ns", "_token", "active")

    def __init__(self, definition: StepDefinition, detail: str | None = None) -> None:
        self._start_time_ns = time_ns()
        self._is_left = False
        context = get_current()
        self.active = active = ActiveStep(definition, current_step(), detail)
        self._is_quiet = is_suppressed(context)
        span: Span | None = None
        if not self._is_quiet:
            # Another processor's `on_start` may raise; the step runs on without a span then.
            with guard("starting a step's span", ours=False):
                span = tracer().start_span(
                    f"step {definition.name}",
                    context,
                    SpanKind.INTERNAL,
                    start_attributes(definition, active.path, active.detail),
                    start_time=self._start_time_ns,
                )
                context = set_span_in_context(span, context)
        active.begin(span)
        if delivery.of_starts:
            with _TELLING_START:
                step_started(_started(active, self._start_time_ns))
        self._context = context_of(active, context)
        self._token: Token[Context] = attach(self._context)

    def suspend(self) -> None:
        """Stop being current while a generator's caller runs. What the body has attached itself is kept for it."""
        self._context = get_current()
        detach(self._token)

    def resume(self) -> None:
        """Be current again, as the body left it."""
        self._token = attach(self._context)

    @property
    def is_left(self) -> bool:
        """Whether the step has ended."""
        return self._is_left

    def leave(self, raised: BaseException | None) -> Verdict:
        """End the step: streams are settled, the boundary decides, the record leaves.

        Args:
            raised: what left the body; None where it returned.
        """
        self._is_left = True
        active = self.active
        try:
            interrupt = active.run_leave_callbacks()
            verdict = decide(active, raised if interrupt is None else interrupt)
            if active._forks == _process.forks:
                self._end(verdict)
        finally:
            active.end()
            # A generator that another task closes runs in another context, where this token would only be logged about.
            if current_step() is active:
                detach(self._token)
        return verdict

    def _end(self, verdict: Verdict) -> None:
        """Let the record leave and the span end. A fault in one keeps none of the others from happening."""
        active = self.active
        end_time_ns = time_ns()
        record: CompletedStep | None = None
        with active.tree.lock:  # a call that ends meanwhile is in the record, or it amends it
            with _MAKING:
                record = _record(active, verdict, self._start_time_ns, end_time_ns)
            active.status = verdict.status
        if record is None:
            return
        with _CLOSING:
            _close_span(active, verdict, record)
        with _DELIVERING:
            end_span_with(active.span, record, end_time_ns)
        if not self._is_quiet and settings().metrics:
            with _COUNTING:
                metrics.count(record, active.by_model)


def _close_span(active: ActiveStep, verdict: Verdict, record: CompletedStep) -> None:
    span = active.span
    if not span.is_recording():
        return
    # All of it before `end()`: the SDK drops what is set in a processor's `_on_ending`.
    attributes = zeros_of(active.shown)
    attributes[names.STATUS] = verdict.status
    if record.open_calls:
        attributes[names.OPEN_CALLS] = record.open_calls
    if verdict.cause is not None:
        attributes[names.ERROR_TYPE] = type_name(type(verdict.cause))
    span.set_attributes(attributes)
    if verdict.cause is not None:
        span.set_status(Status(StatusCode.ERROR, record.error))


def _started(active: ActiveStep, start_time_ns: int) -> StartedStep:
    definition, budget = active.definition, active.definition.budget
    context = active.span.get_span_context()
    return StartedStep(
        active.step_id,
        _process.run_id,
        active.parent_id,
        definition.name,
        definition.function,
        active.path,
        start_time_ns,
        model=definition.model,
        agent=active.agent,
        labels=active.labels,
        max_tokens=budget.max_tokens,
        max_usd=None if budget.max_usd is None else float(budget.max_usd),
        error_boundary=definition.error_boundary,
        trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
        detail=active.detail,
    )


def _record(active: ActiveStep, verdict: Verdict, start_time_ns: int, end_time_ns: int) -> CompletedStep:
    definition, budget = active.definition, active.definition.budget
    context = active.span.get_span_context()
    return completed_step(
        name=definition.name,
        function=definition.function,
        model=active.last_model or definition.model,
        cost_usd=active.cost_usd,
        status=verdict.status,
        error=None if verdict.cause is None else _error_text(verdict.cause),
        total_cost_usd=active.total_cost_usd,
        max_tokens=budget.max_tokens,
        max_usd=None if budget.max_usd is None else float(budget.max_usd),
        error_boundary=definition.error_boundary,
        start_time=start_time_ns,
        end_time=end_time_ns,
        trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
        span_id=f"{context.span_id:016x}" if context.is_valid else None,
        parent_step=None if active.parent is None else active.parent.definition.name,
        path=active.path,
        run_id=_process.run_id,
        step_id=active.step_id,
        parent_id=active.parent_id,
        agent=active.agent,
        labels=active.labels,
        breach=None if active.breach is None else active.breach.limit,
        by_model=tuple([model_spend(*key, tally) for key, tally in active.by_model.items()]),
        estimated_cost_usd=active.estimated_cost_usd if active.own.estimated_picousd else 0.0,
        open_calls=len(active.open),
        price_book=active.price_book,
        detail=active.detail,
        **dict(zip(_RECORD_COUNTERS, _record_counts(active), strict=True)),
    )


def _error_text(error: BaseException) -> str:
    # The message of an app's exception may quote a prompt; ours holds names and numbers.
    is_ours = isinstance(error, (StepBudgetExceeded, StepEscalated))
    if settings().redact_errors and not is_ours:
        return type_name(type(error))
    with _READING_MESSAGE:
        return str(error) or type_name(type(error))
    return type_name(type(error))
