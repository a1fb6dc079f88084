"""One run of a step: from entering it to the moment its record has left."""

from __future__ import annotations

from collections.abc import Callable
from sys import is_finalizing
from time import time_ns

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, set_span_in_context

from otel_harn_steps import _process, _settings
from otel_harn_steps._guard import guard, type_name
from otel_harn_steps._guard.finalisers import finish_freed, freed, from_a_finaliser, is_collecting
from otel_harn_steps._steps import hooks
from otel_harn_steps._steps.active import ActiveStep, current_step, running
from otel_harn_steps._steps.boundary import COMPLETED, Verdict, decide
from otel_harn_steps._steps.contexts import ACTIVE_KEY, context_of, leave_context
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated
from otel_harn_steps._steps.facts import finished
from otel_harn_steps._steps.span import end_attributes, start_of
from otel_harn_steps._telemetry import delivery, metrics
from otel_harn_steps._telemetry.call_row import StartedStep
from otel_harn_steps._telemetry.delivery import LeavingRecord, step_started
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps._telemetry.recording import is_recording
from otel_harn_steps._telemetry.tracer import is_suppressed, tracer

# Made once: they are entered for every step.
_MAKING, _DELIVERING, _COUNTING = guard("making a record"), guard("delivering a record"), guard("counting a step")
_INTERNAL = SpanKind.INTERNAL
_STARTING = guard("starting a step's span", ours=False)
_DROPPING = guard("leaving a step that was dropped")
_REPORTING_START = guard("reporting that a step has begun")
_CLOSING = guard("closing a step's span", ours=False)
_READING_MESSAGE = guard("reading an error's message", ours=False)


class StepRun:
    """A step that has been entered. Made current at once; `leave` it exactly once.

    One that is dropped is left then: whoever entered it was interrupted before it could.
    """

    __slots__ = (
        "_context",
        "_end_time_ns",
        "_error",
        "_is_counted",
        "_is_left",
        "_is_quiet",
        "_leaving",
        "_start_time_ns",
        "_verdict",
        "active",
    )

    def __init__(self, definition: StepDefinition, detail: str | None = None) -> None:
        self._is_left = True  # there is nothing to leave yet
        self._start_time_ns = self._end_time_ns = time_ns()
        self._verdict: Verdict | None = None
        self._leaving: LeavingRecord | None = None
        self._is_counted = False
        self._error: str | None = None
        if freed:
            finish_freed()
        context = get_current()
        parent = current_step(context)
        if parent is not context.get(ACTIVE_KEY):  # it was looked through, and another context may be current
            context = get_current()
        self._context = context
        self.active = ActiveStep(definition, parent, context, detail)
        self._is_left = self._is_quiet = False
        self.__class__ = _OpenRun  # noqa: PLE0237 -- every object has it
        try:
            self._begin(context)
        except BaseException as error:  # an interrupt: there is no body that could be left
            self.leave(error)
            raise

    def _begin(self, context: Context) -> None:
        active = self.active
        self._is_quiet = is_suppressed(context)
        span: Span | None = None
        if not self._is_quiet:
            # Another processor's `on_start` may raise; the step runs on without a span then.
            try:
                name, attributes = start_of(active)
                span = tracer().start_span(name, context, _INTERNAL, attributes, start_time=self._start_time_ns)
                context = set_span_in_context(span, context)
            except Exception as fault:
                if not _STARTING.drops(fault):
                    raise
        active.begin(span)
        if delivery.of_starts:
            with _REPORTING_START:
                step_started(_started(active, self._start_time_ns))
        self._context = context_of(active, context)
        active.token = attach(self._context)
        if hooks.starts:
            hooks.step_starts(active)

    def suspend(self) -> None:
        """Stop being current while a generator's caller runs. What the body has attached itself is kept for it."""
        self._context = get_current()
        token = self.active.token
        if token is not None:
            detach(token)
            self.active.token = None  # last: where an interrupt comes before, the next look at the context finds it

    def resume(self) -> None:
        """Be current again, as the body left it."""
        self.active.outer = get_current()
        self.active.token = attach(self._context)

    @property
    def is_left(self) -> bool:
        """Whether the step has ended."""
        return self._is_left

    def leave(self, raised: BaseException | None) -> Verdict:
        """End the step: streams are settled, the boundary decides, the record leaves.

        An interrupt in the middle of it is raised when all of that is done.

        Args:
            raised: what left the body; None where it returned.
        """
        if isinstance(raised, GeneratorExit) and is_collecting():
            from_a_finaliser(self.leave_freed, raised)
            self._step_aside()
            return Verdict("cancelled", raised, raised)
        active = self.active
        try:
            try:
                self._is_left = True
                if freed:
                    finish_freed()
                interrupt = active.run_leave_callbacks() if active._on_leave else None
                return self._conclude(raised if interrupt is None else interrupt)
            except BaseException as error:
                active.run_leave_callbacks()
                self._conclude(error)
                raise
            finally:
                self._step_aside()
        finally:
            if not active.is_left:  # the interrupt came at the very line that should have done it
                self._step_aside()
            if self._is_left:
                self.__class__ = StepRun

    def leave_freed(self, raised: GeneratorExit) -> None:
        """Leave a step whose body was freed, unless it has been left."""
        if not self._is_left:
            self.leave(raised)

    def _conclude(self, raised: BaseException | None) -> Verdict:
        """Let the boundary decide, and the step end part by part. Called again, it goes on where it was interrupted."""
        active = self.active
        verdict = self._verdict
        if verdict is None:
            verdict = COMPLETED if raised is None and active.breach is None else decide(active, raised)
            self._end_time_ns = time_ns()
            self._verdict = verdict
        if active._forks == _process.forks:  # one from before a fork is reported by the process above
            self._make_record(verdict)
            self._end_span(verdict)
            self._count()
        return verdict

    def _step_aside(self) -> None:
        active = self.active
        try:
            running.pop(active.span_context.span_id, None)
            active.entered_by = None
            leave_context(active, self._context)
        except BaseException:
            leave_context(active, self._context)
            running.pop(active.span_context.span_id, None)
            raise

    # -- the parts of a step's end, each with a guard of its own. Begun again, none does again what it has done -----

    def _make_record(self, verdict: Verdict) -> None:
        active = self.active
        if active.status is None:
            make: Callable[[], CompletedStep] | None = None
            with active.tree.lock:  # a call that ends meanwhile is in the record, or it amends it
                try:
                    self._error = None if verdict.cause is None else _error_text(verdict.cause)
                    make = finished(active, verdict.status, self._error, self._start_time_ns, self._end_time_ns)
                except Exception as fault:
                    if not _MAKING.drops(fault):
                        raise
                self._leaving = LeavingRecord(make)
                active.status = verdict.status
            if active.tree.waiting:  # for the room of this step's budget, which refuses nothing any more
                active.tree.changed()
        leaving = self._leaving
        if leaving is not None and not leaving.is_kept:
            # In one line: an interrupt leaves it kept and marked, or neither.
            leaving.is_kept = delivery.log(leaving)

    def _end_span(self, verdict: Verdict) -> None:
        active, leaving = self.active, self._leaving
        span, records = active.span, False
        if span is not INVALID_SPAN and is_recording(span):
            records = True
            # Both before `end()`: the SDK drops what is set in a processor's `_on_ending`.
            try:
                span.set_attributes(end_attributes(active, verdict))
            except Exception as fault:
                if not _CLOSING.drops(fault):
                    raise
            if verdict.cause is not None:
                with _CLOSING:
                    span.set_status(Status(StatusCode.ERROR, self._error))
        if leaving is not None:
            try:
                leaving.end_span(span if records else None, self._end_time_ns)
            except Exception as fault:
                if not _DELIVERING.drops(fault):
                    raise

    def _count(self) -> None:
        leaving, active = self._leaving, self.active
        if self._is_counted or leaving is None:
            return
        self._is_counted = True
        if hooks.ends and leaving.record is not None:
            hooks.step_ends(leaving.record)
        if not self._is_quiet and _settings.in_force.metrics:
            try:
                if metrics.are_heard() and leaving.record is not None:
                    used = active.budget_used if active.definition.budget.is_limited else None
                    metrics.count(leaving.record, active.by_model, used)
            except Exception as fault:
                if not _COUNTING.drops(fault):
                    raise


class _OpenRun(StepRun):
    """One that has not been left.

    A class of its own, because Python drops what interrupts a `__del__`: the end of a step that was left has none.
    """

    __slots__ = ()

    def __del__(self) -> None:
        # At the end of the program, records have left, and what it takes to end a step may be gone.
        if not self._is_left and not is_finalizing():
            with _DROPPING:
                from_a_finaliser(self.leave_freed, GeneratorExit())


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


def _error_text(error: BaseException) -> str:
    # The message of an app's exception may quote a prompt; ours holds names and numbers.
    is_ours = isinstance(error, (StepBudgetExceeded, StepEscalated))
    if _settings.in_force.redact_errors and not is_ours:
        return type_name(type(error))
    try:
        with _READING_MESSAGE:
            return str(error) or type_name(type(error))
    except BaseException as raised:
        if not _was_raised_by_str(error, raised):
            raise
    return type_name(type(error))


def _was_raised_by_str(error: BaseException, raised: BaseException) -> bool:
    """Whether `raised` is of the app's own `__str__`, and no interrupt at the line that calls it."""
    above = raised.__traceback__
    below = None if above is None else above.tb_next
    return below is not None and below.tb_frame.f_code is getattr(type(error).__str__, "__code__", None)
