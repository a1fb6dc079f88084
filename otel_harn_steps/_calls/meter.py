"""The meter of one call: opened before it is sent, read once when its answer is there."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context, attach, create_key, get_current, set_value

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._calls.jobs import jobs
from otel_harn_steps._calls.raw_bodies import body_of, decoded
from otel_harn_steps._calls.repeating import breach_of_loop
from otel_harn_steps._calls.settlement import NOTHING_READ
from otel_harn_steps._calls.span import CallSpan
from otel_harn_steps._calls.stream_meter import StreamMeter
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.boundary import budget_error_behind
from otel_harn_steps._steps.labels import without_baggage
from otel_harn_steps._steps.ledger import OpenCall

# Made once: they are entered at every call.
_ASKING_WHETHER_CALL_WAS_SENT = guard("asking whether a call was sent")
_READING_ERROR = guard("reading an error")
_OPENING_METER = guard("opening a meter")
_PRICING_CLIENTS_SPAN = guard("pricing a call on the client's own span")

METER_KEY = create_key("otel_harn_steps.meter")


def current_meter(context: Context | None = None) -> Meter | None:
    """The meter of the call that is being made here."""
    found: Any = (get_current() if context is None else context).get(METER_KEY)
    return found  # type: ignore[no-any-return]  # as `Meter.begin` sets it


class Meter(StreamMeter):
    """Measures one call and bills it to its step, exactly once."""

    __slots__ = ()

    def begin(self, *, is_sent: bool = False) -> None:
        """The call is about to be made: its row begins, its span, and it is current until `leave`.

        Args:
            is_sent: whether it has been made already. Then it is never current.
        """
        try:
            around, request = self._around, self._request
            outer: Any = around.get(METER_KEY)
            # What a call has begun may run on after it, in its context, and make calls of its own.
            if outer is not None and outer.is_calling:
                outer.delegate(self._open)
            if request.job != "fetch":  # a look at a job is a call where it is the first to report its usage
                self._open.send()
            self._span = span = CallSpan(request, self._active, around, self._start_time_ns, self._open.labels)
            self._prices_early = span.shared is not None
            if not is_sent:
                attach(set_value(METER_KEY, self, without_baggage(span.context)))
        except Exception as fault:
            if not _OPENING_METER.drops(fault):
                raise
        self.is_calling, self._is_begun = not is_sent, True

    def leave(self) -> None:
        """The client's function has returned: what is called from now on is not this call's doing."""
        self.is_calling = False
        # Not by a token: an interrupt may have come before there was one.
        if get_current().get(METER_KEY) is self:
            attach(self._around)

    def meet_clients_span(self) -> None:
        """The client has the answer, and its own span of the call, if it makes one, is current: that gets the price.

        The span ends before the client's function does, or with the last event of a stream.
        """
        if not self._request.makes_own_span or self._request.job or self._span is None:
            return
        with _PRICING_CLIENTS_SPAN:
            body = body_of(self.http_response)
            self._prices_early = self._span.enter_clients_own(is_whole=body is not None) or self._prices_early
            if body is not None and self._prices_early:
                self._price_early(decoded(body))

    def delegate(self, below: OpenCall) -> None:
        """A client below makes the call: it bills, and its span is the call's."""
        self.is_delegated = True
        below.take_over(self._open)
        if self._span is not None:
            self._span.leave()

    def release(self) -> None:
        """Hold nothing more for the call: a client below is about to make it, and has its own held."""
        self._active.release(self._open)

    def is_of(self, adapter: ClientAdapter) -> bool:
        """Whether it is a call of this client library."""
        return self._adapter.name == adapter.name

    @property
    def is_lowered(self) -> bool:
        """Whether the call's arguments were changed when it was admitted: it allows less output now."""
        return self._open.reservation is not None and self._open.reservation.output_cap is not None

    def watched(self, result: Any) -> Any:
        """`result`, or its replacement, where it is not yet a whole response. None: the engine is to look at it.

        That is so where the adapter watches a stream in a way of its own, and where a job goes on in the background.
        """
        may_start = self._request.is_read and self._request.job != "fetch"
        job_id = self._adapter.started_job(self._request, result) if may_start else None
        if job_id is None:
            return self._adapter.watch(self._request, result, self)
        job = self._adapter.name, job_id
        if self._request.job == "resume" and jobs.is_known(job):
            self.abandoned()
        else:
            self.observe(result)  # it names the model
            jobs.started(job, self)
        return result

    def answered(self, response: Any, result: Any) -> None:
        """Bill the call that got `response`.

        Args:
            response: what reports the usage: an object of the client, or decoded JSON.
            result: what the app gets, kept on a budget error.

        Raises:
            StepBudgetExceeded: the call crossed a limit.
        """
        parsed = self._parse(response)
        self._said = response
        kept = result if parsed.response is None else parsed.response
        breach = self._close(parsed, response=kept)
        if breach is None and self._asked is not None:
            breach = breach_of_loop(self._active, self._asked, response, kept)
        if breach is not None:
            raise breach

    def answered_quietly(self, body: bytes) -> None:
        """Bill the call from the bytes that the app has read. The step's next call or its exit raises."""
        self._said = decoded(body)
        self._close(self._parse(self._said))

    def failed(self, error: BaseException) -> None:
        """The call raised. What was spent all the same is billed quietly: the app's exception goes first.

        Also where an interrupt came into the end of a call that had its answer.
        """
        self.leave()
        if self._closer is not None:
            return
        if self.is_delegated or not self._is_begun:  # the client below has billed it; or it was never made
            self._close(None, error=error, outcome="failed")
            return
        body = body_of(self.http_response)
        if body is not None:  # answered and paid for; then the client could not parse it
            self._close(self._parse(decoded(body)), error=error)
            return
        sent = True
        with _ASKING_WHETHER_CALL_WAS_SENT:
            # A client below was refused the call, and had not begun it.
            sent = budget_error_behind(error) is None and self._adapter.was_sent(error)
        if sent:
            self._close(NOTHING_READ, error=error, outcome="cut")
        else:
            self._close(None, error=error, outcome="failed")

    def should_retry_without_usage(self, error: BaseException) -> bool:
        """Whether the call failed only because usage was asked for: then it is made again, as the app wrote it."""
        if not self._request.asks_usage:
            return False
        with _READING_ERROR:
            undone = self._adapter.undo_usage_request(self._call, self._request, error)
            if undone is not None:
                self._request = undone
                return True
        return False
