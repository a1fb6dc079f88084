"""The meter of one call: opened before it is sent, read once when its answer is there."""

from __future__ import annotations

from functools import partial
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, NoReturn, cast
from weakref import ref

from opentelemetry.context import Context, attach, create_key, get_current, set_value

from otel_harn_steps._calls.billing import measured, unknown
from otel_harn_steps._calls.brake import Brake
from otel_harn_steps._calls.budget_estimate import Output, estimated
from otel_harn_steps._calls.client import NOT_A_CALL, Call, ClientAdapter, ParsedResponse, Request
from otel_harn_steps._calls.jobs import jobs
from otel_harn_steps._calls.raw_bodies import body_of, decoded
from otel_harn_steps._calls.repeating import breach_of_loop
from otel_harn_steps._calls.span import CallSpan
from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import from_a_finaliser, is_collecting
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.boundary import budget_error_behind
from otel_harn_steps._steps.ledger import OpenCall
from otel_harn_steps._telemetry.call_row import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_harn_steps._calls.fingerprints import Fingerprint
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.reservation import Reservation
    from otel_harn_steps._steps.totals import ModelCall

# Made once: they are entered at every call.
_ASKING_WHETHER_CALL_WAS_SENT = guard("asking whether a call was sent")
_READING_ERROR = guard("reading an error")
_READING_STREAM_EVENT = guard("reading a stream event")
_READING_USAGE = guard("reading usage")
_ESTIMATING = guard("estimating a call")
_READING_SENT_BODY = guard("reading what a call sends")
_OPENING_METER = guard("opening a meter")
_SETTLING_DROPPED_STREAM = guard("settling a stream that the app has dropped")

_METER_KEY = create_key("otel_harn_steps.meter")
_LEFT_CALL = Call(None, (), {})
_NOTHING = ParsedResponse()


def _done() -> None:
    """Nothing is left to be done."""


def current_meter(context: Context | None = None) -> Meter | None:
    """The meter of the call that is being made here."""
    return cast("Meter | None", (get_current() if context is None else context).get(_METER_KEY))


class Meter:
    """Measures one call and bills it to its step, exactly once.

    Attributes:
        http_response: the HTTP response of the call, once the client has it.
        is_calling: whether the client's function runs: what is called within it makes this call.
        is_delegated: whether a client below this one makes the real call. The layer closest to the wire bills.
    """

    __slots__ = (
        "_active",
        "_adapter",
        "_around",
        "_asked",
        "_brake",
        "_call",
        "_closer",
        "_complete",
        "_held",
        "_is_begun",
        "_lock",
        "_on_leave",
        "_open",
        "_output",
        "_request",
        "_span",
        "_start_time_ns",
        "_state",
        "_to_close",
        "http_response",
        "is_calling",
        "is_delegated",
    )

    def __init__(
        self,
        adapter: ClientAdapter,
        call: Call,
        request: Request,
        active: Account,
        context: Context,
        *,
        reservation: Reservation | None = None,
        asked: Fingerprint | None = None,
    ) -> None:
        self._adapter = adapter
        self._call = call
        self._request = request
        self._active = active
        self._start_time_ns = time_ns()
        self._state: Any = None
        # Who closes the meter: the first to come of readers, the step's exit, and the collector.
        self._closer: object = None
        self._complete: Callable[[], StepBudgetExceeded | None] = _done
        self._lock = Lock()
        self.is_delegated = False
        self.http_response: Any = None
        self._output: Output | None = None
        self._held: ref[Any] | None = None
        self._on_leave: Callable[[], None] | None = None
        self._open = OpenCall(
            active, request.provider, request.operation, request.model, self._start_time_ns, reservation=reservation
        )
        self.is_calling = self._is_begun = False
        self._span: CallSpan | None = None
        self._around = context
        self._brake: Brake | None = None
        self._asked = asked
        self._to_close: list[Any] | None = None

    def begin(self, *, is_sent: bool = False) -> None:
        """The call is about to be made: its row begins, its span, and it is current until `leave`.

        Args:
            is_sent: whether it has been made already. Then it is never current.
        """
        with _OPENING_METER:
            outer = current_meter(self._around)
            # What a call has begun may run on after it, in its context, and make calls of its own.
            if outer is not None and outer.is_calling:
                outer.delegate(self._open)
            if self._request.job != "fetch":  # a look at a job is a call where it is the first to report its usage
                self._open.send()
            self._span = CallSpan(self._request, self._active, self._around, self._start_time_ns)
            if not is_sent:
                attach(set_value(_METER_KEY, self, self._span.context))
        self.is_calling, self._is_begun = not is_sent, True

    def leave(self) -> None:
        """The client's function has returned: what is called from now on is not this call's doing."""
        self.is_calling = False
        # Not by a token: an interrupt may have come before there was one.
        if current_meter() is self:
            attach(self._around)

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

    @property
    def counts_output(self) -> bool:
        """Whether every event of the stream has to be seen, for a budget."""
        return self._output is not None and self._closer is None

    @property
    def asks_usage(self) -> bool:
        """Whether the engine asked for the stream's usage, and the app did not."""
        return self._request.asks_usage

    # -- a whole answer ------------------------------------------------------------------------------------------

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
        kept = result if parsed.response is None else parsed.response
        breach = self._close(parsed, response=kept)
        if breach is None and self._asked is not None:
            breach = breach_of_loop(self._active, self._asked, response, kept)
        if breach is not None:
            raise breach

    def answered_quietly(self, body: bytes) -> None:
        """Bill the call from the bytes that the app has read. The step's next call or its exit raises."""
        self._close(self._parse(decoded(body)))

    def failed(self, error: BaseException) -> None:
        """The call raised. What was spent all the same is billed quietly: the app's exception goes first.

        Also where an interrupt came into the end of a call that had its answer.
        """
        self.leave()
        if self._closer is not None:
            return
        if self.is_delegated or not self._is_begun:  # the client below has billed it; or it was never made
            self._close_unbilled("failed", error)
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
            self._close(_NOTHING, error=error, outcome="cut")
        else:
            self._close_unbilled("failed", error)

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

    def abandoned(self) -> None:
        """Close the meter of a call that somebody else bills, or that was none."""
        self._close_unbilled("void", None)

    # -- a stream --------------------------------------------------------------------------------------------------

    def observe(self, event: Any) -> Any:
        """Take in one event. What the app gets in its place: None where it must not see it.

        Raises:
            StepBudgetExceeded: a budget stops the stream.
        """
        shown, crossed = event, None
        with _READING_STREAM_EVENT:
            if self._closer is None:
                self._state = self._adapter.fold(self._state, event)
                if self._output is not None:
                    self._output.add(self._adapter.content(event))
                    crossed = None if self._brake is None else self._brake.crossed(self._output)
            if self._request.asks_usage:
                shown = self._adapter.restore(event)
        if crossed is not None:
            self._stop(crossed)
        return shown

    @property
    def is_stopped(self) -> bool:
        """Whether a budget has stopped the stream, and nobody has closed it yet."""
        return self._to_close is not None

    def stopped(self, inner: Any) -> list[Any]:
        """What is to be closed of a stream that was stopped: what the app reads it from, and `inner`. Once."""
        found, self._to_close = self._to_close, None
        return [] if found is None else [each for each in (inner, *found) if each is not None]

    def _stop(self, crossed: StepBudgetExceeded) -> NoReturn:
        """Bill a stream that a budget has no room for, with what is known, and raise its breach."""
        partial_answer = None if self._output is None else self._output.text
        self._to_close = [None if self._held is None else self._held()]
        error = self._close(self._read_stream(), outcome="cut") or crossed
        error.partial = partial_answer
        self._active.note_breach(error)
        raise error

    def stream_opened(self, held: object = None) -> None:
        """The app is about to read a stream. When the step ends, it is billed with what is known then.

        Args:
            held: what the app reads it from. The stream is over when the app drops that.
        """
        if held is not None:
            # An async generator that is dropped is closed by its event loop, which may be long after.
            self._held = ref(held, self._dropped)
        self._on_leave = self.settle_for_now
        self._active.on_leave(self._on_leave)
        if self._active.is_covered:
            self._active.tree.unread.add(self._on_leave)
            if self._active.stops_streams:
                self._brake = Brake(self._active, self._open)
            is_whole = self._brake is not None or self._asked is not None
            if settings().unmetered == "estimate" or is_whole:
                self._output = Output(is_whole=is_whole)

    def _dropped(self, _: object) -> None:
        with _SETTLING_DROPPED_STREAM:
            from_a_finaliser(self.settle)

    def job_started(self) -> None:
        """Bill the start of a job when the step ends, unless its result is fetched before."""
        self._on_leave = self.settle
        self._active.on_leave(self._on_leave)

    def stream_ended(self) -> None:
        """The app has read the stream to its end.

        Raises:
            StepBudgetExceeded: the call crossed a limit.
        """
        text = None if self._output is None else self._output.text
        breach = self._close(self._read_stream())
        if breach is None and self._asked is not None:
            breach = breach_of_loop(self._active, self._asked, text, None)
        if breach is not None:
            raise breach

    def settle_for_now(self) -> None:
        """Bill what is known of a stream that is still open: its step ends, or a budget looks at what was spent.

        What comes later is added then; where the step has ended, it amends the step.
        """
        parsed = self._read_stream()
        if parsed is NOT_A_CALL:
            self.abandoned()
            return
        call = self._bill_of(parsed, self._call)
        if self._closer is None:
            self._open.bill_for_now(call)

    def ended_quietly(self) -> None:
        """As `stream_ended`, where nothing can be raised: the step's next call or its exit raises."""
        self._close(self._read_stream())

    def settle(self) -> None:
        """Bill a stream with what is known so far. Quiet: the step's next call or its exit raises."""
        if is_collecting():
            from_a_finaliser(self.settle)
        elif self._closer is None:
            self._close(self._read_stream(), outcome="cut")

    def stream_broke(self, error: BaseException) -> None:
        """The stream raised `error`, which goes on to the app."""
        self._close(self._read_stream(), error=error, outcome="cut")

    # ----------------------------------------------------------------------------------------------------------------

    def _parse(self, response: Any) -> ParsedResponse:
        parsed = _NOTHING
        if not self._request.is_read:  # what its usage means depends on the request
            return parsed
        with _READING_USAGE:
            parsed = self._adapter.parse(self._request, response)
            if (parsed.job_id is not None or self._request.job) and not self._is_of_a_call(parsed):
                parsed = NOT_A_CALL
        return parsed

    def _is_of_a_call(self, parsed: ParsedResponse) -> bool:
        """Whether a response about a job reports, for the first time, what the job used."""
        if parsed.job_id is None or not parsed.parts:
            return self._request.job != "fetch"
        job = self._adapter.name, parsed.job_id
        if self._request.job == "fetch":
            return (parsed.is_job_of_any_process or jobs.is_known(job)) and jobs.is_first_fetch(job)
        jobs.is_first_fetch(job)  # its stream has reported it: a later look at it reports nothing new
        return True

    def _read_stream(self) -> ParsedResponse:
        return _NOTHING if self._state is None else self._parse(self._state)

    def _close(
        self,
        parsed: ParsedResponse,
        *,
        error: BaseException | None = None,
        response: Any = None,
        outcome: Outcome = "answered",
    ) -> StepBudgetExceeded | None:
        """Bill the call, once. An interrupt passes when it is billed; what was not read by then is unknown."""
        if parsed is NOT_A_CALL:
            self.abandoned()
            return None
        asked, me = self._call, [parsed]
        try:
            if not self._is_first(me, partial(self._settle_unread, parsed, outcome, response)):
                return None
            call = self._bill_of(parsed, asked, response)
            self._complete = partial(self._open.settle, call, outcome, response)
            self._end_span(parsed, call, error)
            return self._finish()
        except BaseException:
            if self._closer is me:
                self._finish()
            raise

    def _settle_unread(self, parsed: ParsedResponse, outcome: Outcome, response: object) -> StepBudgetExceeded | None:
        return self._open.settle(unknown(self._request, parsed), outcome, response)

    def _close_unbilled(self, outcome: Outcome, error: BaseException | None) -> None:
        me = [outcome]
        try:
            if self._is_first(me, partial(self._open.close, outcome)):
                self._end_span(None, None, error)
                self._finish()
        except BaseException:
            if self._closer is me:
                self._finish()
            raise

    def _is_first(self, closer: object, complete: Callable[[], StepBudgetExceeded | None]) -> bool:
        """Whether `closer` is the first to close the meter. Then `complete` is what is left to be done."""
        with self._lock:
            if self._closer is None:
                self._closer, self._complete = closer, complete
        return self._closer is closer

    def _finish(self) -> StepBudgetExceeded | None:
        breach = self._complete()
        self._complete = _done
        if self._on_leave is not None:
            self._active.forget_on_leave(self._on_leave)
            self._active.tree.unread.discard(self._on_leave)
            self._on_leave = None
        # They lead back here; only the garbage collector frees a cycle.
        self.http_response, self._call, self._held = None, _LEFT_CALL, None
        return breach

    def _end_span(self, parsed: ParsedResponse | None, call: ModelCall | None, error: BaseException | None) -> None:
        if self._span is not None:
            self._span.end(self._request, parsed, call, error)

    def _bill_of(self, parsed: ParsedResponse, asked: Call, response: Any = None) -> ModelCall:
        request, at = self._request, self._start_time_ns / 1e9
        call = measured(request, parsed, at)
        is_known = call.cost_picousd is not None and call.certainty != "unknown"
        if not is_known and self._active.is_covered:
            with _ESTIMATING:
                body = None if asked is _LEFT_CALL else self._sent_body(asked)
                return estimated(call, asked=body, output=self._output, response=response, at=at, host=request.host)
        return call

    def _sent_body(self, asked: Call) -> Any:
        if self._request.is_read:
            with _READING_SENT_BODY:
                return self._adapter.sent_body(asked)
        given = (*asked.args, *asked.kwargs.values())
        return [each for each in given if not isinstance(each, type)]  # a class to be made of the response
