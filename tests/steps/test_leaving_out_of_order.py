"""A step that was left is never current again where it was left: the nearest living one is. House plan, section 2.2."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current, get_value, set_value
from opentelemetry.sdk.trace import TracerProvider

from otel_harn_steps import StepBudgetExceeded, current_step, drain_completed_steps, step
from tests.instrumented import Spans
from tests.provider import Provider
from tests.steps.sinks import Ledger
from tests.steps.spending import spend


@pytest.fixture
def tracer_provider(spans: Spans) -> TracerProvider:
    return spans.provider


@pytest.fixture(autouse=True)
def nothing_stays_current() -> Iterator[None]:
    yield
    assert name_here() is None
    assert get_current() == {}


def name_here() -> str | None:
    active = current_step()
    return None if active is None else active.definition.name


def span_here() -> str | None:
    return getattr(trace.get_current_span(), "name", None)


def leave(entered: Any) -> None:
    entered.__exit__(None, None, None)


def calls(ledger: Ledger) -> dict[str, int]:
    """The calls that are each step's own, by its record, and by its amendments."""
    counted: dict[str, int] = {}
    for record in ledger.of("ended"):
        if record.amends is None or record.llm_calls:
            name = record.name if record.amends is None else f"{record.name}, late"
            counted[name] = counted.get(name, 0) + record.llm_calls
    return counted


def in_a_thread(function: Callable[[], Any]) -> Any:
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(function()))
    thread.start()
    thread.join()
    return returned[0]


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_after_two_steps_were_left_in_the_wrong_order_nothing_is_current(llm: Provider, ledger: Ledger) -> None:
    first, second = step("first", max_tokens=5), step("second")
    first.__enter__()
    second.__enter__()
    leave(first)
    assert (name_here(), span_here()) == ("second", "step second")
    llm.ask()
    leave(second)
    assert (name_here(), span_here()) == (None, None)
    llm.ask()  # is refused by no step, and billed to none
    assert calls(ledger) == {"first": 0, "second": 1}
    assert llm.handed_out.calls == 2


def test_what_is_current_after_a_step_was_left_below_others_is_the_nearest_that_lives(
    llm: Provider, ledger: Ledger
) -> None:
    with step("outer"):
        entered = [step(name) for name in ("a", "b", "c")]
        for each in entered:
            each.__enter__()
        leave(entered[1])
        leave(entered[0])
        assert name_here() == "c"
        leave(entered[2])
        assert (name_here(), span_here()) == ("outer", "step outer")
        llm.ask()
    assert calls(ledger) == {"b": 0, "a": 0, "c": 0, "outer": 1}


def test_a_step_that_was_exhausted_and_left_below_another_refuses_nothing(llm: Provider) -> None:
    exhausted, other = step("exhausted", max_tokens=5), step("other")
    exhausted.__enter__()
    with pytest.raises(StepBudgetExceeded):
        llm.ask()
    other.__enter__()
    with pytest.raises(StepBudgetExceeded):
        leave(exhausted)
    leave(other)
    llm.ask()
    with step("later"):
        llm.ask()
    assert llm.handed_out.calls == 3


def test_a_span_of_the_app_that_ends_after_the_step_around_it_brings_the_step_not_back(
    llm: Provider, ledger: Ledger, spans: Spans
) -> None:
    tracer = spans.provider.get_tracer("app")
    entered = step("s")
    entered.__enter__()
    with tracer.start_as_current_span("app's"):
        leave(entered)
        llm.ask()
    assert (name_here(), span_here()) == (None, None)
    llm.ask()
    assert calls(ledger) == {"s": 0}


def test_what_the_app_attached_above_a_step_stays_where_the_step_is_left_below_it(llm: Provider) -> None:
    first, second = step("first"), step("second")
    first.__enter__()
    token = attach(set_value("the app's", "value"))
    second.__enter__()
    leave(first)
    leave(second)
    assert (name_here(), get_value("the app's")) == (None, "value")
    detach(token)


def test_generators_that_enter_steps_and_take_turns_leave_nothing_behind(llm: Provider, ledger: Ledger) -> None:
    def asking(name: str) -> Iterator[str | None]:
        with step(name):
            for _ in range(2):
                llm.ask()
                yield name_here()

    one, other = asking("one"), asking("other")
    assert [next(one), next(other), next(one), next(other)] == ["one", "other", "other", "other"]
    assert next(one, None) is None  # "one" is left while "other" is current
    assert name_here() == "other"
    assert next(other, None) is None
    llm.ask()
    assert sum(calls(ledger).values()) == 4


def test_a_generator_that_is_dropped_leaves_its_step_wherever_it_stood(llm: Provider, ledger: Ledger) -> None:
    def endless() -> Iterator[None]:
        with step("dropped"):
            while True:
                yield

    with step("outer"):
        generator = endless()
        next(generator)
        with step("inner"):
            del generator
            assert name_here() == "inner"
        assert name_here() == "outer"
    assert [record.name for record in ledger.of("ended")] == ["dropped", "inner", "outer"]


def test_a_step_that_is_entered_by_hand_lasts_as_long_as_its_context(llm: Provider, ledger: Ledger) -> None:
    def session() -> None:
        step("session").__enter__()  # nobody holds what entered it
        gc.collect()
        llm.ask()
        assert name_here() == "session"

    contextvars.copy_context().run(session)
    gc.collect()
    (record,) = ledger.of("ended")
    assert (record.status, record.llm_calls) == ("cancelled", 1)


def test_an_exit_without_an_entry_is_told_and_harms_nothing(
    llm: Provider, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    entered = step("once")
    entered.__enter__()
    leave(entered)
    leave(entered)
    assert "step 'once' is left, and was not entered" in caplog.text
    assert [record.name for record in ledger.of("ended")] == ["once"]


# -- tasks and threads -----------------------------------------------------------------------------------------------


async def test_a_task_that_kept_a_steps_context_amends_it_also_after_steps_of_its_own(
    llm: Provider, ledger: Ledger
) -> None:
    go_on = asyncio.Event()

    async def task() -> None:
        async with step("of the task"):
            await go_on.wait()
            await llm.ask_async()
        await llm.ask_async()

    async with step("kept", max_tokens=1):
        running = asyncio.create_task(task())
        await asyncio.sleep(0)
    go_on.set()
    await running
    assert calls(ledger) == {"kept": 0, "of the task": 1, "kept, late": 1}


async def test_a_step_that_a_task_entered_and_another_left_is_current_in_neither(llm: Provider, ledger: Ledger) -> None:
    entered = step("handed on")

    async def enter() -> None:
        entered.__enter__()
        await asyncio.create_task(leave_there())
        assert (name_here(), span_here()) == (None, None)
        await llm.ask_async()

    async def leave_there() -> None:
        assert name_here() == "handed on"
        leave(entered)
        assert (name_here(), span_here()) == (None, None)
        await llm.ask_async()

    await asyncio.create_task(enter())
    assert calls(ledger) == {"handed on": 0}
    assert llm.handed_out.calls == 2


def test_a_step_that_another_thread_leaves_is_current_in_neither(llm: Provider, ledger: Ledger) -> None:
    entered = step("handed on")
    with step("outer"):
        entered.__enter__()
        in_a_thread(lambda: leave(entered))
        assert (name_here(), span_here()) == ("outer", "step outer")
        llm.ask()
    assert calls(ledger) == {"handed on": 0, "outer": 1}


def test_a_thread_that_kept_the_context_of_a_step_that_was_left_elsewhere_amends_it(
    llm: Provider, ledger: Ledger
) -> None:
    entered = step("kept")
    entered.__enter__()
    kept = contextvars.copy_context()
    in_a_thread(lambda: leave(entered))
    in_a_thread(lambda: kept.run(llm.ask))
    assert name_here() is None
    assert calls(ledger) == {"kept": 0, "kept, late": 1}


async def test_an_async_generator_that_another_task_closes_leaves_its_own_step(llm: Provider, ledger: Ledger) -> None:
    shared = step("shared")

    async def asking() -> AsyncIterator[Any]:
        async with shared as active:
            while True:
                yield active

    first, second = asking(), asking()
    entered_first, entered_second = await anext(first), await anext(second)
    await asyncio.create_task(first.aclose())  # type: ignore[attr-defined]  # it is a generator
    assert (entered_first.status, entered_second.status) == ("cancelled", None)
    assert current_step() is entered_second
    await asyncio.create_task(second.aclose())  # type: ignore[attr-defined]  # as above
    await llm.ask_async()
    assert calls(ledger) == {"shared": 0}


# -- one object, entered many times ----------------------------------------------------------------------------------


def test_a_step_object_that_another_thread_has_entered_too_leaves_the_run_of_its_own_thread(llm: Provider) -> None:
    shared = step("shared")
    entered, may_leave = threading.Event(), threading.Event()
    seen: list[Any] = []

    def hold() -> None:
        with shared as active:
            entered.set()
            may_leave.wait(20)
            seen.append((active.status, current_step() is active))
            llm.ask()
        seen.append((active.status, active.llm_calls))

    async def asking() -> AsyncIterator[Any]:
        with shared as active:
            yield active

    async def closed_by_another_task() -> Any:
        generator = asking()
        active = await anext(generator)
        holding.start()
        entered.wait(20)
        await asyncio.create_task(generator.aclose(), context=contextvars.Context())  # type: ignore[attr-defined]
        return active

    holding = threading.Thread(target=hold)
    active = asyncio.run(closed_by_another_task())
    may_leave.set()
    holding.join()
    assert active.status == "cancelled"
    assert seen == [(None, True), ("completed", 1)]


def test_generators_of_one_step_object_leave_their_own_runs(llm: Provider, ledger: Ledger) -> None:
    shared = step("shared")

    def asking(times: int) -> Iterator[Any]:
        with shared as active:
            for _ in range(times):
                active.admit()
                spend(10)
                yield active

    one, other = asking(1), asking(2)
    first, second = next(one), next(other)
    assert next(one, None) is None
    assert (first.status, second.status) == ("completed", None)
    next(other)
    assert next(other, None) is None
    assert (second.status, second.llm_calls) == ("completed", 2)


async def test_exit_stacks_that_another_task_closes_leave_each_step_once(llm: Provider, ledger: Ledger) -> None:
    shared = step("shared")
    stacks = [AsyncExitStack(), AsyncExitStack()]

    async def enter(stack: AsyncExitStack) -> None:
        await stack.enter_async_context(shared)

    for stack in stacks:
        await asyncio.create_task(enter(stack))
    for stack in stacks:
        await asyncio.create_task(stack.aclose())
    assert [record.name for record in ledger.of("ended")] == ["shared", "shared"]


def test_an_exit_stack_leaves_its_steps_in_order(llm: Provider, ledger: Ledger) -> None:
    shared = step("shared")
    with ExitStack() as stack:
        first, second = stack.enter_context(shared), stack.enter_context(shared)
        assert second.parent is first
        stack.enter_context(step("inner"))
    assert [record.path for record in ledger.of("ended")] == ["shared/shared/inner", "shared/shared", "shared"]


def test_threads_that_share_a_step_object_keep_to_their_own_runs(llm: Provider) -> None:
    shared, wrong = step("shared", max_tokens=1_000), list[Any]()
    all_there = threading.Barrier(17, timeout=20)  # a thread that is traced cannot start at such an interval

    def work() -> None:
        all_there.wait()
        for _ in range(60):
            with shared as active, shared as nested:
                spend(1)
                if current_step() is not nested or nested.parent is not active:
                    wrong.append((active, nested))
            ends = (active.status, nested.status, nested.llm_calls, active.total_llm_calls)
            if ends != ("completed", "completed", 1, 1) or current_step() is not None:
                wrong.append(ends)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        all_there.wait()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert len(drain_completed_steps()) == 16 * 60 * 2
