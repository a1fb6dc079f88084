"""Spans of other instrumentations that are a call's: found while they are open, and given the step and the price.

What a span says of itself decides, whoever made it. Only of the scopes in `peers.py`, whose spans may say it late, is
a silent span taken for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from opentelemetry.trace import NonRecordingSpan, Span, get_current_span

from otel_harn_steps._calls.cost_names import cost_attributes
from otel_harn_steps._calls.foreign_spans import OpenSpan, open_span_of, plain_models, watch_in
from otel_harn_steps._calls.peers import INFERENCE_SCOPES
from otel_harn_steps._calls.span_dialects import is_of_one_call, models_of
from otel_harn_steps._guard import guard
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._telemetry import names

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._steps.account import Account

# Made once: they are entered at every call.
_LOOKING = guard("looking at another instrumentation's span", ours=False)
_WRITING = guard("writing to another instrumentation's span", ours=False)

_NO_ATTRIBUTES: Final[Mapping[str, object]] = {}


class SharedSpan:
    """A span of another instrumentation that is the span of one call. It is added to while it is open, no more."""

    __slots__ = ("_added_picousd", "_beside", "span")

    def __init__(self, span: Span, beside: OpenSpan | None = None) -> None:
        self.span = span
        self._beside = beside
        self._added_picousd: int | None = None

    def name_step(self, active: Account) -> None:
        """Say on the span which step makes the call, and whose agent."""
        attributes: dict[str, AttributeValue] = {}
        if active.is_step:
            attributes[names.STEP_NAME] = active.definition.name
        if active.agent is not None:
            attributes[names.AGENT_NAME] = active.agent
        with _WRITING:
            _add(self.span, attributes)

    def price(self, cost_picousd: int) -> None:
        """Say on the span what the call cost. What other calls within it cost is on it already, and stays."""
        if cost_picousd == self._added_picousd:
            return
        with _WRITING:
            if not self.span.is_recording():
                return
            with _lock:
                before = _costs.get(self.span)
                total = (before or 0) - (self._added_picousd or 0) + cost_picousd
                if before is None and names.CALL_COST_USD in _attributes_of(self.span):  # not by us
                    return
                _costs[self.span], self._added_picousd = total, cost_picousd
            if before is None:
                _add(self.span, cost_attributes(total))
            else:
                self.span.set_attributes(cost_attributes(total))

    def release(self) -> None:
        """A client below makes the call, and looks for its span."""
        if self._beside is not None:
            self._beside.is_billed = False


_costs: WeakKeyDictionary[Span, int] = WeakKeyDictionary()
"""What we have said that the calls of a span cost, as long as the span exists."""
_lock = Lock()


@in_forked_child
def _forked() -> None:
    global _lock  # noqa: PLW0603 -- another thread may have held it
    _lock = Lock()


def span_of_call(active: Account, model: str | None, context: Context) -> SharedSpan | None:
    """The open span that another instrumentation has made of a call, which is about to be made in `context`."""
    current = get_current_span(context)
    watch = watch_in(active)
    if current is active.span and (watch is None or not watch.open):
        return None
    with _LOOKING:
        found = None if current is active.span else _around(current)
        if found is not None:
            return SharedSpan(found)
        with active.tree.lock:
            beside = None if watch is None else _beside([*watch.open.values()], model)
            if beside is not None:
                beside.cover()
                return SharedSpan(beside.span, beside)
    return None


def span_within_call(around: Context) -> SharedSpan | None:
    """The current span, if the client library itself has made it of the call that was made in `around`."""
    span = get_current_span()
    with _LOOKING:
        if span is not get_current_span(around) and _is_of_one_call(span):
            return SharedSpan(span)
    return None


def not_ours(span: object) -> object:
    """`span`, or where it is ours, one in its place that takes nothing in and may be a parent all the same."""
    if isinstance(span, Span) and getattr(getattr(span, "instrumentation_scope", None), "name", None) == names.SCOPE:
        return NonRecordingSpan(span.get_span_context())
    return span


def _around(span: Span) -> Span | None:
    """The innermost span that says what it is, if that is one call; `span` is the current one."""
    while True:
        said = _is_of_one_call(span)
        if said is not None:
            return span if said else None
        known = open_span_of(span)
        if known is None or known.parent is None or known.parent.active is not known.active:
            return None
        span = known.parent.span


def _beside(open_spans: list[OpenSpan], model: str | None) -> OpenSpan | None:
    """The newest span next to the call that says that it is of one, of this model, and is of no other call."""
    for each in reversed(open_spans):
        attributes = _attributes_of(each.span)
        if each.is_billed or not is_of_one_call("", attributes):
            continue
        models = plain_models(models_of(attributes))
        if not models or models & plain_models((model,)):
            return each
    return None


def _is_of_one_call(span: Span) -> bool | None:
    """Whether a current span is of one call. None: it does not say, does not record, or has ended."""
    if not span.is_recording():
        return None
    name = getattr(span, "name", "")
    said = is_of_one_call(name, _attributes_of(span))
    if said is None and getattr(getattr(span, "instrumentation_scope", None), "name", "").startswith(INFERENCE_SCOPES):
        return True
    return said


def _attributes_of(span: Span) -> Mapping[str, object]:
    attributes = getattr(span, "attributes", None)
    return attributes if isinstance(attributes, Mapping) else _NO_ATTRIBUTES


def _add(span: Span, attributes: Mapping[str, AttributeValue]) -> None:
    present = _attributes_of(span)
    missing = {name: value for name, value in attributes.items() if name not in present}
    if missing and span.is_recording():
        span.set_attributes(missing)
