"""Closing a call: what came of it is read and billed, exactly once, whoever comes first."""

from __future__ import annotations

from collections import deque
from functools import partial
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.context import Context

from otel_harn_steps._calls.answers import UNSEEN, Ending
from otel_harn_steps._calls.billing import measured, unknown
from otel_harn_steps._calls.brake import Brake
from otel_harn_steps._calls.budget_estimate import Output, estimated
from otel_harn_steps._calls.client import NOT_A_CALL, Call, ClientAdapter, ParsedResponse, Request
from otel_harn_steps._calls.jobs import jobs
from otel_harn_steps._calls.span import CallSpan
from otel_harn_steps._guard import guard
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
_READING_USAGE = guard("reading usage")
_ESTIMATING = guard("estimating a call")
_READING_ENDING = guard("reading why an answer ended")
_READING_SENT_BODY = guard("reading what a call sends")

_LEFT_CALL = Call(None, (), {})
NOTHING_READ = ParsedResponse()


def _done() -> None:
    """Nothing is left to be done."""


class Settlement:
    """A call until it has been billed.

    Attributes:
        http_response: the HTTP response of the call, once the client has it.
        is_calling: whether the client's function runs: what is called within it makes this call.
        is_async: whether a coroutine reads its stream, which asks itself whether it goes on after a breach.
        crossing: the breach that it is to ask about.
        light: what is asked first of each event of the stream: the event, where it changes nothing, else None.
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
        "_first_chunk_ns",
        "_held",
        "_is_begun",
        "_lock",
        "_on_leave",
        "_open",
        "_output",
        "_prices_early",
        "_request",
        "_said",
        "_span",
        "_start_time_ns",
        "_state",
        "_tail",
        "_to_close",
        "crossing",
        "http_response",
        "is_async",
        "is_calling",
        "is_delegated",
        "light",
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
            active,
            request.provider,
            request.operation,
            request.model,
            self._start_time_ns,
            reservation=reservation,
            context=context,
        )
        self.is_calling = self._is_begun = self._prices_early = False
        self._span: CallSpan | None = None
        self._around = context
        self._brake: Brake | None = None
        self._asked = asked
        self._to_close: list[Any] | None = None
        self.is_async = False
        self.crossing: StepBudgetExceeded | None = None
        self._said: object = None  # the whole answer
        self._tail: deque[Any] | None = None  # the last events of a stream
        self._first_chunk_ns: int | None = None
        self.light: Callable[[Any], Any] | None = None

    def abandoned(self) -> None:
        """Close the meter of a call that somebody else bills, or that was none."""
        self._close(None, outcome="void")

    def _parse(self, response: Any) -> ParsedResponse:
        parsed = NOTHING_READ
        if not self._request.is_read:  # what its usage means depends on the request
            return parsed
        try:
            parsed = self._adapter.parse(self._request, response)
            if (parsed.job_id is not None or self._request.job) and not self._is_of_a_call(parsed):
                parsed = NOT_A_CALL
        except Exception as fault:
            if not _READING_USAGE.drops(fault):
                raise
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
        return NOTHING_READ if self._state is None else self._parse(self._state)

    def _close(
        self,
        parsed: ParsedResponse | None,
        *,
        error: BaseException | None = None,
        response: Any = None,
        outcome: Outcome = "answered",
    ) -> StepBudgetExceeded | None:
        """Bill the call, once. An interrupt passes when it is billed; what was not read by then is unknown.

        `parsed` None: nobody is billed, its row alone is closed.
        """
        if parsed is NOT_A_CALL:
            self.abandoned()
            return None
        asked, me, call = self._call, [parsed], None
        try:
            if parsed is None:
                complete: Callable[[], StepBudgetExceeded | None] = partial(self._open.close, outcome)
            else:
                complete = partial(self._settle_unread, parsed, outcome, response)
            with self._lock:  # the first to come closes it: what is left to be done is at hand from here on
                if self._closer is None:
                    self._closer, self._complete = me, complete
            if self._closer is not me:
                return None
            if parsed is not None:
                call = self._bill_of(parsed, asked, response)
                self._complete = partial(self._open.settle, call, outcome, response)
            if self._span is not None:
                self._span.end(self._request, parsed, call, error, self._ending())
            return self._finish()
        except BaseException:
            if self._closer is me:
                self._finish()
            raise

    def _settle_unread(self, parsed: ParsedResponse, outcome: Outcome, response: object) -> StepBudgetExceeded | None:
        return self._open.settle(unknown(self._request, parsed), outcome, response)

    def _finish(self) -> StepBudgetExceeded | None:
        breach = self._complete()
        self._complete = _done
        if self._on_leave is not None:
            self._active.forget_on_leave(self._on_leave)
            self._active.tree.unread.discard(self._on_leave)
            self._on_leave = None
        # They lead back here; only the garbage collector frees a cycle.
        self.http_response, self._call, self._held = None, _LEFT_CALL, None
        self._said = self._tail = self._output = None
        return breach

    def _price_early(self, response: Any) -> None:
        """Say on another's span what the call costs, if `response`, or what came of a stream, has all of its usage."""
        call = measured(self._request, self._adapter.parse(self._request, response), self._start_time_ns / 1e9)
        if self._span is not None and call.cost_picousd is not None and call.certainty != "unknown":
            self._span.price(call.cost_picousd)

    def _ending(self) -> Ending:
        if self._said is not None:
            return Ending((self._said,))
        if not self._tail:
            return UNSEEN
        said: list[Any] = []
        with _READING_ENDING:
            said = [self._adapter.content(each) for each in self._tail]
        return Ending(said, is_stream=True, first_chunk_ns=self._first_chunk_ns)

    def _bill_of(self, parsed: ParsedResponse, asked: Call, response: Any = None) -> ModelCall:
        request, at = self._request, self._start_time_ns / 1e9
        call = measured(request, parsed, at)
        is_known = call.cost_picousd is not None and call.certainty != "unknown"
        if not is_known and self._open.is_covered:
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
