"""Calls that the test answers when it likes, and a clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Condition, Thread
from typing import Any, Final, NamedTuple
from unittest import mock

import httpx
import openai

from otel_harn_steps import step
from otel_harn_steps._calls import waiting
from otel_harn_steps._steps.errors import StepBudgetExceeded
from tests.provider import MODEL

_TICKS: Final = 20
"""More turns of an event loop than a call needs from any of its waits to the next."""
_PATIENCE_S: Final = 30
_MESSAGES: Final = [{"role": "user", "content": "Tell me a joke"}]
_current: ContextVar[HeldCall] = ContextVar("_current")


class Answer(NamedTuple):
    """What a provider says."""

    input_tokens: int
    output_tokens: int


class HeldCall:
    """A call that waits for its answer, in a thread, in a task, or here.

    Attributes:
        cap: its own maximum of output tokens.
        state: "running", "waiting" for room, "sent", "ended".
        sent_cap: the maximum with which it was sent.
        error: what it raised. None: it has its answer, or has not ended.
        answer: set by the test; None is a failure of the provider.
    """

    def __init__(self, cap: int, clock: Clock) -> None:
        self.cap = cap
        self.state = "running"
        self.sent_cap: int | None = None
        self.error: BaseException | None = None
        self.answer: Future[Answer | None] = Future()
        self.task: asyncio.Task[None] | None = None
        self._clock = clock

    def becomes(self, state: str) -> None:
        with self._clock.condition:
            self.state = state
            self._clock.condition.notify_all()

    @contextmanager
    def running(self) -> Iterator[None]:
        _current.set(self)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            self.error = error
        finally:
            self.becomes("ended")


class _Event:
    """An event whose time is the clock's. Who sets it comes to a halt until the thread that has waited is calm again."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._call, self._is_set = clock, _current.get(), False

    def set(self) -> None:
        with self._clock.condition:
            self._is_set = True
            if self._wake():
                assert self._clock.condition.wait_for(lambda: self._call.state != "running", _PATIENCE_S)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, seconds: float) -> None:
        clock = self._clock
        with clock.condition:
            until_s = clock.now_s + seconds
            if not self._is_set and seconds > 0:
                self._call.becomes("waiting")
                clock.events[self] = until_s
                clock.condition.wait_for(lambda: self not in clock.events)

    def _wake(self) -> bool:
        waits = self._clock.events.pop(self, None) is not None
        if waits:
            self._call.becomes("running")
        return waits

    def wake_if_over(self, until_s: float) -> None:
        if self._clock.now_s >= until_s:
            self._wake()


class Clock:
    """What waits go by."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.condition = Condition()
        self.events: dict[_Event, float] = {}

    def time(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        with self.condition:
            self.now_s += seconds
            for event, until_s in list(self.events.items()):
                event.wake_if_over(until_s)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock_of_test = clock

    def time(self) -> float:
        return self._clock_of_test.now_s


class Provider(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Tells each call that it was sent, and answers it when the test does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return response_of(self._sent(request).answer.result())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return response_of(await asyncio.wrap_future(self._sent(request).answer))

    def _sent(self, request: httpx.Request) -> HeldCall:
        call = _current.get()
        call.sent_cap = json.loads(request.content)["max_tokens"]
        call.becomes("sent")
        return call


def request_of(cap: int) -> dict[str, Any]:
    """The arguments of a call, whose input is always the same."""
    return {"model": MODEL, "messages": _MESSAGES, "max_tokens": cap}


def response_of(answer: Answer | None) -> httpx.Response:
    """What a provider sends. None: it fails."""
    if answer is None:
        return httpx.Response(500, json={"error": {"message": "no"}})
    usage = {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens}
    message = {"role": "assistant", "content": "word"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    usage["total_tokens"] = sum(usage.values())
    head = {"id": "chatcmpl-1", "created": 1, "model": MODEL, "object": "chat.completion"}
    return httpx.Response(200, json={**head, "choices": choices, "usage": usage})


def estimate_of(client: openai.OpenAI) -> int:
    """What the input of each call is estimated at, as a refusal says."""
    with step("estimating", max_tokens=1, preflight="reserve", error_boundary="continue"):
        try:
            client.chat.completions.create(**request_of(1_000))
        except StepBudgetExceeded as error:
            return (error.projected_tokens or 0) - 1_000
    raise AssertionError("a budget of one token has room for a call")


class Calls:
    """Makes calls with one client of each kind. To be made while the package is at work."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.all: list[HeldCall] = []
        given: dict[str, Any] = {"api_key": "test", "base_url": "https://api.openai.com/v1", "max_retries": 0}
        self._client = openai.OpenAI(http_client=httpx.Client(transport=Provider(), trust_env=False), **given)
        self._aclient = openai.AsyncOpenAI(
            http_client=httpx.AsyncClient(transport=Provider(), trust_env=False), **given
        )
        self._loop = _Loop(self.clock)
        self.estimate = estimate_of(self._client)
        # The first asynchronous call asks for the platform in a thread of its own.
        first = HeldCall(1, self.clock)
        first.answer.set_result(None)
        self._loop.run_until_complete(self._in_task(first))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let waits go by the clock; in the end, nothing is left."""
        event: Callable[[], _Event] = lambda: _Event(self.clock)  # noqa: E731 -- in the place of a class
        with mock.patch.multiple(waiting, monotonic=self.clock.time, Event=event):
            yield
        self._client.close()
        self._loop.run_until_complete(self._aclient.close())
        self._loop.close()

    # -- making calls --------------------------------------------------------------------------------------------------

    def in_thread(self, cap: int) -> HeldCall:
        """Begin a call in a thread that has the context of here."""
        call = self._new(cap)
        Thread(target=copy_context().run, args=(self._here, call), daemon=True).start()
        self.settle_down()
        return call

    def in_task(self, cap: int) -> HeldCall:
        """Begin one in a task."""
        call = self._new(cap)
        call.task = self._loop.create_task(self._in_task(call))
        self.settle_down()
        return call

    def within_loop(self, cap: int, answer: Answer) -> HeldCall:
        """Make one without `await` in the event loop, which would stand still if it waited. It has ended."""

        async def make() -> None:
            copy_context().run(self._here, call)

        call = self._new(cap)
        call.answer.set_result(answer)
        self._loop.run_until_complete(make())
        self.settle_down()
        return call

    def _new(self, cap: int) -> HeldCall:
        self.all.append(HeldCall(cap, self.clock))
        return self.all[-1]

    def _here(self, call: HeldCall) -> None:
        with call.running():
            self._client.chat.completions.create(**request_of(call.cap))

    async def _in_task(self, call: HeldCall) -> None:
        with call.running():
            await self._aclient.chat.completions.create(**request_of(call.cap))

    # -- what becomes of them ------------------------------------------------------------------------------------------

    def answer(self, call: HeldCall, answer: Answer | None) -> None:
        """Answer a call that was sent."""
        call.becomes("running")
        call.answer.set_result(answer)
        self.settle_down()

    def end_in_thread(self, call: HeldCall, answer: Answer) -> None:
        """Answer one that is in a thread, and let it end, whatever the others do meanwhile."""
        call.answer.set_result(answer)
        with self.clock.condition:
            assert self.clock.condition.wait_for(lambda: call.state == "ended", _PATIENCE_S)

    def cancel(self, call: HeldCall) -> None:
        """Cancel the task of a call."""
        assert call.task is not None
        call.task.cancel()
        self.settle_down()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.settle_down()

    def settle_down(self) -> None:
        """Wait until each call has ended, is sent, or waits for room."""
        while True:
            for call in self.all:
                if call.task is not None and call.state == "waiting":
                    call.state = "running"
            self._wait_for_threads()
            self._loop.run_until_complete(_turn())
            for call in self.all:
                if call.task is not None and call.state == "running":
                    call.state = "waiting"  # nothing else may hold it up
            if all(call.state != "running" for call in self.all):
                self.all = [call for call in self.all if call.state != "ended"]
                return

    def _wait_for_threads(self) -> None:
        in_threads = [call for call in self.all if call.task is None]
        with self.clock.condition:
            calm = self.clock.condition.wait_for(
                lambda: all(call.state != "running" for call in in_threads), _PATIENCE_S
            )
        assert calm, "a thread neither waits for room, nor is sent, nor ends"


async def _turn() -> None:
    for _ in range(_TICKS):
        await asyncio.sleep(0)
