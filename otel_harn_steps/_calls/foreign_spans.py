"""Calls of clients that are not patched, billed from the spans of other instrumentations.

A span is billed to the step that was active when it started, unless the engine billed its call. That is so

- where the span was around the engine's call, or within it: spans and contexts show it;
- where it was next to it, as those of callbacks are: then a call of the same time, and of the same answer or model.
"""

from __future__ import annotations

from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from opentelemetry.trace import get_current_span

from otel_harn_steps._calls.span_dialects import ReportedCall
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.active import ActiveStep, current_account, find_steps_by
from otel_harn_steps._steps.totals import ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

_MOST_CALLS: Final = 1024
"""As many calls of a step are remembered, at most, to be recognised in spans."""


class BilledCall:
    """A call that has been billed, or will be, and the scopes of the instrumentations whose spans reported it."""

    __slots__ = ("end_time_ns", "is_void", "models", "response_id", "scopes", "usage")

    def __init__(self, models: tuple[str | None, ...]) -> None:
        self.models = models
        self.response_id: str | None = None
        self.usage: Usage | None = None
        self.end_time_ns: int | None = None
        self.is_void = False
        self.scopes: tuple[str, ...] = ()

    def is_reported_by(self, reported: ReportedCall, start_time_ns: int) -> bool:
        """Whether a span that started at that time reports this call."""
        if self.response_id is not None and reported.response_id is not None:
            return self.response_id == reported.response_id
        models = plain_models(reported.models)
        # Some make a span of a stream when it has been read. It has the same numbers.
        is_over = self.end_time_ns is not None and self.end_time_ns < start_time_ns
        if not is_over and (not models or models & plain_models(self.models)):
            return True
        return self.usage is not None and _tokens(self.usage) == _tokens(reported.usage)


class Watch:
    """What a step remembers while spans of others are open in it.

    Attributes:
        open: these spans, by span id, oldest first.
        late_spans: how many of them show only when they end whether they report a call.
        calls: the calls that they may be of.
        held: spans of ours that are made if none of them was.
        releases_on_leave: whether the step has been asked to have these made when it is left.
    """

    __slots__ = ("calls", "held", "late_spans", "open", "releases_on_leave")

    def __init__(self) -> None:
        self.open: dict[int, OpenSpan] = {}
        self.late_spans = 0
        self.calls: list[BilledCall] = []
        self.held: list[tuple[BilledCall, Callable[[], None]]] = []
        self.releases_on_leave = False


class OpenSpan:
    """A span of another instrumentation that started in a step and has not ended.

    Attributes:
        span: the span itself.
        active: what its call is billed to.
        parent: the span around it, where that is one of these.
        is_billed: whether the engine bills what it reports.
        is_late: whether it shows only when it ends whether it reports a call.
    """

    __slots__ = ("active", "is_billed", "is_late", "parent", "span")

    def __init__(self, span: Span, active: Account, parent: OpenSpan | None, *, is_billed: bool, is_late: bool) -> None:
        self.span = span
        self.active = active
        self.parent = parent
        self.is_billed = is_billed
        self.is_late = is_late

    def cover(self) -> None:
        """What this span and those around it report has been billed."""
        span: OpenSpan | None = self
        while span is not None and not span.is_billed:
            span.is_billed = True
            span = span.parent


# By span id. One table for the process, so that a span is billed once however many processors see it.
_open: dict[int, OpenSpan] = {}
open_spans: Final[Mapping[int, OpenSpan]] = _open  # for who asks at the end of every span whether there are any
_lock = RLock()  # reentrant, as that of a tree of steps


_watchers: WeakSet[object] = WeakSet()
"""The span processors that see spans. Without one there is nothing to remember."""
_is_watched = False


def watch_spans(processor: object, *, is_on: bool) -> None:
    """A span processor begins to see spans, or stops."""
    global _is_watched  # noqa: PLW0603 -- read at every call, so as cheap as can be
    with _lock:
        if is_on:
            _watchers.add(processor)
        else:
            _watchers.discard(processor)
        _is_watched = bool(_watchers)
        find_steps_by(_step_around if _is_watched else None)
        if not _is_watched:
            _open.clear()  # their ends will not be seen


def _step_around(span_id: int) -> ActiveStep | None:
    span = _open.get(span_id)
    active = None if span is None else span.active
    return active if isinstance(active, ActiveStep) and active.status is None else None


def open_span_of(span: Span) -> OpenSpan | None:
    """What is remembered of a span. None: nothing, as of the spans of steps, and where no processor sees spans."""
    return _open.get(span.get_span_context().span_id) if _open else None


# -- the engine's side -----------------------------------------------------------------------------------------------


def call_opened(active: Account, model: str | None, context: Context) -> BilledCall | None:
    """The engine is about to make a call in `context`, which it will bill."""
    if not _is_watched:
        return None
    if _open:
        around = _open.get(get_current_span(context).get_span_context().span_id)
        if around is not None:
            around.cover()
    call = BilledCall((model,))
    _remember(active, call)
    return call


def call_closed(call: BilledCall, billed: ModelCall, response_id: str | None, end_time_ns: int) -> None:
    """The engine has billed the call."""
    call.models += (billed.model,)
    call.response_id = response_id
    call.usage = billed.usage
    call.end_time_ns = end_time_ns


def call_void(call: BilledCall, end_time_ns: int) -> None:
    """The engine did not bill the call after all: it was not sent, or a client below bills it."""
    call.is_void = True
    call.end_time_ns = end_time_ns


def hold(active: Account, call: BilledCall, make: Callable[[], None]) -> None:
    """Make the span of a call, which is over, once it is certain that no other instrumentation made one."""
    if active.status is not None:  # no exit is to come
        make()
        return
    with active.tree.lock:
        watch = _watch_of(active)
        if not watch.releases_on_leave:
            watch.releases_on_leave = True
            active.on_leave(partial(release, active, at_exit=True))
        watch.held.append((call, make))
    release(active)


def release(active: Account, *, at_exit: bool = False) -> None:
    """Make the spans that are held back, except for calls that others have reported."""
    watch = watch_in(active)
    if watch is None:
        return
    if at_exit:
        watch.releases_on_leave = False
    if not watch.held:
        return
    with active.tree.lock:
        unreported = [(call, make) for call, make in watch.held if not call.scopes]
        is_sure = at_exit or not watch.late_spans
        watch.held = [] if is_sure else unreported
    for _, make in unreported if is_sure else ():
        make()


# -- the processor's side ----------------------------------------------------------------------------------------------


def span_started(
    span: Span, parent_id: int | None, context: Context | None, *, is_in_call: bool, is_late: bool
) -> None:
    """A span of another instrumentation has started. Remembered if a step is active where it did.

    Args:
        span: the span.
        parent_id: its parent's, if that is a span of this process or of another.
        context: where it started; None for here.
        is_in_call: whether the engine is making a call there.
        is_late: whether it shows only when it ends whether it reports a call.
    """
    parent = None if parent_id is None else _open.get(parent_id)
    active = current_account(context)
    if active is None and parent is not None:  # some start spans in a context that holds nothing but the parent
        active = parent.active
    if active is None:
        return
    span_id = span.get_span_context().span_id
    with _lock:
        if span_id in _open:  # another processor was here first
            return
        started = _open[span_id] = OpenSpan(span, active, parent, is_billed=is_in_call, is_late=is_late)
    with active.tree.lock:
        _watch_of(active).open[span_id] = started
        _watch_of(active).late_spans += is_late


def span_ended(span_id: int) -> OpenSpan | None:
    """A span has ended. It is handed to the first who asks, if it was remembered."""
    if not _open:
        return None
    with _lock:
        span = _open.pop(span_id, None)
    if span is not None:
        with span.active.tree.lock:
            _watch_of(span.active).open.pop(span_id, None)
            _watch_of(span.active).late_spans -= span.is_late
    return span


def claim(span: OpenSpan, reported: ReportedCall, scope: str, start_time_ns: int, end_time_ns: int) -> bool:
    """Whether the call of an ended span is still to be billed. True once for each call."""
    active = span.active
    with active.tree.lock:
        if span.is_billed or _is_known(active, reported, scope, start_time_ns):
            return False
        span.cover()
        call = BilledCall(reported.models)
        call.response_id, call.usage, call.end_time_ns = reported.response_id, reported.usage, end_time_ns
        call.scopes = (scope,)
        _remember(active, call)
    return True


def _is_known(active: Account, reported: ReportedCall, scope: str, start_time_ns: int) -> bool:
    for call in reversed(_watch_of(active).calls):
        # One instrumentation reports a call once: its next span is about another call.
        if not call.is_void and scope not in call.scopes and call.is_reported_by(reported, start_time_ns):
            call.scopes += (scope,)
            return True
    return False


def _remember(active: Account, call: BilledCall) -> None:
    with active.tree.lock:
        watch: Watch | None = active.watch
        if watch is None:
            active.watch = watch = Watch()
        calls = watch.calls
        if not watch.open:  # no open span is left that could report what is over
            while calls and calls[0].end_time_ns is not None:
                del calls[0]
        if len(calls) >= _MOST_CALLS:
            del calls[0]
        calls.append(call)


def watch_in(active: Account) -> Watch | None:
    """What the step remembers of other instrumentations' spans. None: there has been no such span."""
    watch: Watch | None = active.watch
    return watch


def _watch_of(active: Account) -> Watch:
    watch = watch_in(active)
    if watch is None:
        active.watch = watch = Watch()
    return watch


def plain_models(models: tuple[str | None, ...]) -> set[str]:
    """The names without routing prefixes (`openai/`), lowercased."""
    return {model.rpartition("/")[2].lower() for model in models if model}


def _tokens(usage: Usage) -> tuple[int | None, int | None]:
    return usage.input_tokens, usage.output_tokens


@in_forked_child
def _forked() -> None:
    global _lock  # noqa: PLW0603 -- another thread may have held it
    _lock = RLock()
