"""One run of a step: from entering it to the moment its record has left."""

from __future__ import annotations

from contextvars import Token
from time import time_ns

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from otel_harn_steps._guard import guard
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.active import ActiveStep, context_of, current_step
from otel_harn_steps._steps.boundary import Verdict, decide
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated
from otel_harn_steps._telemetry import metrics, names
from otel_harn_steps._telemetry.delivery import end_span_with
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps._telemetry.tracer import is_suppressed, tracer


class StepRun:
    """A step that has been entered. Made current at once; `leave` it exactly once."""

    __slots__ = ("_context", "_is_quiet", "_start_time_ns", "_token", "active")

    def __init__(self, definition: StepDefinition) -> None:
        self._start_time_ns = time_ns()
        context = get_current()
        self.active = active = ActiveStep(definition, current_step())
        self._is_quiet = is_suppressed(context)
        if not self._is_quiet:
            # Another processor's `on_start` may raise; the step runs on without a span then.
            with guard("starting a step's span", ours=False):
                active.span = tracer().start_span(
                    f"step {definition.name}",
                    context,
                    SpanKind.INTERNAL,
                    _start_attributes(active),
                    start_time=self._start_time_ns,
                )
                context = set_span_in_context(active.span, context)
        self._context = context_of(active, context)
        self._token: Token[Context] = attach(self._context)

    def suspend(self) -> None:
        """Stop being current while a generator's caller runs. What the body has attached itself is kept for it."""
        self._context = get_current()
        detach(self._token)

    def resume(self) -> None:
        """Be current again, as the body left it."""
        self._token = attach(self._context)

    def leave(self, raised: BaseException | None) -> Verdict:
        """End the step: streams are settled, the boundary decides, the record leaves.

        Args:
            raised: what left the body; None where it returned.
        """
        active = self.active
        with guard("settling streams"):
            active.run_leave_callbacks()
        verdict = decide(active, raised)
        with guard("ending a step"):
            end_time_ns = time_ns()
            record = _record(active, verdict, self._start_time_ns, end_time_ns)
            _close_span(active, verdict, record)
            end_span_with(active.span, record, end_time_ns)
            if not self._is_quiet and settings().metrics:
                breached = None if active.breach is None else active.breach.limit
                metrics.count(record, breached, active.by_model)
        # A generator that another task closes runs in another context, where this token would only be logged about.
        if current_step() is active:
            detach(self._token)
        return verdict


def _start_attributes(active: ActiveStep) -> dict[str, AttributeValue]:
    definition = active.definition
    attributes: dict[str, AttributeValue] = {
        names.STEP_NAME: definition.name,
        names.STEP_FUNCTION: definition.function,
        names.STEP_PATH: active.path,
    }
    if definition.model is not None:
        attributes[names.STEP_DEFAULT_MODEL] = definition.model
    if definition.error_boundary is not None:
        attributes[names.STEP_ERROR_BOUNDARY] = definition.error_boundary
    if definition.max_tokens is not None:
        attributes[names.STEP_MAX_TOKENS] = definition.max_tokens
    if definition.max_usd is not None:
        attributes[names.STEP_MAX_USD] = float(definition.max_usd)
    if definition.agent is not None:
        attributes[names.AGENT_NAME] = definition.agent
    return attributes


def _close_span(active: ActiveStep, verdict: Verdict, record: CompletedStep) -> None:
    span = active.span
    if not span.is_recording():
        return
    # All of it before `end()`: the SDK drops what is set in a processor's `_on_ending`.
    attributes = active.unshown()
    attributes[names.STATUS] = verdict.status
    if verdict.cause is not None:
        attributes[names.ERROR_TYPE] = _type_name(verdict.cause)
    span.set_attributes(attributes)
    if verdict.cause is not None:
        span.set_status(Status(StatusCode.ERROR, record.error))


def _record(active: ActiveStep, verdict: Verdict, start_time_ns: int, end_time_ns: int) -> CompletedStep:
    definition, own, subtree = active.definition, active.own, active.subtree
    context = active.span.get_span_context()
    return CompletedStep(
        name=definition.name,
        function=definition.function,
        model=active.last_model or definition.model,
        input_tokens=own.input_tokens,
        output_tokens=own.output_tokens,
        cost_usd=active.cost_usd,
        llm_calls=own.llm_calls,
        status=verdict.status,
        error=None if verdict.cause is None else _error_text(verdict.cause),
        cache_read_tokens=own.cache_read_tokens,
        cache_write_tokens=own.cache_write_tokens,
        reasoning_tokens=own.reasoning_tokens,
        total_input_tokens=subtree.input_tokens,
        total_output_tokens=subtree.output_tokens,
        total_cost_usd=active.total_cost_usd,
        total_llm_calls=subtree.llm_calls,
        unpriced_calls=own.unpriced_calls,
        unmetered_calls=own.unmetered_calls,
        max_tokens=definition.max_tokens,
        max_usd=None if definition.max_usd is None else float(definition.max_usd),
        error_boundary=definition.error_boundary,
        start_time=start_time_ns,
        end_time=end_time_ns,
        trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
        span_id=f"{context.span_id:016x}" if context.is_valid else None,
        parent_step=None if active.parent is None else active.parent.definition.name,
        path=active.path,
        observed_calls=own.observed_calls,
    )


def _error_text(error: BaseException) -> str:
    # The message of an app's exception may quote a prompt; ours holds names and numbers.
    is_ours = isinstance(error, (StepBudgetExceeded, StepEscalated))
    message = "" if settings().redact_errors and not is_ours else str(error)
    return message or _type_name(error)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
