"""An interrupt at any line of our code while steps are entered, spend and are left.

Afterwards nothing is current, no lock is held, nothing is counted twice, totals and rows agree, and the exception is the
app's. `--full-product` interrupts every line, and the default every 61st, beginning elsewhere for each kind.

What cannot be had is listed here, and nothing else may happen:

- an `__exit__` that is written in Python may be interrupted before it does anything, as that of any context manager. The
  step then lasts as long as its context does, and the object that entered it. `BEFORE_THE_EXIT` has the lines.
- while news is handed to sinks (`HANDING_OVER`), a sink may miss what it was about to get: to hand it over again might
  make it count twice. The totals have it, and so has the in-process log.
- an interrupt before the usage of an answer is read may leave its row open: nobody knows what it says.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_harn_steps as harn
from otel_harn_steps import current_step, drain_completed_steps, step
from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._steps import decorator
from otel_harn_steps._steps.decorator import Step
from tests.guard.interrupting import Lines, TimeLimitError, by_signal, time_limit
from tests.instrumented import Spans
from tests.provider import Provider
from tests.replay.subset import OPTION
from tests.steps.sinks import Ledger

pytestmark = [pytest.mark.usefixtures("own_faults_dropped"), pytest.mark.interrupts]

STRIDE = 61
HANDING_OVER = (
    "/_telemetry/delivery.py",
    "/_instrument/processor.py",
    "/_instrument/receiver.py",
    "/_guard/__init__.py",
    "/_steps/ledger.py",
    "/_steps/amendments.py",
    "/_steps/totals.py",
    "/_steps/account.py",
    "/_steps/active.py",
)


def first_lines(function: Any, count: int) -> set[tuple[str, int]]:
    """The first lines of a function that run."""
    lines = sorted({line for _, _, line in function.__code__.co_lines() if line is not None})
    return {("/_steps/decorator.py", line) for line in lines[1 : 1 + count]}


BEFORE_THE_EXIT = first_lines(Step.__exit__, 1) | first_lines(Step.__aexit__, 1) | first_lines(Step._exit, 2)


@dataclass
class Work:
    """What is interrupted, and what it got until then."""

    llm: Provider
    active: Any = None
    answers: int = 0
    entered: list[Any] = field(default_factory=list)
    lives_on: Any = field(default_factory=lambda: step("lives on"))

    def ask(self) -> None:
        self.llm.ask()
        self.answers += 1

    async def ask_async(self) -> None:
        await self.llm.ask_async()
        self.answers += 1


def a_call(work: Work) -> None:
    with step("s") as work.active:
        work.ask()


def a_call_in_an_object_that_lives_on(work: Work) -> None:
    with work.lives_on as work.active:
        work.ask()


def a_call_in_a_nested_step(work: Work) -> None:
    with step("outer") as work.active, step("inner"):
        work.ask()


def steps_that_spend_nothing(work: Work) -> None:
    with step("outer") as work.active:
        with step("first"):
            pass
        with step("second"):
            pass


def steps_out_of_order(work: Work) -> None:
    def generate() -> Iterator[None]:
        with step("generated"):
            yield

    with step("outer") as work.active:
        generator = generate()
        next(generator)
        with step("inner"):
            next(generator, None)


def a_step_that_fails(work: Work) -> None:
    try:
        with step("s", max_tokens=5, error_boundary="continue") as work.active:
            work.llm.ask()
        work.answers += 1
    except harn.StepBudgetExceeded:
        pytest.fail("the boundary continues")


def a_function(work: Work) -> None:
    @step("s", error_boundary="continue", fallback=None)
    def function() -> None:
        work.active = current_step()
        work.ask()

    function()


def a_generator(work: Work) -> None:
    @step("s")
    def generate() -> Iterator[None]:
        work.active = current_step()
        yield
        work.ask()
        yield

    for _ in generate():
        pass


def a_stream(work: Work) -> None:
    with step("s") as work.active:
        for _ in work.llm.ask(10, 2, stream=True):
            pass
        work.answers += 1


def a_stream_that_is_left(work: Work) -> None:
    with step("s") as work.active:
        for _ in work.llm.ask(10, 2, stream=True):
            break


def a_stream_that_amends_its_step(work: Work) -> None:
    with step("s") as work.active:
        stream = work.llm.ask(10, 2, stream=True)
    for _ in stream:
        pass
    work.answers += 1


def a_coroutine(work: Work) -> None:
    @step("s")
    async def run() -> None:
        work.active = current_step()
        await work.ask_async()

    asyncio.run(run())


def an_async_generator(work: Work) -> None:
    async def generate() -> AsyncIterator[None]:
        async with step("s") as work.active:
            yield
            await work.ask_async()

    async def run() -> None:
        async for _ in generate():
            pass

    asyncio.run(run())


EVERY_WORK = (
    a_call,
    a_call_in_an_object_that_lives_on,
    a_call_in_a_nested_step,
    steps_that_spend_nothing,
    steps_out_of_order,
    a_step_that_fails,
    a_function,
    a_generator,
    a_stream,
    a_stream_that_is_left,
    a_stream_that_amends_its_step,
    a_coroutine,
    an_async_generator,
)
KINDS = (KeyboardInterrupt, asyncio.CancelledError, TimeLimitError)


class Attack:
    """Does a work again and again, interrupted elsewhere each time."""

    def __init__(self, do: Callable[[Work], None], kind: type[BaseException], llm: Provider, ledger: Ledger) -> None:
        self.do, self.kind, self.llm, self.ledger = do, kind, llm, ledger
        self.wrong: list[tuple[Any, str]] = []

    def lines(self) -> int:
        """How many lines of ours run when nothing interrupts."""
        self.do(Work(self.llm))  # what is done but once
        undisturbed = Lines()
        undisturbed.run(lambda: self.do(Work(self.llm)))
        return len(undisturbed.seen)

    def interrupt(self, at: int) -> None:
        """Do it once, in a context of its own, and look at what is left."""
        gc.collect()  # a step that could not be left ends with its context,
        finish_freed()  # and here, at the latest
        self.ledger.events.clear()
        drain_completed_steps()
        contextvars.copy_context().run(self._interrupted, at)

    def _interrupted(self, at: int) -> None:
        before = self.llm.handed_out.input_tokens
        work, lost = Work(self.llm), list[BaseException | None]()
        lines = Lines(at, by_signal if self.kind is TimeLimitError else self._raise)
        hook, sys.unraisablehook = sys.unraisablehook, lambda raised: lost.append(raised.exc_value)
        raised: type[BaseException] | None = None
        try:
            lines.run(lambda: self.do(work))
        except BaseException as error:  # noqa: BLE001 -- whatever comes is looked at
            raised = type(error)
        finally:
            sys.unraisablehook = hook
        where = lines.seen[at] if at < len(lines.seen) else None
        gc.collect()  # what the exception's frames held, such as generators, is closed
        finish_freed()
        wrong = set(self._left_behind(work, where))
        if where is not None and raised is not self.kind and self.kind not in [type(error) for error in lost]:
            wrong.add(f"the exception is {raised}")
        wrong.update(self._miscounted(work, where, self.llm.handed_out.input_tokens - before))
        self.wrong.extend((where, each) for each in wrong)

    def _raise(self) -> None:
        raise self.kind

    def _left_behind(self, work: Work, where: Any) -> Iterator[str]:
        if current_step() is not None and where not in BEFORE_THE_EXIT:
            yield "a step is current"
        if trace.get_current_span() is not trace.INVALID_SPAN and where not in BEFORE_THE_EXIT:
            yield "a span is current"
        if work.active is not None and not _is_free(work.active.tree.lock):
            yield "a lock is held"

    def _miscounted(self, work: Work, where: Any, handed_out: int) -> Iterator[str]:
        settled, records = self.ledger.of("settled"), self.ledger.of("ended")
        if max(Counter(row.call_id for row in settled).values(), default=0) > 1:
            yield "a row is settled twice"
        if max(Counter(each.step_id for each in records if each.amends is None).values(), default=0) > 1:
            yield "a step has two records"
        in_rows = sum(row.input_tokens or 0 for row in settled)
        in_records = sum(record.input_tokens for record in records)
        if max(in_rows, in_records) > handed_out:
            yield "more was counted than was handed out"
        if work.active is None:
            return
        counted = work.active.total_input_tokens
        if in_rows > counted or in_records > counted:
            yield "rows or records have what totals have not"
        if work.answers and counted != handed_out:
            yield "an answer that the app got is not counted"
        if counted > min(in_rows, in_records) and not _is_handing_over(where):
            yield f"of {counted} tokens the rows have {in_rows}, and the records {in_records}"
        if sum(each.input_tokens for each in work.active.by_model.values()) != work.active.input_tokens:
            yield "the split by model is not the whole"


def _is_free(lock: Any) -> bool:
    free: list[bool] = []

    def take() -> None:
        free.append(lock.acquire(timeout=5))
        if free[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return free[0]


def _is_handing_over(where: Any) -> bool:
    return where is not None and (where[0] in HANDING_OVER or where in BEFORE_THE_EXIT)


@pytest.fixture
def tracer_provider(spans: Spans) -> TracerProvider:
    return spans.provider


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")  # it was interrupted before
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("do", EVERY_WORK)
def test_an_interrupt_at_any_line_leaves_nothing_current_locked_or_counted_twice(
    do: Callable[[Work], None], kind: type[BaseException], llm: Provider, ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    attack = Attack(do, kind, llm, ledger)
    stride = 1 if request.config.getoption(OPTION) else STRIDE
    with time_limit():
        lines = attack.lines()
        gc.freeze()  # so that a collection looks only at what comes from here on
        for at in range(stride * KINDS.index(kind) // len(KINDS), lines, stride):
            attack.interrupt(at)
        gc.collect()
        gc.unfreeze()
    assert lines > 200
    assert attack.wrong == []


def test_the_lines_before_an_exit_are_those_of_the_exit() -> None:
    """So that the list of what cannot be had does not grow unseen."""
    source = inspect.getsource(decorator).splitlines()
    assert sorted(source[line - 1].strip() for _, line in BEFORE_THE_EXIT) == [
        "return self._exit(error, sys._getframe(1))",
        "return self._exit(error, sys._getframe(1))",
        "run: StepRun | None = None",
        "try:",
    ]
