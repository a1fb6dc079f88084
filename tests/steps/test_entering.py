"""One step object, entered many times at once: each entry is left by the one who entered it."""

import asyncio
import contextvars
import sys
import threading

import pytest

from otel_harn_steps import Step, current_step, drain_completed_steps, step
from tests.steps.spending import spend

THREADS, ROUNDS = 8, 60


@pytest.fixture
def switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_share_a_step_object_each_leave_their_own_run(steps, switching_often):
    shared: Step = step("shared")
    wrong = []

    def work(tokens):
        for _ in range(ROUNDS):
            with shared as active:
                spend(tokens)
                with shared as inner:
                    spend(tokens)
                if (active.llm_calls, inner.llm_calls, current_step()) != (1, 1, active):
                    wrong.append(tokens)
            if current_step() is not None:
                wrong.append(tokens)

    threads = [threading.Thread(target=work, args=(number + 1,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    records = drain_completed_steps()
    assert len(records) == THREADS * ROUNDS * 2
    assert {record.llm_calls for record in records} == {1}


def test_tasks_that_share_a_step_object_each_leave_their_own_run(steps):
    shared = step("shared")

    async def work(tokens):
        async with shared as active:
            await asyncio.sleep(0)
            spend(tokens)
            await asyncio.sleep(0)
            assert current_step() is active
        return active.input_tokens + active.output_tokens

    async def main():
        return await asyncio.gather(*(work(tokens) for tokens in range(1, 20)))

    assert asyncio.run(main()) == list(range(1, 20))


def test_a_step_that_is_left_in_another_context_is_the_one_that_was_entered(steps):
    entered = step("s")
    contextvars.copy_context().run(entered.__enter__)
    entered.__exit__(None, None, None)
    assert [record.name for record in drain_completed_steps()] == ["s"]
