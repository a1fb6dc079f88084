"""The meter of one call: opened before it is sent, read once when its answer is there."""

from __future__ import annotations

import json
from functools import partial
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context, create_key, get_current, set_value

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Part, Request
from otel_harn_steps._calls.span import CallSpan
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.price_book import cost_picousd
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._guard import guard
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.totals import ModelCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.errors import StepBudgetExceeded

_METER_KEY = create_key("otel_harn_steps.meter")
_LEFT = Context()
_NOTHING = ParsedResponse()
NOT_A_CALL = ParsedResponse()
"""What a provider reads from an answer that spent nothing: a look at a job that is still running, a cache."""


def current_meter(context: Context | None = None) -> Meter | None:
    """The meter of the call that is being made here."""
    return cast("Meter | None", (get_current() if context is None else context).get(_METER_KEY))


class Meter:
    """Measures one call and bills it to its step, exactly once.

    Attributes:
        context: the context to make the call in.
        http_response: the HTTP response of the call, once the client has it.
        is_delegated: whether a client below this one makes the real call. The layer closest to the wire bills.
    """

    __slots__ = (
        "_active",
        "_is_done",
        "_lock",
        "_provider",
        "_request",
        "_span",
        "_start_time_ns",
        "_state",
        "context",
        "http_response",
        "is_delegated",
    )

    def __init__(self, provider: ClientAdapter, request: Request, active: ActiveStep, context: Context) -> None:
        self._provider = provider
        self._request = request
        self._active = active
        self._start_time_ns = time_ns()
        self._state: Any = None
        self._is_done = False
        self._lock = Lock()
        self.is_delegated = False
        self.http_response: Any = None
        outer = current_meter(context)
        if outer is not None:
            outer.delegate()
        self._span = CallSpan(request, active, context, self._start_time_ns)
        self.context = set_value(_METER_KEY, self, self._span.context)

    def delegate(self) -> None:
        """A client below makes the call: it bills, and its span is the call's."""
        self.is_delegated = True
        self._span.leave()

    def is_of(self, provider: ClientAdapter) -> bool:
        """Whether it is a call of this client library."""
        return self._provider.name == provider.name

    @property
    def asks_usage(self) -> bool:
        """Whether the stream was asked for its usage where the app did not ask."""
        return self._request.asks_usage

    # -- a whole answer ------------------------------------------------------------------------------------------

    def watched(self, result: Any) -> Any:
        """`result`, or what stands for it, where the provider watches it in a way of its own. None: it does not."""
        return self._provider.watched(self._request, result, self)

    def answered(self, answer: Any, response: Any) -> None:
        """Bill the call that got `answer`.

        Args:
            answer: what tells the usage: an object of the client, or decoded JSON.
            response: what the app gets, kept on a budget error.

        Raises:
            StepBudgetExceeded: the call crossed a limit.
        """
        reading = self._read(answer)
        breach = self._close(reading, response=response if reading.response is None else reading.response)
        if breach is not None:
            raise breach

    def answered_quietly(self, body: bytes) -> None:
        """Bill the call from the bytes that the app has read. The step's next call or its exit raises."""
        self._close(self._read(decoded(body)))

    def failed(self, error: BaseException) -> None:
        """The call raised. What was spent all the same is billed quietly: the app's exception goes first."""
        if self.is_delegated:  # whoever made the call has billed it
            if self._finish():
                self._span.end(self._request, None, None, error)
            return
        body = body_of(self.http_response)
        if body is not None:  # answered and paid for; then the client could not parse it
            self._close(self._read(decoded(body)), error=error)
            return
        sent = True
        with guard("asking whether a call was sent"):
            sent = self._provider.was_sent(error)
        if sent:
            self._close(_NOTHING, error=error)
        elif self._finish():
            self._span.end(self._request, None, None, error)

    def should_retry_without_usage(self, error: BaseException, args: Sequence[Any]) -> bool:
        """Whether the call failed only because usage was asked for: then it is made again, as the app wrote it.

        Withdraws the asking.
        """
        if not self._request.asks_usage:
            return False
        with guard("reading an error"):
            return self._provider.undo_usage_request(self._request, error, args)
        return False

    def abandoned(self) -> None:
        """Close the meter of a call that somebody else bills, or that was none."""
        if self._finish():
            self._active.forget_on_leave(self.settle)
            self._span.end(self._request, None, None, None)

    # -- a stream --------------------------------------------------------------------------------------------------

    def observe(self, event: Any) -> bool:
        """Take in one event. Whether the app must not see it."""
        with guard("reading a stream event"):
            if not self._is_done:
                self._state = self._provider.fold(self._state, event)
            return self._request.asks_usage and self._provider.hides(event)
        return False

    def stream_opened(self) -> None:
        """Bill the stream when the step ends, should nobody read it to its end before."""
        self._active.on_leave(self.settle)

    def stream_ended(self) -> None:
        """The app has read the stream to its end.

        Raises:
            StepBudgetExceeded: the call crossed a limit.
        """
        breach = self._close(self._read_stream())
        if breach is not None:
            raise breach

    def settle(self) -> None:
        """Bill a stream with what is known so far. Quiet: the step's next call or its exit raises."""
        self._close(self._read_stream())

    def stream_broke(self, error: BaseException) -> None:
        """The stream raised `error`, which goes on to the app."""
        self._close(self._read_stream(), error=error)

    # ----------------------------------------------------------------------------------------------------------------

    def _read(self, answer: Any) -> ParsedResponse:
        with guard("reading usage"):
            return self._provider.read(self._request, answer)
        return _NOTHING

    def _read_stream(self) -> ParsedResponse:
        return _NOTHING if self._state is None else self._read(self._state)

    def _finish(self) -> bool:
        """Whether this is the first to finish the meter: readers, the step's exit and the collector may race."""
        with self._lock:
            first, self._is_done = not self._is_done, True
        # Both lead back here; what holds itself is freed by nobody but the garbage collector.
        self.context, self.http_response = _LEFT, None
        return first

    def _close(
        self, reading: ParsedResponse, *, error: BaseException | None = None, response: Any = None
    ) -> StepBudgetExceeded | None:
        if reading is NOT_A_CALL:
            self.abandoned()
            return None
        if not self._finish():
            return None
        self._active.forget_on_leave(self.settle)
        call = ModelCall(self._request.provider, reading.model or self._request.model, None)
        with guard("adding up a call"):
            call = self._priced(reading)
        self._span.end(self._request, reading, call, error)
        return self._active.add(call, response)

    def _priced(self, reading: ParsedResponse) -> ModelCall:
        request = self._request
        model = reading.model or request.model
        if not reading.parts:
            return ModelCall(request.provider, model, None)
        usage: Usage = reading.parts[0].usage
        for part in reading.parts[1:]:
            usage = usage + part.usage
        cost = None
        with guard("pricing a call"):  # what it used is known all the same
            cost = None if reading.reported_usd is None else to_picousd(reading.reported_usd)
            if cost is None:
                cost = self._cost_of(reading.parts, model)
        return ModelCall(request.provider, model, usage, cost)

    def _cost_of(self, parts: Sequence[Part], model: str | None) -> int | None:
        total = 0
        for part in parts:
            terms = part.terms + self._request.terms if self._request.terms else part.terms
            cost = cost_picousd(
                self._request.provider, part.model or model, part.usage, terms, self._start_time_ns / 1e9
            )
            if cost is None:
                return None
            total += cost
        return total


def open_meter(
    provider: ClientAdapter,
    active: ActiveStep,
    instance: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    is_sent: bool = False,
) -> Meter | None:
    """The meter of the call at a provider's seam, with the call prepared for it, unless it is sent already.

    None: not a request to a model.

    Raises:
        StepBudgetExceeded: the step is exhausted. Nothing was sent.
    """
    request: Request | None = None
    with guard("reading a request"):
        prepare = provider.request if is_sent else partial(_prepared, provider, active)
        request = prepare(instance, args, kwargs)
    if request is None:
        return None
    if not is_sent:
        active.admit()
    with guard("opening a meter"):
        return Meter(provider, request, active, get_current())
    return None


def prepare_late(
    provider: ClientAdapter, active: ActiveStep | None, instance: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> bool:
    """Prepare a call that is sent later, while its arguments can still be changed. Whether it is one to a model."""
    with guard("reading a request"):
        if active is None:
            return provider.request(instance, args, kwargs) is not None
        return _prepared(provider, active, instance, args, kwargs) is not None
    return False


def _prepared(
    provider: ClientAdapter, active: ActiveStep, instance: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> Request | None:
    request = provider.request(instance, args, kwargs)
    if request is not None:
        request.model = request.model or active.definition.model
        provider.prepare(request, args, kwargs, ask_usage=settings().stream_usage)
    return request


def decoded(body: bytes) -> Any:
    """The JSON in `body`, None where there is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def body_of(http_response: Any) -> bytes | None:
    """The body of a response that the client has read; never reads it."""
    body = getattr(http_response, "body", None)
    if isinstance(body, str):  # google-genai's own, always read
        return body.encode()
    if http_response is None or not getattr(http_response, "is_closed", False):
        return None
    try:
        return cast("bytes", http_response.content)
    except Exception:  # noqa: BLE001 -- the client's own "not read yet", under a name of its own in each HTTP library
        return None
