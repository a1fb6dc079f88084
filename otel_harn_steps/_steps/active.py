"""The active step: the account of a step while it runs, and how it is found.

The active step lives in the OpenTelemetry Context, next to its span, so whatever carries the Context (asyncio, copied
contexts, the threading instrumentation) carries the step. Its span shows the same numbers and decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, Span, SpanContext, get_current_span

from otel_harn_steps._guard import guard
from otel_harn_steps._process import new_id
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.agents import agent_of
from otel_harn_steps._steps.amendments import amend
from otel_harn_steps._steps.contexts import ACTIVE_KEY, nearest_living
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.labels import current_labels
from otel_harn_steps._steps.program_run import account_around, current_run
from otel_harn_steps._steps.span import NOTHING_SHOWN, show_totals
from otel_harn_steps._steps.totals import ModelCall
from otel_harn_steps._telemetry.recording import is_recording

if TYPE_CHECKING:
    from contextvars import Token

_logger = logging.getLogger("otel_harn_steps")
_STARTING = guard("starting a step's span", ours=False)
_SHOWING = guard("showing what a step has spent on its span", ours=False)
running: dict[int, ref[ActiveStep]] = {}
"""The steps that run in this process and have a span, by the span's id. Whoever entered them holds them."""
_step_around: Callable[[int], ActiveStep | None] | None = None
_warned_bare_thread = False


def current_step(context: Context | None = None) -> ActiveStep | None:
    """The innermost step that is active here: in this task, thread, and copy of the context; or in `context`.

    Where only the step's span is current (`trace.use_span(span)` in a thread), it is found by that.
    """
    here = get_current() if context is None else context
    found = cast("ActiveStep | None", here.get(ACTIVE_KEY))
    if found is not None and found.is_left:
        found = nearest_living(found, here)
    if found is None and running:
        found = _step_of_span(get_current_span(context))
    return found


def current_account(context: Context | None = None) -> Account | None:
    """What a call that is made here is billed to: the active step, else the run or capture that is open.

    None: nothing.
    """
    active = current_step(context)
    if active is not None:
        return active
    if running and context is None:
        _warn_of_bare_thread()
    return account_around(context)


def account_here() -> tuple[Account | None, Context]:
    """As `current_account`, and the context in which that is so."""
    context = get_current()
    found: Any = context.get(ACTIVE_KEY)
    if found is not None and not found.is_left:  # the fast path: within a step, nothing else is to be asked
        return found, context
    return current_account(), get_current()  # to look for a step that lives may have changed it


class ActiveStep(Account):
    """A step while it runs.

    `input_tokens`, `output_tokens`, `cost_usd`, `llm_calls` are what its own calls spent; the `total_*` properties
    hold its nested steps too. US dollars; calls of unknown price are in `unpriced_calls` and not in the dollars.

    Attributes:
        parent: the step around this one.
        path: the names from the outermost step to this one.
        detail: what this run of the step is about.
        span: the step's span; invalid where there is none.
        outer: the context that the step was entered in.
        token: gives back what was current before the step. None: it is current again, or the step never was current.
        is_left: whether the step has been left.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    is_step = True

    __slots__ = (
        "__weakref__",
        "_step_id",
        "agent",
        "detail",
        "entered_by",
        "is_left",
        "outer",
        "parent",
        "path",
        "shown",
        "span",
        "span_context",
        "token",
    )

    def __init__(
        self, definition: StepDefinition, parent: ActiveStep | None, outer: Context, detail: str | None
    ) -> None:
        super().__init__(definition, account_around(outer) if parent is None else parent)
        self.parent = parent
        if parent is None:
            self.path: str = definition.name
            self.agent: str | None = definition.agent
        else:
            self.path = f"{parent.path}/{definition.name}"
            self.agent = definition.agent or parent.agent
        if self.agent is not None:
            self.belong_to(agent_of(self.agent))
        declared = definition.detail
        self.detail: str | None = declared if detail is None and isinstance(declared, str) else detail
        self.labels = current_labels(outer)
        self.span: Span = INVALID_SPAN
        self.span_context: SpanContext = INVALID_SPAN_CONTEXT  # the span's, which does not change
        self.outer = outer
        self.token: Token[Context] | None = None
        self.is_left = False
        # What a `with` entered this step by, for as long as it is entered.
        self.entered_by: object = None
        self.shown = NOTHING_SHOWN
        self._step_id: str | None = None

    @property
    def step_id(self) -> str:  # type: ignore[override]  # an account of no step has none
        """16 lowercase hex digits: the span's id where there is a span, else made here."""
        if self._step_id is None:
            self._step_id = f"{self.span_context.span_id:016x}"
        return self._step_id

    @property
    def parent_id(self) -> str | None:  # type: ignore[override]  # as above
        """The id of the step around this one."""
        return None if self.parent is None else self.parent.step_id

    def begin(self, span: Span | None) -> None:
        """The step is being entered. `span` None: it has none."""
        try:
            if span is not None:
                context = span.get_span_context()
                # Without an SDK, a tracer hands out the context of the span around.
                if context.is_valid and (is_recording(span) or context != get_current_span().get_span_context()):
                    self.span, self.span_context = span, context
                    running[context.span_id] = ref(self)
                    return
        except Exception as fault:
            if not _STARTING.drops(fault):
                raise
        self._step_id = new_id()

    def bill(self, call: ModelCall, response: object = None) -> None:
        """Add a finished call to the totals, then hold them against every budget that covers the call.

        Args:
            call: what was spent.
            response: the provider's answer, kept on the error.

        Raises:
            StepBudgetExceeded: a limit is crossed. The totals keep the call: the money is spent.
        """
        crossed = self.add(call, response)
        if crossed is not None:
            raise crossed

    def amend(self, call: ModelCall, replaces: ModelCall | None, breached: str | None, *, is_own: bool) -> None:
        """Report a call that came after the step's record, or that another process made in it."""
        amend(self, call, replaces, breached, is_own=is_own)

    def show(self) -> None:
        """Write to the span what has changed. What a span of somebody else's raises is logged and dropped."""
        try:
            if is_recording(self.span):
                self.shown = show_totals(self)
        except Exception:
            with _SHOWING:  # entered for a fault alone: this runs at every call
                raise


def any_step_is_open() -> bool:
    """Whether a step with a span runs in this process."""
    return any(each() is not None for each in list(running.values()))


def _step_of_span(span: Span) -> ActiveStep | None:
    """The running step whose span this is, or the span of something below it."""
    span_id = span.get_span_context().span_id
    found = _with_span(span_id)
    if found is None and _step_around is not None:
        found = _step_around(span_id)
    if found is None:  # a span of a provider that our processor does not see
        parent: Any = getattr(span, "parent", None)
        found = None if parent is None else _with_span(parent.span_id)
    return found


def _with_span(span_id: int) -> ActiveStep | None:
    known = running.get(span_id)
    return None if known is None else known()


def find_steps_by(step_around: Callable[[int], ActiveStep | None] | None) -> None:
    """Ask `step_around` which running step the span with an id was started in. None: ask nobody."""
    global _step_around  # noqa: PLW0603 -- one for all of the process
    _step_around = step_around


def _warn_of_bare_thread() -> None:
    global _warned_bare_thread  # noqa: PLW0603 -- once for all of the process
    if _warned_bare_thread or get_current() or current_thread() is main_thread() or not any_step_is_open():
        return
    _warned_bare_thread = True
    _logger.warning(
        "a call was made in thread %r, which carries no step, while steps are open: it is billed to %s; carry the step "
        "into threads with instrument(threads=True), or run the thread's work in contextvars.copy_context().run",
        current_thread().name,
        "no step" if current_run() is None else "the run, and to no step",
    )


def forget_bare_threads() -> None:
    """Warn of calls in bare threads again (tests)."""
    global _warned_bare_thread  # noqa: PLW0603 -- as above
    _warned_bare_thread = False
