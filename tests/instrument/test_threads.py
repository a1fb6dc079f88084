"""`instrument(threads=True)`: threads and thread pools carry the step of those who ask them to work."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

import otel_harn_steps
from otel_harn_steps import current_step, drain_completed_steps, step
from tests.instrumented import Spans
from tests.instrumented import instrumented as _instrumented
from tests.steps.spending import spend

PATCHED = ((threading.Thread, "start"), (ThreadPoolExecutor, "submit"), (Future, "add_done_callback"))


def forget_timer() -> None:
    """Remove what OpenTelemetry's instrumentation leaves behind on `Timer`, which goes on to keep the context there."""
    if "start" in vars(threading.Timer):
        del threading.Timer.start


@pytest.fixture
def carried(spans: Spans) -> Iterator[ModuleType]:
    """The package at work, with threads that carry the step."""
    with _instrumented(tracer_provider=spans.provider, threads=True) as package:
        yield package


@pytest.fixture
def otel() -> Iterator[ThreadingInstrumentor]:
    """OpenTelemetry's own instrumentation of threads, not yet active. It leaves in the end."""
    instrumentor = ThreadingInstrumentor()
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    forget_timer()


def name_here() -> str | None:
    active = current_step()
    return None if active is None else active.definition.name


def in_a_thread(function: Any) -> Any:
    """What `function` returns in a new thread."""
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(function()))
    thread.start()
    thread.join()
    return returned[0]


def test_tasks_of_a_pool_are_billed_to_the_step_that_submits_them(carried: ModuleType) -> None:
    with step("s") as active, ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(spend, 10) for _ in range(20)]:
            job.result()
        list(pool.map(spend, [10] * 20))
    assert (active.llm_calls, active.input_tokens + active.output_tokens) == (40, 400)


def test_a_thread_is_billed_to_the_step_that_starts_it(carried: ModuleType) -> None:
    with step("made in"):
        thread = threading.Thread(target=spend, args=(10,))
    with step("started in"):
        thread.start()
        thread.join()
    assert [(record.name, record.llm_calls) for record in drain_completed_steps()] == [
        ("made in", 0),
        ("started in", 1),
    ]


def test_the_span_comes_along(carried: ModuleType) -> None:
    with step("s") as active:
        assert in_a_thread(trace.get_current_span) is active.span
        with ThreadPoolExecutor() as pool:
            assert pool.submit(trace.get_current_span).result() is active.span


def test_a_timer_and_a_subclass_with_a_run_of_its_own_carry_the_step(carried: ModuleType) -> None:
    seen: list[str | None] = []

    class Own(threading.Thread):
        def run(self) -> None:
            seen.append(name_here())

    class OwnStart(Own):
        def start(self) -> None:
            super().start()

    with step("s"):
        threads = [Own(), OwnStart(), threading.Timer(0, lambda: seen.append(name_here()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == ["s"] * 3


def test_a_run_set_on_the_thread_itself_is_called_and_stays(carried: ModuleType) -> None:
    seen: list[str | None] = []
    thread = threading.Thread()

    def run() -> None:
        seen.append(name_here())

    thread.run = run  # type: ignore[method-assign]
    with step("s"):
        thread.start()
        thread.join()
    assert (seen, thread.run) == (["s"], run)


@contextmanager
def sentry() -> Iterator[None]:
    """Replaces `start`, and there `run` on the instance, as Sentry's threading integration does."""
    original = threading.Thread.start

    @functools.wraps(original)
    def start(self: threading.Thread) -> Any:
        found = getattr(self.run, "__func__", self.run)
        self.run = lambda *args: found(threading.current_thread(), *args[1:])  # type: ignore[method-assign]
        return original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    yield
    threading.Thread.start = original  # type: ignore[method-assign]


@pytest.mark.parametrize("is_first", [True, False], ids=["sentry first", "ours first"])
def test_it_works_next_to_another_replacement_of_run(is_first: bool) -> None:
    ours = _instrumented(threads=True)
    with sentry() if is_first else ours, ours if is_first else sentry(), step("s"):
        assert in_a_thread(name_here) == "s"
    assert threading.Thread.start.__module__ == "threading"


def test_a_worker_does_not_keep_the_step_of_the_task_that_started_it(carried: ModuleType) -> None:
    initialized: list[str | None] = []
    with ThreadPoolExecutor(1, initializer=lambda: initialized.append(name_here())) as pool:
        with step("first"):
            assert pool.submit(name_here).result() == "first"
        assert pool.submit(name_here).result() is None
        with step("second"):
            assert pool.submit(name_here).result() == "second"
    assert initialized == [None]


def test_the_submitter_keeps_its_own_step(carried: ModuleType) -> None:
    with step("s"), ThreadPoolExecutor(1) as pool:
        pool.submit(name_here).result()
        assert name_here() == "s"
        pool.shutdown()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            pool.submit(name_here)
        assert name_here() == "s"


def test_results_errors_and_cancelling_are_as_without_us(carried: ModuleType) -> None:
    error, is_free, argument = LookupError("own"), threading.Event(), object()

    def fail() -> None:
        raise error

    with step("s"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda *args, **kwargs: (args, kwargs), argument, function=1, context=2).result() == (
            (argument,),
            {"function": 1, "context": 2},
        )
        assert pool.submit(fail).exception() is error
        busy = pool.submit(is_free.wait)
        waiting = pool.submit(name_here)
        assert (waiting.cancel(), waiting.cancelled()) == (True, True)
        is_free.set()
        assert busy.result() is True
        with pytest.raises(TypeError):
            pool.submit()  # type: ignore[call-arg]


def test_a_threads_error_name_and_second_start_are_as_without_us(
    carried: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda hooked: seen.append(hooked.exc_value))
    error = LookupError("own")

    def fail() -> None:
        raise error

    with step("s"):
        thread = threading.Thread(target=fail, name="mine")
        thread.start()
        thread.join()
        assert (seen, thread.name, "run" in vars(thread)) == ([error], "mine", False)
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()
        assert "run" not in vars(thread)


def test_a_callback_of_a_future_runs_in_the_step_that_added_it(carried: ModuleType) -> None:
    is_free = threading.Event()
    seen: list[tuple[str | None, Any]] = []
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(is_free.wait)
        with step("adds"):
            job.add_done_callback(lambda done: seen.append((name_here(), done)))
        job.add_done_callback(lambda done: seen.append((name_here(), done)))
        is_free.set()
    assert seen == [("adds", job), (None, job)]


def test_tasks_that_bring_a_context_of_their_own_keep_it(carried: ModuleType) -> None:
    with ThreadPoolExecutor(1) as pool:
        with step("outer"):
            copied = contextvars.copy_context()
        with step("s"):
            assert pool.submit(copied.run, name_here).result() == "outer"


async def test_tasks_of_asyncio_in_threads_carry_the_step_as_ever(carried: ModuleType) -> None:
    loop = asyncio.get_running_loop()
    async with step("s"):
        assert await asyncio.to_thread(name_here) == "s"
        assert await loop.run_in_executor(None, name_here) == "s"
    assert await loop.run_in_executor(None, name_here) is None


def test_nothing_keeps_the_step_when_the_work_is_done(carried: ModuleType) -> None:
    forget_timer()

    def fail() -> None:
        raise LookupError("own")

    with ThreadPoolExecutor(1) as pool:
        with step("s") as active:
            threads = [threading.Thread(target=name_here), threading.Timer(0, name_here)]
            for thread in threads:
                thread.start()
                thread.join()
            jobs = [pool.submit(name_here), pool.submit(fail)]
            for job in jobs:
                job.add_done_callback(lambda done: done.exception())
                job.exception()
        drain_completed_steps()
        pool.submit(gc.collect).result()
        gone = weakref.ref(active.span)
        del active
        gc.collect()
        assert (gone(), len(threads), len(jobs)) == (None, 2, 2)


def test_without_a_context_nothing_is_wrapped(carried: ModuleType) -> None:
    assert not get_current()
    thread = threading.Thread(target=name_here)
    thread.start()
    thread.join()
    assert "run" not in vars(thread)
    assert in_a_thread(name_here) is None


def test_it_is_off_by_default(steps: ModuleType) -> None:
    with step("s"), ThreadPoolExecutor(1) as pool:
        assert (in_a_thread(name_here), pool.submit(name_here).result()) == (None, None)


def test_uninstrument_puts_everything_back() -> None:
    before = [vars(owner).get(name) for owner, name in PATCHED]
    otel_harn_steps.instrument(threads=True)
    during = [vars(owner).get(name) for owner, name in PATCHED]
    otel_harn_steps.instrument()
    assert [vars(owner).get(name) for owner, name in PATCHED] == before
    otel_harn_steps.uninstrument()
    assert all(now is not then for now, then in zip(during, before, strict=True))


def carries() -> tuple[bool, bool, bool]:
    """Whether a thread, a task of a pool, and a timer carry the step."""
    with step("s"), ThreadPoolExecutor(1) as pool:
        seen: list[str | None] = []
        timer = threading.Timer(0, lambda: seen.append(name_here()))
        timer.start()
        timer.join()
        return in_a_thread(name_here) == "s", pool.submit(name_here).result() == "s", seen == ["s"]


@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("leaves", ["theirs", "ours"])
def test_it_works_next_to_the_threading_instrumentation_whoever_comes_and_leaves_first(
    first: str, leaves: str, otel: ThreadingInstrumentor
) -> None:
    before = [vars(owner).get(name) for owner, name in PATCHED]
    come = {"theirs": otel.instrument, "ours": lambda: otel_harn_steps.instrument(threads=True)}
    leave = {"theirs": otel.uninstrument, "ours": otel_harn_steps.uninstrument}
    last = "ours" if leaves == "theirs" else "theirs"
    come.pop(first)()
    (come_second,) = come.values()
    come_second()
    try:
        assert carries() == (True, True, True)
        leave.pop(leaves)()
        assert carries() == (True, True, True)
    finally:
        leave[last]()
    assert [vars(owner).get(name) for owner, name in PATCHED] == before
    assert carries()[:2] == (False, False)
    otel_harn_steps.reset_steps()


def test_a_timer_carries_the_step_after_the_threading_instrumentation_has_come_and_gone(
    otel: ThreadingInstrumentor,
) -> None:
    """It leaves a bound wrapper behind on `Timer`, which passes over what is put below it."""
    otel.instrument()
    otel.uninstrument()
    left_behind = vars(threading.Timer).get("start")
    with _instrumented(threads=True):
        assert carries() == (True, True, True)
    assert vars(threading.Timer).get("start") is left_behind
    assert carries() == (False, False, False)


def test_next_to_the_threading_instrumentation_a_call_is_billed_once(
    carried: ModuleType, otel: ThreadingInstrumentor
) -> None:
    otel.instrument()
    with step("s") as active, ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(spend, 10) for _ in range(10)]:
            job.result()
        in_a_thread(lambda: spend(10))
    assert active.llm_calls == 11
