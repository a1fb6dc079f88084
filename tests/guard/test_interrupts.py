"""What interrupts the app while our code runs is the app's: time limits of signal handlers, exceptions of other threads."""

from __future__ import annotations

import ctypes
import functools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
from opentelemetry.context import get_current

from otel_harn_steps._guard import guard
from tests.guard.interrupting import Lines, TimeLimitError, time_limit
from tests.http_library import http_library
from tests.instrumented import Instrumented, Spans

http = http_library(openai)
pytestmark = [pytest.mark.usefixtures("own_faults_dropped"), pytest.mark.interrupts]

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def answer(request: http.Request) -> http.Response:
    head = {"id": "x", "created": 1, "model": "gpt-4o"}
    if json.loads(request.content).get("stream"):
        chunk = {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
        events = [chunk, chunk, {**chunk, "choices": [], "usage": USAGE}]
        body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events) + b"data: [DONE]\n\n"
        return http.Response(200, content=body, headers={"content-type": "text/event-stream"})
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    return http.Response(200, json={**head, "object": "chat.completion", "choices": [message], "usage": USAGE})


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with http.Client(transport=http.MockTransport(answer)) as made:
        yield openai.OpenAI(api_key="test", base_url="http://127.0.0.1:1/v1", http_client=made, max_retries=0)


def plain(client: openai.OpenAI) -> None:
    client.chat.completions.create(**ASKED)


def stream(client: openai.OpenAI) -> None:
    for _ in client.chat.completions.create(**ASKED, stream=True):
        pass


class Rows:
    """The ledger's rows, and the records of steps."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.records: list[Any] = []

    def call_sent(self, row: Any) -> None:
        self.rows[row.call_id] = row

    call_settled = call_sent

    def step_ended(self, record: Any) -> None:
        self.records.append(record)


# Where a row is on its way to a sink, it is not handed over again: the sink may have had it.
HANDING_OVER = ("/_steps/ledger.py", "/_telemetry/delivery.py", "/_instrument/processor.py", "/_instrument/receiver.py")


def each_line(lines: list[tuple[str, int]]) -> list[int]:
    """When each line runs for the first time."""
    firsts: dict[tuple[str, int], int] = {}
    for at, line in enumerate(lines):
        firsts.setdefault(line, at)
    return list(firsts.values())


@pytest.mark.parametrize("make", [plain, stream])
def test_a_time_limit_at_any_line_of_a_call_reaches_the_app_and_the_ledger_adds_up(
    make: Callable[[openai.OpenAI], None], client: openai.OpenAI, spans: Spans, instrumented: Instrumented
) -> None:
    sink = Rows()
    wrong: list[Any] = []

    def in_a_step(lines: Lines) -> object:
        sink.rows.clear(), sink.records.clear()
        before, raised = get_current(), None
        with steps.step("s"):
            try:
                lines.run(lambda: make(client))
            except Exception as error:  # noqa: BLE001 -- whatever comes is looked at
                raised = type(error)
        (record,) = sink.records
        settled = [row for row in sink.rows.values() if row.outcome in ("answered", "cut")]
        counted = sum(row.input_tokens or 0 for row in settled)
        if lines.at is not None and lines.at[0] in HANDING_OVER and not settled:
            return raised, record.llm_calls in (0, 1) and get_current() == before
        is_right = record.llm_calls == len(settled) and record.input_tokens == counted and get_current() == before
        return raised, is_right

    with instrumented(sinks=[sink], tracer_provider=spans.provider) as steps, time_limit():
        for _ in range(2):
            in_a_step(Lines())
        in_a_step(undisturbed := Lines())
        for at in each_line(undisturbed.seen):
            if in_a_step(Lines(at)) != (TimeLimitError, True):
                wrong.append(undisturbed.seen[at])
        steps.drain_completed_steps()
    assert len(undisturbed.seen) > 300
    assert wrong == []


# -- what the guard lets pass ----------------------------------------------------------------------------------------


def raising(*_: Any) -> None:
    raise TimeLimitError


def dropping_its_frame(number: int, frame: Any) -> None:
    del number, frame
    raise TimeLimitError


def decorated(handler: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(handler)
    def handle(*args: Any, **kwargs: Any) -> None:
        handler(*args, **kwargs)

    return handle


class Handler:
    def __call__(self, number: int, frame: Any) -> None:
        raise TimeLimitError

    def method(self, number: int, frame: Any) -> None:
        raise TimeLimitError


def with_more(more: object, number: int, frame: Any) -> None:
    raise TimeLimitError


def for_once(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise TimeLimitError


def below(number: int, frame: Any) -> None:
    raising()


def and_explains(number: int, frame: Any) -> None:
    try:
        raise KeyError
    except KeyError as error:
        raise TimeLimitError from error


@pytest.mark.parametrize(
    "handler",
    [
        raising,
        dropping_its_frame,
        decorated(raising),
        decorated(dropping_its_frame),
        Handler(),
        Handler().method,
        functools.partial(with_more, object()),
        functools.partial(decorated(with_more), object()),
        for_once,
        below,
        and_explains,
        lambda number, frame: raising(),
    ],
)
def test_whatever_a_handler_is_made_of_its_exception_passes(handler: Any) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeLimitError), guard("trying"):
            sorted([1], key=lambda _: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_while_a_handler_waits_for_a_signal_a_fault_of_ours_is_dropped() -> None:
    with time_limit():
        with guard("trying"):
            raise TimeLimitError


def test_a_handler_that_somebody_calls_without_a_signal_raises_a_fault() -> None:
    before = signal.signal(signal.SIGUSR1, decorated(raising))
    try:
        with guard("trying"):
            decorated(raising)()  # the same code as the handler's
    finally:
        signal.signal(signal.SIGUSR1, before)


class Strange:
    """A response that raises at everything."""

    def __getattr__(self, name: str) -> Any:
        raise TimeoutError(name)

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError

    __bool__ = __len__ = __iter__  # type: ignore[assignment]  # whoever asks gets the exception


@pytest.mark.parametrize(
    "fault",
    [
        lambda: Strange().usage,
        lambda: list(Strange()),
        lambda: bool(Strange()),
        lambda: next(iter(())),
        lambda: {}["x"],
        lambda: json.loads("{"),
        lambda: int("x"),
        lambda: b"\xff".decode(),
        lambda: Path("/nowhere").read_bytes(),
        lambda: None.usage,
        lambda: raising(1, 2),
        lambda: (_ for _ in ()).throw(TimeLimitError()),
    ],
)
def test_a_fault_of_ours_and_of_what_we_call_is_dropped(fault: Callable[[], Any]) -> None:
    with guard("trying"):
        fault()


class LateError(Exception):
    """With a message of its own making."""

    def __init__(self, message: str = "too late") -> None:
        super().__init__(message)


@pytest.mark.parametrize("kind", [TimeLimitError, LateError, TimeoutError])
def test_an_exception_that_another_thread_raises_here_passes(kind: type[Exception]) -> None:
    here = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    for _ in range(50):
        is_there = list[bool]()

        def raise_it(is_there: list[bool] = is_there) -> None:
            while not is_there:  # `Thread.start` itself makes a KeyError of what comes too early
                pass
            raise_in(here, ctypes.py_object(kind))

        other = threading.Thread(target=raise_it)
        other.start()
        with pytest.raises(kind), guard("trying"):
            is_there.append(True)
            while True:
                sorted("abc", key=str.upper)
        other.join()


def test_a_time_limit_while_a_fault_is_logged_passes() -> None:
    import logging

    class Slow(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            signal.raise_signal(signal.SIGUSR1)
            return True

    slow = Slow()
    logging.getLogger("otel_harn_steps").addHandler(slow)
    try:
        with time_limit(), pytest.raises(TimeLimitError), guard("trying what takes long to log"):
            raise ValueError
    finally:
        logging.getLogger("otel_harn_steps").removeHandler(slow)


def test_a_debugger_that_quits_in_our_code_quits(steps: ModuleType) -> None:
    import bdb

    class Quitting(bdb.Bdb):
        def user_line(self, frame: Any) -> None:
            if frame.f_code.co_name == "of_ours":
                self.set_quit()

    def of_ours() -> None:
        pass

    def guarded() -> None:
        with guard("trying"):
            of_ours()
        pytest.fail("the debugger's wish was dropped")

    Quitting().runcall(guarded)
