"""Checked by mypy and pyright, never run: what the types of the public API promise."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Never, assert_type

from otel_harn_steps import (
    ActiveStep,
    Budget,
    CallRow,
    CompletedStep,
    Step,
    UnseenCalls,
    current_step,
    drain_completed_steps,
    dropped_sink_events,
    enter_step,
    instrument,
    is_step_budget_exhausted,
    record_llm_usage,
    report,
    step,
    unseen_calls,
)
from otel_harn_steps.notebook import SpendReport
from otel_harn_steps.testing import CapturedSteps, capture_steps


@step
def bare(question: str) -> int:
    return len(question)


@step(
    "plan",
    model="m",
    max_tokens=4000,
    max_usd=0.05,
    error_boundary="escalate",
    scope="tree",
    agent="a",
    metadata={"owner": "me"},
    detail=lambda question: question[:5],
)
async def coroutine(question: str) -> int:
    return len(question)


@step(name="gen", budget=Budget(max_tokens=5))
def iterator(n: int) -> Iterator[int]:
    yield n


@step(budget={"max_usd": 0.5})
async def async_iterator(n: int) -> AsyncIterator[int]:
    yield n


@step("or none", error_boundary="continue")
def or_none(question: str) -> int:
    return len(question)


@step("or text", error_boundary="continue", fallback="no answer")
def or_text(question: str) -> int:
    return len(question)


@step("or none, later", error_boundary="continue")
async def or_none_later(question: str) -> int:
    return len(question)


@step("or text, later", error_boundary="continue", fallback="no answer")
async def or_text_later(question: str) -> int:
    return len(question)


@step("numbers", error_boundary="continue")
def numbers(n: int) -> Generator[int, str, bool]:
    yield n
    return True


@step("numbers, later", error_boundary="continue")
async def numbers_later(n: int) -> AsyncGenerator[int, str]:
    yield n


class Planner:
    @step
    def method(self, n: int) -> str:
        return str(n)

    @step("forgiving", error_boundary="continue")
    def forgiving(self, n: int) -> str:
        return str(n)

    @classmethod
    @step("made", error_boundary="continue", fallback=0.5)
    def made(cls, n: int) -> str:
        return str(n)

    @staticmethod
    @step("static")
    def static(n: int) -> str:
        return str(n)


async def use() -> None:
    assert_type(bare("q"), int)
    assert_type(await coroutine("q"), int)
    assert_type(iterator(1), Iterator[int])
    assert_type(async_iterator(1), AsyncIterator[int])
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
    assert_type(unseen_calls(), list[UnseenCalls])
    assert_type(is_step_budget_exhausted({}), bool)
    record_llm_usage("m", 1, 2, None, cache_read_tokens=1)
    instrument(prices={"m": {"input_mtok": 1}}, unpriced="refuse", unmetered="ignore", call_spans=False)
    instrument(clients=["openai"], frameworks="auto")
    instrument(frameworks=["langgraph", "crewai"])
    instrument(threads=True, unseen_calls=True)
    instrument(sinks=[print], sink_queue=1000, metric_step_names=50)
    instrument(budgets={"tenants": {"key": "tenant", "window": "day", "max_usd": 5, "at": {0.8: "notify"}}})
    instrument(baggage_labels=["tenant", "user"], metric_labels=["tenant"], metric_label_values=50)
    assert_type(dropped_sink_events(), int)


async def what_a_fallback_may_give() -> None:
    assert_type(or_none("q"), int | None)
    assert_type(or_text("q"), int | str)
    assert_type(await or_none_later("q"), int | None)
    assert_type(await or_text_later("q"), int | str)
    assert_type(numbers(1), Generator[int, str, bool | None])
    assert_type(numbers_later(1), AsyncGenerator[int, str])
    assert_type(Planner().forgiving(1), str | None)
    assert_type(Planner.made(1), str | float)
    assert_type(Planner.static(1), str)
    assert_type(step("s"), Step[Never])
    assert_type(step("s", error_boundary="continue"), Step[None])


def mistakes() -> None:
    bare(3)  # type: ignore[arg-type]  # the wrapped function's types are kept
    step("s", max_tokens="5")  # type: ignore[call-overload]  # a limit is a number
    step("s", max_cost=0.05)  # type: ignore[call-overload]  # there is no such option
    step("s", fallback="no answer")  # type: ignore[call-overload]  # only "continue" delivers one


def reports() -> None:
    made = report("model", since="7d", step=("plan*", "search"))
    assert_type(made, SpendReport)
    assert_type(made.view.total.cost_usd, float | None)


def captures() -> None:
    with capture_steps() as captured:
        assert_type(captured, CapturedSteps)
    assert_type(captured.records, tuple[CompletedStep, ...])
    assert_type(captured.calls, tuple[CallRow, ...])
    assert_type(captured.cost_usd, float | None)
    assert_type(captured.step("plan").own.calls, int)
