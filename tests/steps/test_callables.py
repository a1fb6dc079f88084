"""Whatever can be called can be a step, for as long as what it began goes on."""

import asyncio
import functools
import gc
import inspect
import warnings

import pytest

from otel_harn_steps import StepBudgetExceeded, current_step, drain_completed_steps, step
from tests.steps.spending import spend


class Agent:
    async def __call__(self, tokens):
        spend(tokens)
        await asyncio.sleep(0)
        return current_step()


async def work(tokens):
    spend(tokens)
    await asyncio.sleep(0)
    return current_step()


async def items(tokens):
    for _ in range(2):
        spend(tokens)
        yield current_step()


def the_record():
    (record,) = drain_completed_steps()
    return record


CALLABLES = {
    "object with an async __call__": lambda: Agent(),
    "partial of a coroutine function": lambda: functools.partial(work),
    "function that returns a coroutine": lambda: lambda tokens: work(tokens),
}


@pytest.fixture(params=CALLABLES, ids=str)
def call(request):
    return CALLABLES[request.param]()


def test_a_step_lasts_as_long_as_its_coroutine(call, steps):
    active = asyncio.run(step("s")(call)(7))
    assert active.definition.name == "s"
    record = the_record()
    assert (record.llm_calls, record.status) == (1, "completed")


def test_a_budget_holds_in_it(call, steps):
    assert asyncio.run(step("s", max_tokens=5, error_boundary="continue", fallback="instead")(call)(7)) == "instead"
    assert the_record().status == "skipped"


def test_what_comes_back_is_a_coroutine(call, steps):
    made = step("s")(call)(7)
    assert inspect.iscoroutine(made)
    made.close()


def test_the_step_is_not_current_before_its_coroutine_runs(steps):
    made = step("s")(lambda tokens: work(tokens))(7)
    assert current_step() is None
    asyncio.run(made)


def test_a_coroutine_may_run_in_a_task_of_its_own(steps):
    async def main():
        return await asyncio.create_task(step("s")(lambda tokens: work(tokens))(7))

    assert asyncio.run(main()).definition.name == "s"
    assert the_record().llm_calls == 1


def test_a_coroutine_that_is_never_awaited_leaves_no_step_open(steps):
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        made = step("s")(lambda tokens: work(tokens))(7)
        del made
        gc.collect()
    # The sockets of others may be freed at the same moment.
    of_coroutines = [str(each.message) for each in given if each.category is RuntimeWarning]
    assert of_coroutines == ["coroutine 'work' was never awaited"]
    assert the_record().status == "cancelled"
    assert current_step() is None


def test_a_function_that_returns_an_async_generator_is_a_step_in_its_body_alone(steps):
    async def main():
        seen = []
        async for active in step("s")(lambda tokens: items(tokens))(3):
            seen.append((active.definition.name, current_step()))
        return seen

    assert asyncio.run(main()) == [("s", None), ("s", None)]
    assert (the_record().llm_calls) == 2


def test_a_returned_async_generator_is_still_one(steps):
    made = step("s")(lambda tokens: items(tokens))(3)
    assert inspect.isasyncgen(made)
    del made
    gc.collect()
    assert the_record().status == "cancelled"


def test_a_budget_error_leaves_a_returned_async_generator(steps):
    async def main():
        return [each async for each in step("s", max_tokens=4)(lambda tokens: items(tokens))(3)]

    with pytest.raises(StepBudgetExceeded):
        asyncio.run(main())
    assert the_record().status == "failed"


def test_an_object_keeps_its_own_attributes(steps):
    agent = Agent()
    agent.tools = ["search"]
    assert not hasattr(step("s")(agent), "tools")
