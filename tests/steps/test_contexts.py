"""What is active where: generators, tasks, threads, forks. House plan, sections 2.1, 2.2 and 4."""

import asyncio
import contextvars
import functools
import gc
import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

import otel_harn_steps as harn
from otel_harn_steps import current_step, drain_completed_steps, step
from tests.steps.spending import spend


def name_here():
    active = current_step()
    return None if active is None else active.definition.name


def test_a_generator_step_is_active_only_while_its_body_runs(steps):
    @step("gen")
    def gen():
        spend(10)
        yield name_here()
        spend(10)
        yield name_here()

    with step("caller"):
        for inside in gen():
            assert (inside, name_here()) == ("gen", "caller")
            spend(1)
    assert [(record.name, record.llm_calls) for record in drain_completed_steps()] == [("gen", 2), ("caller", 2)]


def test_interleaved_generators_keep_to_themselves(steps):
    @step
    def one():
        for _ in range(2):
            spend(10)
            yield name_here()

    @step
    def other():
        for _ in range(2):
            spend(1)
            yield name_here()

    assert list(zip(one(), other(), strict=True)) == [("one", "other"), ("one", "other")]
    assert name_here() is None
    assert {record.name: record.input_tokens + record.output_tokens for record in drain_completed_steps()} == {
        "one": 20,
        "other": 2,
    }


def test_a_generator_receives_what_is_sent_thrown_and_closed(steps):
    @step
    def gen():
        try:
            received = yield 1
            yield received
        except ValueError as error:
            yield str(error)
        return "done"

    running = gen()
    assert (next(running), running.send("sent"), running.throw(ValueError("thrown"))) == (1, "sent", "thrown")
    with pytest.raises(StopIteration) as stopped:
        next(running)
    assert stopped.value.value == "done"
    assert drain_completed_steps()[0].status == "completed"
    closed = gen()
    next(closed)
    closed.close()
    assert drain_completed_steps()[0].status == "cancelled"


def test_a_generator_that_nobody_begins_is_no_step(steps):
    @step
    def gen():
        yield 1

    gen()
    gc.collect()
    assert drain_completed_steps() == []


def test_a_dropped_generator_is_cancelled(steps):
    @step
    def gen():
        yield 1
        yield 2

    for _ in gen():
        break
    gc.collect()
    assert [record.status for record in drain_completed_steps()] == ["cancelled"]


def test_steps_and_spans_opened_in_a_generators_body_stay_there(steps, spans):
    tracer = spans.provider.get_tracer("app")

    @step
    def gen():
        with tracer.start_as_current_span("inner"), step("nested"):
            yield name_here()
            yield name_here()
        yield name_here()

    seen = []
    for inside in gen():
        seen.append((inside, name_here(), trace.get_current_span().is_recording()))
    assert seen == [("nested", None, False), ("nested", None, False), ("gen", None, False)]


async def test_an_async_generator_step_is_active_only_while_its_body_runs(steps):
    @step("gen")
    async def gen():
        spend(10)
        await asyncio.sleep(0)
        yield name_here()
        received = yield name_here()
        yield received

    async with step("caller"):
        running = gen()
        assert (await anext(running), name_here()) == ("gen", "caller")
        assert (await anext(running), name_here()) == ("gen", "caller")
        assert await running.asend("sent") == "sent"
        with pytest.raises(StopAsyncIteration):
            await anext(running)
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("gen", "completed"),
        ("caller", "completed"),
    ]


async def test_an_async_generator_closed_by_another_task_leaves_no_trace(steps, caplog):
    @step("gen")
    async def gen():
        yield 1
        yield 2

    running = gen()
    await anext(running)
    await asyncio.create_task(running.aclose())
    assert name_here() is None
    assert [record.status for record in drain_completed_steps()] == ["cancelled"]
    assert not [record for record in caplog.records if "detach" in record.getMessage()]


async def test_an_async_generator_that_continues_just_ends(steps):
    @step("gen", max_tokens=100, error_boundary="continue")
    async def gen():
        yield 1
        spend(130)
        yield 2

    assert [item async for item in gen()] == [1]
    assert [record.status for record in drain_completed_steps()] == ["skipped"]


def test_a_step_keeps_the_kind_name_and_signature_of_its_function():
    @step
    def plain(a: int, *, b: str = "x") -> str:
        """Says so."""

    @step
    async def coroutine(): ...

    @step
    def generator():
        yield

    @step
    async def async_generator():
        yield

    assert (plain.__name__, plain.__doc__, str(inspect.signature(plain))) == (
        "plain",
        "Says so.",
        "(a: int, *, b: str = 'x') -> str",
    )
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert not any(
        inspect.iscoroutinefunction(each) or inspect.isgeneratorfunction(each) for each in (plain, async_generator)
    )


def test_a_partial_is_a_step_too(steps):
    assert step("p")(functools.partial(lambda a, b: (a, b, name_here()), 1))(2) == (1, 2, "p")


async def test_gathered_tasks_have_a_step_of_their_own_each(steps):
    @step("task")
    async def task(tokens):
        await asyncio.sleep(0)
        spend(tokens)
        await asyncio.sleep(0)
        return current_step().input_tokens + current_step().output_tokens

    async with step("all") as everything:
        assert await asyncio.gather(*(task(n) for n in range(1, 51))) == list(range(1, 51))
    assert everything.total_input_tokens + everything.total_output_tokens == sum(range(1, 51))
    assert everything.total_llm_calls == 50


async def test_calls_of_gathered_tasks_are_billed_to_the_step_around_them(steps):
    async def task():
        await asyncio.sleep(0)
        spend(10)

    async with step("all") as everything:
        await asyncio.gather(*(task() for _ in range(50)))
    assert (everything.llm_calls, everything.input_tokens + everything.output_tokens) == (50, 500)


async def test_one_step_object_may_be_entered_by_many_tasks_at_once(steps):
    shared = step("shared")

    async def task(n):
        async with shared as active:
            await asyncio.sleep(0)
            spend(n)
            await asyncio.sleep(0)
        return active.input_tokens + active.output_tokens

    assert await asyncio.gather(*(task(n) for n in range(1, 20))) == list(range(1, 20))
    assert len(drain_completed_steps()) == 19


def test_a_bare_thread_has_no_step_and_a_copied_context_has(steps):
    with step("s") as active:
        with ThreadPoolExecutor(4) as pool:
            assert pool.submit(name_here).result() is None
            jobs = [pool.submit(contextvars.copy_context().run, spend, 10) for _ in range(40)]
            for job in jobs:
                job.result()
    assert (active.llm_calls, active.input_tokens + active.output_tokens) == (40, 400)


def test_the_threading_instrumentation_carries_the_step(steps):
    ThreadingInstrumentor().instrument()
    try:
        with step("s") as active, ThreadPoolExecutor(4) as pool:
            for job in [pool.submit(spend, 10) for _ in range(40)]:
                job.result()
            thread = threading.Thread(target=spend, args=(10,))
            thread.start()
            thread.join()
    finally:
        ThreadingInstrumentor().uninstrument()
    assert (active.llm_calls, active.input_tokens + active.output_tokens) == (41, 410)


def test_totals_are_exact_under_contention(steps):
    with step("s") as active:
        context = [contextvars.copy_context() for _ in range(8)]
        threads = [
            threading.Thread(target=each.run, args=(lambda: [spend(3, 1e-12) for _ in range(250)],)) for each in context
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (active.llm_calls, active.input_tokens + active.output_tokens, active.cost_usd) == (2000, 6000, 2000e-12)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_its_step(steps, tmp_path):
    read_end, write_end = os.pipe()
    with step("s"):
        child = os.fork()
        if not child:
            spend(10)
            with step("in child"):
                spend(5)
            os.write(
                write_end,
                repr([(r.name, r.path, r.llm_calls, r.amends is not None) for r in drain_completed_steps()]).encode(),
            )
            os._exit(0)
        os.waitpid(child, 0)
    os.close(write_end)
    # Of the step that goes on in the parent, the child has amendments: its own call, and then that of the step below.
    seen_in_child = [("s", "s", 1, True), ("s", "s", 0, True), ("in child", "s/in child", 1, False)]
    assert os.read(read_end, 1000).decode() == repr(seen_in_child)
    os.close(read_end)
    assert [(record.name, record.llm_calls) for record in drain_completed_steps()] == [("s", 0)]


def test_current_step_is_none_after_everything(steps):
    with step("a"), step("b"):
        assert (name_here(), current_step().parent.definition.name) == ("b", "a")
    assert harn.current_step() is None
