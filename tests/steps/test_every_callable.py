"""Every kind of callable, made and wrapped in every way: one table, and each promise of a step for each row of it."""

import asyncio
import functools
import gc
import inspect
import types
import warnings
from collections.abc import Awaitable, Coroutine

import pytest

from otel_harn_steps import StepBudgetExceeded, current_step, drain_completed_steps, step
from tests.steps.spending import spend


@pytest.fixture(autouse=True)
def no_token_is_misused(caplog):
    yield
    assert "Failed to detach context" not in caplog.text


# -- bodies: each spends 7 tokens twice, and pauses in between ---------------------------------------------------------


def plain(log):
    spend(7)
    log(current_step())
    spend(7)
    return "value"


async def coroutine(log):
    spend(7)
    await asyncio.sleep(0)
    log(current_step())
    spend(7)
    return "value"


@types.coroutine
def awaitable_generator(log):
    spend(7)
    yield
    log(current_step())
    spend(7)
    return "value"


def generator(log):
    spend(7)
    yield "first"
    log(current_step())
    spend(7)
    yield "second"


async def async_generator(log):
    spend(7)
    yield "first"
    await asyncio.sleep(0)
    log(current_step())
    spend(7)
    yield "second"


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, log):
        self.log = log

    def __await__(self):
        return coroutine(self.log).__await__()


class CompiledCoroutine(Coroutine):
    """As Cython's: a coroutine by its methods, of a class of its own."""

    def __init__(self, log):
        self.body = coroutine(log)

    def __await__(self):
        return self.body.__await__()

    def send(self, value):
        return self.body.send(value)

    def throw(self, *error):
        return self.body.throw(*error)

    def close(self):
        self.body.close()


def task(log):
    return asyncio.ensure_future(coroutine(log))


BODIES = {
    "plain": plain,
    "coroutine": coroutine,
    "types.coroutine": awaitable_generator,
    "generator": generator,
    "async generator": async_generator,
    "awaitable object": Later,
    "compiled coroutine": CompiledCoroutine,
    "task": task,
}


# -- ways to call them: a function that is called with `log` -----------------------------------------------------------


def as_function(body):
    return body if inspect.isfunction(body) else lambda log: body(log)


def as_method(body):
    class Agent:
        def work(self, log):
            return body(log)

    return Agent().work


def as_object(body):
    """With `__call__` of the same kind, where there is such a kind."""
    code = body if inspect.isfunction(body) else lambda log: body(log)
    return type("Agent", (), {"__call__": lambda self, log: code(log)})()


def as_object_of_the_kind(body):
    if not inspect.isfunction(body):
        pytest.skip("has no code of its own")

    def call(self, log): ...

    agent = type("Agent", (), {"__call__": staticmethod(body)})
    return agent()


WAYS = {
    "itself": as_function,
    "in a function that returns it": lambda body: lambda log: body(log),
    "partial": lambda body: functools.partial(as_function(body)),
    "partial of a partial": lambda body: functools.partial(functools.partial(as_function(body))),
    "method": as_method,
    "object": as_object,
    "object with such a __call__": as_object_of_the_kind,
    "partial of an object": lambda body: functools.partial(as_object(body)),
}

IN_A_CLASS = {
    "classmethod, step outside": lambda declared, body: step_outside(declared, classmethod, body),
    "staticmethod, step outside": lambda declared, body: step_outside(declared, staticmethod, body),
    "classmethod, step inside": lambda declared, body: step_inside(declared, classmethod, body),
    "staticmethod, step inside": lambda declared, body: step_inside(declared, staticmethod, body),
}


def of_a_class(kind, body):
    function = as_function(body)
    if kind is staticmethod:
        return function
    return lambda cls, log: function(log)


def step_outside(declared, kind, body):
    return type("Agent", (), {"work": declared(kind(of_a_class(kind, body)))}).work


def step_inside(declared, kind, body):
    return type("Agent", (), {"work": kind(declared(of_a_class(kind, body)))}).work


def stepped(way, body, **options):
    declared = step("s", **options)
    return IN_A_CLASS[way](declared, BODIES[body]) if way in IN_A_CLASS else declared(WAYS[way](BODIES[body]))


EVERY = [(way, body) for way in (*WAYS, *IN_A_CLASS) for body in BODIES]
SOME = [
    (way, body) for way, body in EVERY if way in ("itself", "in a function that returns it", "partial of an object")
]
RUN_LATER = [(way, body) for way, body in SOME if body != "plain"]
AWAITED = {"coroutine", "types.coroutine", "awaitable object", "compiled coroutine"}
"""What does not begin to run before it is awaited."""


@pytest.fixture
def work(request, steps):
    way, body = request.param
    return lambda **options: stepped(way, body, **options)


def every(pairs):
    return pytest.mark.parametrize("work", pairs, indirect=True, ids=lambda pair: f"{pair[1]}, {pair[0]}")


# -- how an app uses what it gets --------------------------------------------------------------------------------------


async def outcome_of(called, between=lambda: None):
    """What the caller of a step makes of what it returned: the value, or the items."""
    made = called()
    if inspect.isasyncgen(made):
        items = []
        async for item in made:
            items.append(item)
            between()
        return items
    if isinstance(made, Awaitable) or inspect.isawaitable(made):
        between()
        return await made
    if inspect.isgenerator(made):
        items = []
        for item in made:
            items.append(item)
            between()
        return items
    return made


def record_of(name="s"):
    (record,) = drain_completed_steps()
    assert record.name == name
    return record


# -- the promises ------------------------------------------------------------------------------------------------------


@every(SOME)
def test_the_caller_gets_what_it_would_get_without_the_step(work):
    outcome = asyncio.run(outcome_of(lambda: work()(lambda active: None)))
    assert outcome in ("value", ["first", "second"])


@every(EVERY)
def test_every_call_of_the_body_is_billed_to_its_step_and_those_between_are_not(work):
    seen = []
    with step("caller"):
        asyncio.run(outcome_of(lambda: work()(seen.append), between=lambda: spend(1)))
    inner, caller = drain_completed_steps()
    assert [active.definition.name for active in seen] == ["s"]
    assert (inner.name, inner.llm_calls, inner.input_tokens + inner.output_tokens) == ("s", 2, 14)
    assert (caller.name, caller.llm_calls, inner.parent_step) == ("caller", caller.input_tokens, "caller")


@every(SOME)
def test_the_step_ends_with_the_body_and_leaves_nothing_current(work):
    async def main():
        await outcome_of(lambda: work()(lambda active: None))
        return current_step(), len(drain_completed_steps())

    assert asyncio.run(main()) == (None, 1)
    assert current_step() is None


@every(RUN_LATER)
def test_the_step_is_not_current_where_its_body_does_not_run(work):
    async def main():
        made = work()(lambda active: None)
        before = current_step()
        await outcome_of(lambda: made)
        return before

    assert asyncio.run(main()) is None


class OddError(Exception):
    pass


def fail(active):
    raise OddError("no such page")


@every(SOME)
def test_an_exception_passes_as_it_is_and_is_on_the_record(work):
    with pytest.raises(OddError, match="no such page"):
        asyncio.run(outcome_of(lambda: work()(fail)))
    record = record_of()
    assert (record.status, record.error, record.llm_calls) == ("failed", "no such page", 1)


@every(SOME)
def test_a_budget_holds_in_the_body(work):
    with pytest.raises(StepBudgetExceeded):
        asyncio.run(outcome_of(lambda: work(max_tokens=10)(lambda active: None)))
    record = record_of()
    assert (record.status, record.llm_calls) == ("failed", 2)


@every([(way, body) for way, body in SOME if "generator" not in body and body != "task"])
def test_a_fallback_is_delivered_where_a_value_would_be(work):
    stepped = work(max_tokens=10, error_boundary="continue", fallback="instead")
    assert asyncio.run(outcome_of(lambda: stepped(lambda active: None))) == "instead"
    assert record_of().status == "skipped"


@every([(way, body) for way, body in SOME if body in AWAITED | {"async generator", "task"}])
def test_a_cancellation_ends_the_step(work):
    async def main():
        running = asyncio.ensure_future(outcome_of(lambda: work()(lambda active: None)))
        await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert record_of().status == "cancelled"
    assert current_step() is None


@every([(way, body) for way, body in RUN_LATER if body != "task"])
def test_what_is_never_awaited_or_iterated_leaves_no_step_open(work):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        made = work()(lambda active: None)
        del made
        gc.collect()
    assert [record.status for record in drain_completed_steps()] in ([], ["cancelled"])
    assert current_step() is None


@every([(way, body) for way, body in SOME if body == "generator"])
def test_a_generator_that_is_left_early_ends_the_step(work):
    made = work()(lambda active: None)
    assert next(made) == "first"
    made.close()
    record = record_of()
    assert (record.status, record.llm_calls) == ("cancelled", 1)


@every([(way, body) for way, body in SOME if body == "async generator"])
def test_an_async_generator_that_is_left_early_ends_the_step(work):
    async def main():
        made = work()(lambda active: None)
        async for _ in made:
            break
        await made.aclose()

    asyncio.run(main())
    record = record_of()
    assert (record.status, record.llm_calls) == ("cancelled", 1)


# -- what is special ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES)
def test_what_is_returned_is_of_the_kind_that_it_was(steps, body):
    async def kinds():
        log = lambda active: None  # noqa: E731 -- as the others have it
        bare, made = BODIES[body](log), stepped("in a function that returns it", body)(log)
        kinds = [
            [inspect.iscoroutine(each), inspect.isgenerator(each), inspect.isasyncgen(each), inspect.isawaitable(each)]
            for each in (bare, made)
        ]
        for each in (bare, made):
            if hasattr(each, "close"):
                each.close()
            elif hasattr(each, "aclose"):
                await each.aclose()
            elif inspect.isawaitable(each):
                await each
        return kinds

    bare, made = asyncio.run(kinds())
    if body == "compiled coroutine":  # which only a coroutine can take the place of
        bare = [True, *bare[1:]]
    assert made == bare


@pytest.mark.parametrize("body", ["coroutine", "types.coroutine", "generator", "async generator"])
def test_a_function_is_still_of_the_kind_that_it_was(body):
    def kinds(function):
        return [
            check(function)
            for check in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        ]

    assert kinds(step("s")(BODIES[body])) == kinds(BODIES[body])


def test_an_awaitable_object_keeps_its_class_and_may_be_awaited_again(steps):
    class Twice(Later):
        async def work(self):
            return "value"

        def __await__(self):
            return self.work().__await__()

    async def main():
        made = step("s")(lambda: Twice(None))()
        return isinstance(made, Twice), await made, await made

    assert asyncio.run(main()) == (True, "value", "value")
    assert record_of().status == "completed"


def test_a_task_is_handed_out_as_it_is(steps):
    async def main():
        tasks = []

        def start():
            tasks.append(asyncio.ensure_future(coroutine(lambda active: None)))
            return tasks[0]

        made = step("s")(start)()
        assert made is tasks[0]
        await made

    asyncio.run(main())
    assert record_of().llm_calls == 2


def test_a_task_whose_exception_nobody_asks_for_is_still_complained_about(steps):
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        made = step("s")(lambda: asyncio.ensure_future(coroutine(fail)))()
        await asyncio.wait([made])
        del made
        gc.collect()

    asyncio.run(main())
    assert complaints == ["Task exception was never retrieved"]
    assert record_of().status == "failed"


def test_a_coroutine_that_hands_out_a_task_has_ended(steps):
    async def main():
        async def start():
            return asyncio.ensure_future(coroutine(lambda active: None))

        made = await step("s")(start)()
        ended = len(drain_completed_steps())
        await made
        return ended

    assert asyncio.run(main()) == 1


def test_an_object_that_may_be_used_without_await_is_handed_out_as_it_is(steps):
    class Pages(Later):
        def __aiter__(self): ...

    pages = Pages(None)
    assert step("s")(lambda: pages)() is pages
    assert record_of().status == "completed"


def test_a_generator_that_waits_for_what_is_sent_to_it_still_does(steps):
    def echo():
        heard = yield
        while True:
            spend(1)
            heard = yield heard

    def start():
        made = echo()
        next(made)
        return made

    made = step("s")(start)()
    assert [made.send(number) for number in (1, 2)] == [1, 2]
    made.close()
    assert record_of().llm_calls == 2


def test_a_coroutine_that_returns_an_async_generator_lasts_as_long_as_that(steps):
    async def open_stream():
        return async_generator(lambda active: None)

    async def main():
        return [item async for item in await step("s")(open_stream)()]

    assert asyncio.run(main()) == ["first", "second"]
    assert record_of().llm_calls == 2


def test_the_arguments_of_a_generator_based_coroutine_reach_it(steps):
    async def main():
        seen = []
        await step("s")(awaitable_generator)(log=seen.append)
        return [active.definition.name for active in seen]

    assert asyncio.run(main()) == ["s"]
