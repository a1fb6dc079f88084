"""Pydantic AI: each run of an agent is a step, by the agent's name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, UnexpectedModelBehavior
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.models.openai import OpenAIChatModel

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, StepEscalated, current_step
from tests.frameworks.observing import names_in, rows, waited
from tests.frameworks.stand_in import MODEL, Provider, Said, usd


def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def make(provider: Provider):
    """Makes an agent that asks the stand-in as whoever it is."""

    def make(word: str, name: str | None = None, **options: Any) -> Agent[Any, Any]:
        return Agent(OpenAIChatModel(MODEL), name=name, instructions=f"You are {word}.", **options)

    return make


async def iterated(agent: Any) -> Any:
    async with agent.iter("hi") as run:
        async for _node in run:
            pass
    return run.result.output


async def streamed(agent: Any) -> Any:
    async with agent.run_stream("hi") as result:
        return await result.get_output()


async def events(agent: Any) -> Any:
    async with agent.run_stream_events("hi") as stream:
        return [event async for event in stream][-1].result.output


async def whole(agent: Any) -> Any:
    return (await agent.run("hi")).output


WAYS = {"run": whole, "iter": iterated, "run_stream": streamed, "run_stream_events": events}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_a_step_and_has_all_its_calls(make, provider, steps, way):
    answers = Said(tool="search", arguments={"query": "x"}), Said("found x", 31, 7)
    provider.says("Finder", *answers)

    assert waited(WAYS[way](make("Finder", "finder", tools=[search]))) == "found x"

    [record] = records = steps()
    assert rows(records) == [("finder", "completed", 2, 131, 27)]
    assert record.cost_usd == pytest.approx(usd(*answers))


def test_a_synchronous_run_is_a_step_too(make, provider, steps):
    provider.says("Finder", Said())

    make("Finder", "finder").run_sync("hi")

    assert rows(steps()) == [("finder", "completed", 1, 100, 20)]


@pytest.mark.parametrize("is_at_work", [True, False])
def test_an_agent_finds_its_name_as_it_does_without_us(make, provider, is_at_work):
    if is_at_work:
        otel_harn_steps.instrument(frameworks=["pydantic-ai"])
    provider.says("Finder", Said())
    runner, iterator, sync = make("Finder"), make("Finder"), make("Finder")

    async def main() -> None:
        await runner.run("hi")
        async with iterator.iter("hi"):
            pass

    waited(main())
    sync.run_sync("hi")

    assert (runner.name, iterator.name, sync.name) == ("runner", None, "sync")
    if is_at_work:
        assert [record.name for record in otel_harn_steps.drain_completed_steps()] == ["runner", "agent", "sync"]
        otel_harn_steps.uninstrument()


def test_an_agent_that_another_asks_is_a_nested_step(make, provider, steps):
    inner = make("Inner", "inner")
    outer = make("Outer", "outer")

    @outer.tool_plain
    async def ask(question: str) -> str:
        return str((await inner.run(question)).output)

    provider.says("Outer", Said(tool="ask", arguments={"question": "x"}), Said("y", 3, 1))
    provider.says("Inner", Said("x", 7, 5))

    waited(outer.run("hi"))

    assert rows(steps()) == [("outer/inner", "completed", 1, 7, 5), ("outer", "completed", 2, 103, 21)]


def test_an_agent_around_another_is_one_step(make, provider, steps):
    provider.says("Finder", Said())

    waited(WrapperAgent(make("Finder", "finder")).run("hi"))

    assert rows(steps()) == [("finder", "completed", 1, 100, 20)]


def test_agents_that_run_at_once_have_each_their_own(make, provider, steps):
    for number in range(4):
        provider.says(f"Agent{number}", Said(tool="search", arguments={"query": "x"}), Said("x", number, 1))

    async def main() -> None:
        await asyncio.gather(*(make(f"Agent{n}", f"agent{n}", tools=[search]).run("hi") for n in range(4)))

    waited(main())

    assert sorted(rows(steps())) == [(f"agent{n}", "completed", 2, 100 + n, 21) for n in range(4)]


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_holds_over_the_whole_run(make, provider, steps, declare, way):
    declare("loop", budget={"max_tokens": 300})
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    with pytest.raises(StepBudgetExceeded) as caught:
        waited(WAYS[way](make("Loop", "loop", tools=[search])))

    assert (caught.value.step, caught.value.consumed_tokens) == ("loop", 360)
    assert provider.asked == ["Loop"] * 3
    assert rows(steps()) == [("loop", "failed", 3, 300, 60)]


def test_continue_returns_a_result_with_the_fallback_as_its_output(make, provider, steps, declare):
    declare("loop", budget={"max_tokens": 10}, error_boundary="continue", fallback="no answer")
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))
    agent = make("Loop", "loop", tools=[search])

    assert waited(whole(agent)) == "no answer"
    assert agent.run_sync("hi").output == "no answer"
    assert [record.status for record in steps()] == ["skipped", "skipped"]


@pytest.mark.parametrize("way", ["iter", "run_stream"])
def test_where_nothing_can_stand_in_for_the_run_continue_raises(make, provider, steps, declare, way):
    declare("loop", budget={"max_tokens": 10}, error_boundary="continue", fallback="no answer")
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    with pytest.raises(StepBudgetExceeded):
        waited(WAYS[way](make("Loop", "loop", tools=[search])))

    assert [record.status for record in steps()] == ["failed"]


def test_escalate_reaches_the_app(make, provider, steps, declare):
    declare("loop", budget={"max_usd": 0}, error_boundary="escalate")
    provider.says("Loop", Said())

    with pytest.raises(StepEscalated):
        waited(whole(make("Loop", "loop")))


def test_another_error_is_the_apps_own(make, provider, steps):
    provider.says("Loop", Said(tool="unknown"))

    with pytest.raises(UnexpectedModelBehavior):
        waited(whole(make("Loop", "loop")))

    assert [record.status for record in steps()] == ["failed"]


def test_nothing_of_a_step_is_left_behind_when_a_run_is_cancelled(make, provider, steps):
    async def wait() -> str:
        waits.set()
        await asyncio.Event().wait()
        return ""

    provider.says("Wait", Said(tool="wait"))

    async def main() -> None:
        running = asyncio.create_task(make("Wait", "waiter", tools=[wait]).run("hi"))
        await waits.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert current_step() is None

    waits = asyncio.Event()
    waited(main())

    assert rows(steps()) == [("waiter", "cancelled", 1, 100, 20)]


def test_nothing_of_a_step_is_left_behind_after_each_way_to_run(make, provider, steps):
    provider.says("Finder", Said())
    agent = make("Finder", "finder")

    async def main() -> None:
        for way in WAYS.values():
            await way(agent)
            assert current_step() is None

    waited(main())


def test_a_stream_that_is_left_early_ends_its_step(make, provider, steps):
    provider.says("Finder", Said())

    async def main() -> None:
        async with make("Finder", "finder").run_stream("hi"):
            pass
        assert current_step() is None

    waited(main())

    assert [(record.name, record.status, record.llm_calls) for record in steps()] == [("finder", "completed", 1)]


def test_uninstrument_leaves_nothing_behind():
    before = names_in(AbstractAgent, Agent)
    otel_harn_steps.instrument(frameworks=["pydantic-ai"])
    assert names_in(AbstractAgent, Agent) != before

    otel_harn_steps.uninstrument()

    assert names_in(AbstractAgent, Agent) == before
