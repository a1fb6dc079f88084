"""The span of one call, by the GenAI semantic conventions. Made only where no other instrumentation makes one."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, set_span_in_context

from otel_harn_steps import _settings
from otel_harn_steps._calls.answers import UNSEEN, Ending, finish_reasons
from otel_harn_steps._calls.cost_names import cost_attributes, emitted_attributes
from otel_harn_steps._calls.foreign_spans import call_closed, call_opened, call_void, hold
from otel_harn_steps._calls.shared_spans import SharedSpan, span_of_call, span_within_call
from otel_harn_steps._cost.money import PICOUSD_PER_USD, to_usd
from otel_harn_steps._guard import guard, type_name
from otel_harn_steps._telemetry import client_metrics, names
from otel_harn_steps._telemetry.tracer import is_suppressed, tracer
from otel_harn_steps._telemetry.whose import add_whose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._calls.client import ParsedResponse, Request
    from otel_harn_steps._cost.usage import Usage
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.totals import ModelCall

    _Seen = tuple[ParsedResponse | None, ModelCall | None, BaseException | None, Ending]

# Made once: they are entered at every call.
_STARTING_CALL_SPAN = guard("starting a call's span", ours=False)
_ENDING_CALL_SPAN = guard("ending a call's span", ours=False)
_COUNTING_CALL = guard("counting a call in the conventions' metrics", ours=False)
_HTTPS = 443


class CallSpan:
    """A call's span: ours, or another instrumentation's, or none.

    Attributes:
        context: the one to make the call in.
        shared: the span, where it is another instrumentation's, which may end before the call is billed.
    """

    __slots__ = (
        "_active",
        "_attributes",
        "_billed",
        "_held_in",
        "_late",
        "_span",
        "_start_time_ns",
        "context",
        "shared",
    )

    def __init__(
        self, request: Request, active: Account, context: Context, start_time_ns: int, labels: Mapping[str, str]
    ) -> None:
        self._active = active
        self._span: Span = INVALID_SPAN
        self.shared: SharedSpan | None = None
        self.context = context
        self._late: Callable[[], Span] | None = None
        self._held_in: Account | None = None
        # What the span begins with. None: the call has a span of somebody else's, or none.
        self._attributes: dict[str, AttributeValue] | None = None
        self._billed = call_opened(active, request.model, context)
        wanted = _settings.in_force.call_spans
        if wanted is not True:
            self.shared = span_of_call(active, request.model, context)
            if self.shared is not None:  # also where its maker suppresses all others
                self.shared.name_step(active)
                return
        if is_suppressed(context) or not (_is_nobodys(request, context) if wanted == "auto" else wanted):
            return
        self._start_time_ns = start_time_ns
        self._attributes = attributes = _start_attributes(request, active, labels)
        name = f"{request.operation} {request.model}" if request.model else request.operation
        watch = active.watch
        if watch is not None and watch.late_spans:  # one of them may be of this call
            self._held_in = active
        if request.may_delegate or self._held_in is not None:  # a span that is started cannot be taken back
            self._late = partial(_start, name, context, attributes, start_time_ns)
            return
        try:
            self._span = _start(name, context, attributes, start_time_ns)
            self.context = set_span_in_context(self._span, context)
        except Exception as fault:
            if not _STARTING_CALL_SPAN.drops(fault):
                raise

    def leave(self) -> None:
        """A client below makes the call, and its span."""
        self._late = self._attributes = None
        if self.shared is not None:
            self.shared.release()
            self.shared = None

    def enter_clients_own(self, *, is_whole: bool) -> bool:
        """Whether the client library has made a span of its own of the call, which is current now: it is the call's."""
        # One that suppresses all others ends its span before a stream has been read; the client's own goes on.
        is_kept = is_whole and self.shared is not None and is_suppressed(self.context)
        if _settings.in_force.call_spans is True or is_kept:
            return False
        own = span_within_call(self.context)
        if own is None:
            return False
        self.shared = own
        own.name_step(self._active)
        return True

    def price(self, cost_picousd: int) -> None:
        """Say what the call costs on a span that is another's, before it ends. Ours ends with the call."""
        if self.shared is not None:
            self.shared.price(cost_picousd)

    def end(
        self,
        request: Request,
        parsed: ParsedResponse | None,
        call: ModelCall | None,
        error: BaseException | None,
        ending: Ending = UNSEEN,
    ) -> None:
        """End the span with what is known of the call. `call` None: this one was not billed."""
        end_time_ns = time_ns()
        if self._billed is not None:
            if call is None:
                call_void(self._billed, end_time_ns)
            else:
                call_closed(self._billed, call, None if parsed is None else parsed.response_id, end_time_ns)
        if self.shared is not None and call is not None and call.cost_picousd is not None:
            self.shared.price(call.cost_picousd)
        if self._attributes is None:
            return
        seen = parsed, call, error, ending
        if self._late is None:
            self._close(request, seen, end_time_ns)
            return
        make = partial(self._make, self._late, partial(self._close, request, seen, end_time_ns))
        self._late = None
        if self._held_in is None or self._billed is None or call is None:
            make()
        else:
            hold(self._held_in, self._billed, make)

    def _make(self, start: Callable[[], Span], close: Callable[[], None]) -> None:
        with _STARTING_CALL_SPAN:
            self._span = start()
        close()

    def _close(self, request: Request, seen: _Seen, end_time_ns: int) -> None:
        parsed, call, error, ending = seen
        span = self._span
        error_type = None if error is None or isinstance(error, GeneratorExit) else type_name(type(error))
        try:
            if span is not INVALID_SPAN and span.is_recording():
                attributes: dict[str, AttributeValue] = {}
                if parsed is not None and call is not None:
                    _add_answer(attributes, request, parsed, call)
                    _add_ending(attributes, ending, self._start_time_ns)
                if error_type is not None:
                    attributes[names.ERROR_TYPE] = error_type
                    # Without the message: a provider's errors quote the request.
                    span.set_status(Status(StatusCode.ERROR))
                span.set_attributes(attributes)
                span.end(end_time_ns)
        except Exception as fault:
            if not _ENDING_CALL_SPAN.drops(fault):
                raise
        if client_metrics.are_heard():
            with _COUNTING_CALL:
                counted = dict(self._attributes or {})
                if parsed is not None and parsed.model:
                    counted[names.RESPONSE_MODEL] = parsed.model
                seconds = (end_time_ns - self._start_time_ns) / 1e9
                client_metrics.count_client_call(counted, seconds, None if call is None else call.usage, error_type)


def _start(name: str, context: Context, attributes: dict[str, AttributeValue], start_time_ns: int) -> Span:
    return tracer().start_span(name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)


def _start_attributes(request: Request, active: Account, labels: Mapping[str, str]) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {names.OPERATION: request.operation, names.PROVIDER: request.provider}
    if active.is_step:
        attributes[names.STEP_NAME] = active.definition.name
    if request.model:
        attributes[names.REQUEST_MODEL] = request.model
    if request.host is not None:
        attributes[names.SERVER_ADDRESS] = request.host
        if request.port is not None and request.port != _HTTPS:
            attributes[names.SERVER_PORT] = request.port
    if active.agent is not None or labels:
        add_whose(attributes, active.agent, labels)
    return attributes


def _is_nobodys(request: Request, context: Context) -> bool:
    """Whether nobody makes a span of the call that cannot be found while the call is made."""
    if request.makes_own_span:
        return False
    # util-genai's documented contract: an outer inference span announces itself under this key.
    genai = sys.modules.get("opentelemetry.util.genai.invocation")
    return genai is None or context.get(getattr(genai, "CLIENT_INFERENCE_CONTEXT_KEY", "")) is None


def _add_answer(
    attributes: dict[str, AttributeValue], request: Request, parsed: ParsedResponse, call: ModelCall
) -> None:
    if parsed.model:
        attributes[names.RESPONSE_MODEL] = parsed.model
    if parsed.response_id:
        attributes[names.RESPONSE_ID] = parsed.response_id
    usage, cost = call.usage, call.cost_picousd
    if usage is not None:
        if usage.input_tokens is not None:
            attributes[names.CALL_INPUT_TOKENS] = usage.input_tokens
        if usage.output_tokens is not None and request.operation != "embeddings":
            attributes[names.CALL_OUTPUT_TOKENS] = usage.output_tokens
        if usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
            _add_parts(attributes, usage, call.cache_savings_picousd)
        if cost is not None:
            attributes[names.CALL_COST_USD] = cost / PICOUSD_PER_USD
    if _settings.in_force.emit:
        if usage is not None and cost is not None:
            attributes.update(cost_attributes(cost))
        attributes.update(emitted_attributes(request.operation, call.model, usage))


def _add_parts(attributes: dict[str, AttributeValue], usage: Usage, saved_picousd: int | None) -> None:
    """What of the tokens was cached, or reasoning. Only where something was read from a cache was anything saved."""
    if usage.cache_read_tokens:
        attributes[names.CALL_CACHE_READ] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        attributes[names.CALL_CACHE_WRITE] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        attributes[names.CALL_REASONING] = usage.reasoning_tokens
    if saved_picousd:
        attributes[names.CALL_CACHE_SAVINGS_USD] = to_usd(saved_picousd)


def _add_ending(attributes: dict[str, AttributeValue], ending: Ending, start_time_ns: int) -> None:
    reasons = finish_reasons(ending.said)
    if reasons:
        attributes[names.FINISH_REASONS] = reasons
    if not ending.is_stream:
        return
    attributes[names.REQUEST_STREAM] = True
    if ending.first_chunk_ns is not None:
        attributes[names.FIRST_CHUNK_S] = ending.first_chunk_ns / 1e9
        if names.LANGFUSE in _settings.in_force.emit:
            at = datetime.fromtimestamp((start_time_ns + ending.first_chunk_ns) / 1e9, UTC)
            attributes[names.LANGFUSE_FIRST_CHUNK] = at.isoformat().replace("+00:00", "Z")
