"""Checked by mypy, never run: what the types of the public API promise."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from otel_harn_steps import (
    ActiveStep,
    Budget,
    CompletedStep,
    current_step,
    drain_completed_steps,
    enter_step,
    instrument,
    is_step_budget_exhausted,
    record_llm_usage,
    step,
)


@step
def bare(question: str) -> int:
    return len(question)


@step("plan", model="m", max_tokens=4000, max_usd=0.05, error_boundary="escalate", scope="tree", agent="a", owner="me")
async def coroutine(question: str) -> int:
    return len(question)


@step(name="gen", budget=Budget(max_tokens=5))
def generator(n: int) -> Iterator[int]:
    yield n


@step(budget={"max_usd": 0.5})
async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


class Planner:
    @step
    def method(self, n: int) -> str:
        return str(n)


async def use() -> None:
    assert_type(bare("q"), int)
    assert_type(await coroutine("q"), int)
    assert_type(generator(1), Iterator[int])
    assert_type(async_generator(1), AsyncIterator[int])
    assert_type(Planner().method(1), str)
    with step("s") as active:
        assert_type(active, ActiveStep)
        assert_type(active.cost_usd, float)
        assert_type(active.parent, ActiveStep | None)
    async with step("s") as other:
        assert_type(other, ActiveStep)
    with enter_step("f") as maybe:
        assert_type(maybe, ActiveStep | None)
    assert_type(current_step(), ActiveStep | None)
    assert_type(drain_completed_steps(), list[CompletedStep])
    assert_type(is_step_budget_exhausted({}), bool)
    record_llm_usage("m", 1, 2, None, cache_read_tokens=1)
    instrument(prices={"m": {"input_mtok": 1}}, unpriced="raise", call_spans=False)
    instrument(clients=["openai"], frameworks="auto")
    instrument(frameworks=["langgraph", "crewai"])
    bare(3)  # type: ignore[arg-type]  # the wrapped function's types are kept
    step("s", max_tokens="5")  # type: ignore[call-overload]  # a limit is a number
