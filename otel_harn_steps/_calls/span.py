"""The span of one call, by the GenAI semantic conventions. Made only where no other instrumentation makes one."""

from __future__ import annotations

import sys
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context

from otel_harn_steps._calls.foreign_spans import call_closed, call_opened, call_void, hold, watch_in
from otel_harn_steps._calls.peers import INFERENCE_SCOPES
from otel_harn_steps._calls.span_dialects import is_around_calls
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard import guard, type_name
from otel_harn_steps._settings import settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.tracer import is_suppressed, tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._calls.client import ParsedResponse, Request
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.totals import ModelCall

# Made once: they are entered at every call.
_STARTING_CALL_SPAN = guard("starting a call's span", ours=False)
_ENDING_CALL_SPAN = guard("ending a call's span", ours=False)


class CallSpan:
    """A call's span, or nothing. `context` is the one to make the call in."""

    __slots__ = ("_billed", "_held_in", "_late", "_span", "context")

    def __init__(self, request: Request, active: Account, context: Context, start_time_ns: int) -> None:
        self._span: Span = INVALID_SPAN
        self.context = context
        self._late: Callable[[], Span] | None = None
        self._held_in: Account | None = None
        self._billed = call_opened(active, request.model, context)
        if is_suppressed(context) or not _is_wanted(request, active, context):
            return
        attributes: dict[str, AttributeValue] = {
            names.OPERATION: request.operation,
            names.PROVIDER: request.provider,
        }
        if active.is_step:
            attributes[names.STEP_NAME] = active.definition.name
        if request.model:
            attributes[names.REQUEST_MODEL] = request.model
        name = f"{request.operation} {request.model}" if request.model else request.operation
        start = partial(tracer().start_span, name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)
        watch = watch_in(active)
        if watch is not None and watch.late_spans:  # one of them may be of this call
            self._held_in = active
        if request.may_delegate or self._held_in is not None:  # a span that is started cannot be taken back
            self._late = start
            return
        with _STARTING_CALL_SPAN:
            self._span = start()
            self.context = set_span_in_context(self._span, context)

    def leave(self) -> None:
        """A client below makes the call, and its span."""
        self._late = None

    def end(
        self, request: Request, parsed: ParsedResponse | None, call: ModelCall | None, error: BaseException | None
    ) -> None:
        """End the span with what is known of the call. `call` None: this one was not billed."""
        if self._billed is not None:
            if call is None:
                call_void(self._billed, time_ns())
            else:
                call_closed(self._billed, call, None if parsed is None else parsed.response_id, time_ns())
        if self._late is None:
            self._close(request, parsed, call, error, None)
            return
        make = partial(self._make, self._late, request, parsed, call, error, time_ns())
        self._late = None
        if self._held_in is None or self._billed is None or call is None:
            make()
        else:
            hold(self._held_in, self._billed, make)

    def _make(self, start: Callable[[], Span], *seen: Any) -> None:
        with _STARTING_CALL_SPAN:
            self._span = start()
        self._close(*seen)

    def _close(
        self,
        request: Request,
        parsed: ParsedResponse | None,
        call: ModelCall | None,
        error: BaseException | None,
        end_time_ns: int | None,
    ) -> None:
        span = self._span
        if not span.is_recording():
            return
        with _ENDING_CALL_SPAN:
            if parsed is not None and call is not None:
                span.set_attributes(_answer_attributes(request, parsed, call))
            if error is not None and not isinstance(error, GeneratorExit):
                span.set_attribute(names.ERROR_TYPE, type_name(type(error)))
                # Without the message: a provider's errors quote the request.
                span.set_status(Status(StatusCode.ERROR))
            span.end(end_time_ns)


def _is_wanted(request: Request, active: Account, context: Context) -> bool:
    wanted = settings().call_spans
    if wanted != "auto":
        return wanted
    if request.makes_own_span:
        return False
    # util-genai's documented contract: an outer inference span announces itself under this key.
    genai = sys.modules.get("opentelemetry.util.genai.invocation")
    if genai is not None and context.get(getattr(genai, "CLIENT_INFERENCE_CONTEXT_KEY", "")) is not None:
        return False
    span = get_current_span(context)
    if span is active.span:
        return True
    scope = getattr(span, "instrumentation_scope", None)
    if not getattr(scope, "name", "").startswith(INFERENCE_SCOPES):
        return True
    # Some of them make spans of agents and tools too, in which calls are made that have no span yet.
    return is_around_calls(getattr(span, "name", ""), getattr(span, "attributes", None) or {})


def _answer_attributes(request: Request, parsed: ParsedResponse, call: ModelCall) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    if parsed.model:
        attributes[names.RESPONSE_MODEL] = parsed.model
    if parsed.response_id:
        attributes[names.RESPONSE_ID] = parsed.response_id
    usage = call.usage
    if usage is None:
        return attributes
    if usage.input_tokens is not None:
        attributes[names.CALL_INPUT_TOKENS] = usage.input_tokens
    if usage.output_tokens is not None and request.operation != "embeddings":
        attributes[names.CALL_OUTPUT_TOKENS] = usage.output_tokens
    if usage.cache_read_tokens:
        attributes[names.CALL_CACHE_READ] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        attributes[names.CALL_CACHE_WRITE] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        attributes[names.CALL_REASONING] = usage.reasoning_tokens
    if call.cost_picousd is not None:
        attributes[names.CALL_COST_USD] = to_usd(call.cost_picousd)
    return attributes
