"""The meter of a stream: each event is taken in, and what came is billed when it has been read, or left."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import ref

from otel_harn_steps import _settings
from otel_harn_steps._calls.brake import Brake, may_report_usage, output_so_far
from otel_harn_steps._calls.budget_estimate import Output, SampledOutput
from otel_harn_steps._calls.client import NOT_A_CALL
from otel_harn_steps._calls.light_look import light_look
from otel_harn_steps._calls.repeating import breach_of_loop
from otel_harn_steps._calls.settlement import Settlement
from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import from_a_finaliser, is_collecting
from otel_harn_steps._steps.pausing import goes_on, goes_on_async

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import ParsedResponse
    from otel_harn_steps._steps.errors import StepBudgetExceeded

_LAST_EVENTS: Final = 3  # why an answer ended is told before its usage, and some say a last word after that

# Made once: they are entered at every event.
_READING_STREAM_EVENT = guard("reading a stream event")
_SETTLING_DROPPED_STREAM = guard("settling a stream that the app has dropped")


class StreamMeter(Settlement):
    """Measures what the app reads of a stream."""

    __slots__ = ()

    @property
    def counts_output(self) -> bool:
        """Whether every event of the stream has to be seen, for a budget."""
        return self._output is not None and self._closer is None

    @property
    def asks_usage(self) -> bool:
        """Whether the engine asked for the stream's usage, and the app did not."""
        return self._request.asks_usage

    def observe(self, event: Any) -> Any:
        """Take in one event. What the app gets in its place: None where it must not see it.

        Where it is read by a coroutine, that one asks whether it goes on (`crossing`).

        Raises:
            StepBudgetExceeded: a budget stops the stream.
        """
        shown, crossed = event, None
        tail = self._tail
        if tail is not None:
            if not tail:
                self._first_chunk_ns = time_ns() - self._start_time_ns
            tail.append(event)
        with _READING_STREAM_EVENT:
            if self._closer is None:
                self._fold(event)
                if self._output is not None:
                    crossed = self._count(self._output, event)
            if self._request.asks_usage:
                shown = self._adapter.restore(event)
        if crossed is not None and self.crossing is None:
            if self.is_async:
                self.crossing = crossed
            elif not goes_on(crossed):
                self.stop(crossed)
        return shown

    def _fold(self, event: Any) -> None:
        before, self._state = self._state, self._adapter.fold(self._state, event)
        if self._state is before:
            return
        output = self._output
        sample = output if isinstance(output, SampledOutput) else None
        if self._tail is not None and (output is None or sample is not None):  # else each event is counted
            plain = self._adapter.plain(self._request, self._state)
            self.light = None if plain is None else light_look(plain, self._tail, sample)
        if self._prices_early:
            self._price_early(self._state)

    def _count(self, output: Output, event: Any) -> StepBudgetExceeded | None:
        """Count what an event has brought. The breach of a budget that stops the stream, else None."""
        if isinstance(output, SampledOutput):
            output.until_next -= 1
            if output.until_next < 1:
                output.keep(event)
            return None
        content = self._adapter.content(event)
        output.add(content)
        if self._brake is None:
            return None
        if may_report_usage(content):
            counted = output_so_far(self._read_stream())
            if counted:
                output.report(counted)
        return self._brake.crossed(output)

    def _read_cut_stream(self) -> ParsedResponse:
        """What a stream has reported that has not been read to its end: no output is no count where some has come.

        Some servers report the input first, with zeros for the rest.
        """
        parsed, output = self._read_stream(), self._output
        if output is None or output_so_far(parsed) != 0 or not output.tokens:
            return parsed
        parts = [replace(part, usage=replace(part.usage, output_tokens=None)) for part in parsed.parts]
        return replace(parsed, parts=parts)

    @property
    def is_stopped(self) -> bool:
        """Whether a budget has stopped the stream, and nobody has closed it yet."""
        return self._to_close is not None

    def stopped(self, inner: Any) -> list[Any]:
        """What is to be closed of a stream that was stopped: what the app reads it from, and `inner`. Once."""
        found, self._to_close = self._to_close, None
        return [] if found is None else [each for each in (inner, *found) if each is not None]

    def stop(self, crossed: StepBudgetExceeded) -> NoReturn:
        """Bill a stream that a budget has no room for, with what is known, and raise its breach."""
        partial_answer = None if self._output is None else self._output.text
        self._to_close = [None if self._held is None else self._held(), self.http_response]
        error = self._close(self._read_cut_stream(), outcome="cut") or crossed
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
        self.light = None  # the first event is to be timed
        if self._tail is None:
            self._tail = deque(maxlen=_LAST_EVENTS)
        self._on_leave = self.settle_for_now
        self._active.on_leave(self._on_leave)
        if self._open.is_covered:
            self._active.tree.unread.add(self._on_leave)
            if self._active.stops_streams(self._open.labelled):
                self._brake = Brake(self._active, self._open)
            if self._brake is not None or self._asked is not None:
                self._output = Output()
            elif _settings.in_force.unmetered == "estimate":
                self._output = SampledOutput(self._adapter.content)

    def _dropped(self, _: object) -> None:
        with _SETTLING_DROPPED_STREAM:
            from_a_finaliser(self.settle)

    def job_started(self) -> None:
        """Bill the start of a job when the step ends, unless its result is fetched before."""
        self._on_leave = self.settle
        self._active.on_leave(self._on_leave)

    async def stop_unless_it_goes_on(self, crossed: StepBudgetExceeded) -> None:
        """As `observe`, where a coroutine reads the stream: the breach that it is to ask about."""
        if not await goes_on_async(crossed):
            self.stop(crossed)
        self.crossing = None

    def stream_ended(self) -> None:
        """The app has read the stream to its end.

        Raises:
            StepBudgetExceeded: the call crossed a limit.
        """
        breach = self._ended()
        if breach is not None and not goes_on(breach):
            raise breach

    async def stream_ended_async(self) -> None:
        """As `stream_ended`."""
        breach = self._ended()
        if breach is not None and not await goes_on_async(breach):
            raise breach

    def _ended(self) -> StepBudgetExceeded | None:
        text = None if self._output is None else self._output.text
        breach = self._close(self._read_stream())
        if breach is None and self._asked is not None:
            breach = breach_of_loop(self._active, self._asked, text, None)
        return breach

    def settle_for_now(self) -> None:
        """Bill what is known of a stream that is still open: its step ends, or a budget looks at what was spent.

        What comes later is added then; where the step has ended, it amends the step.
        """
        parsed = self._read_cut_stream()
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
            self._close(self._read_cut_stream(), outcome="cut")

    def stream_broke(self, error: BaseException) -> None:
        """The stream raised `error`, which goes on to the app."""
        self._close(self._read_cut_stream(), error=error, outcome="cut")
