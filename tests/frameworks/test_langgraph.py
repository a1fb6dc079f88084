"""LangGraph: each run of a node is a step, by the node's name."""

from __future__ import annotations

import asyncio
import operator
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph")

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, StepEscalated, current_step
from tests.frameworks.observing import names_in, rows, waited
from tests.frameworks.stand_in import MODEL, Provider, Said, usd


class State(TypedDict):
    said: Annotated[list[str], operator.add]


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def model(provider: Provider) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, max_retries=0)


@pytest.fixture
def asking(model: ChatOpenAI):
    """Makes a node that asks the stand-in as whoever it is."""

    def asking(name: str, times: int = 1, *, is_async: bool = False) -> Any:
        def ask(_state: State) -> dict[str, list[str]]:
            return {"said": [str(model.invoke([("system", name)]).content) for _ in range(times)]}

        async def ask_async(_state: State) -> dict[str, list[str]]:
            return {"said": [str((await model.ainvoke([("system", name)])).content) for _ in range(times)]}

        return ask_async if is_async else ask

    return asking


def chain(*nodes: tuple[str, Any], **options: Any) -> Any:
    graph = StateGraph(State)
    for name, node in nodes:
        graph.add_node(name, node, **options)
    names = [START, *(name for name, _ in nodes), END]
    for one, other in pairwise(names):
        graph.add_edge(one, other)
    return graph.compile()


def run(graph: Any, how: str = "invoke") -> Any:
    start: Any = {"said": []}
    if how == "invoke":
        return graph.invoke(start)
    if how == "stream":
        return list(graph.stream(start, stream_mode="values"))[-1]
    if how == "ainvoke":
        return waited(graph.ainvoke(start))

    async def stream() -> Any:
        return [each async for each in graph.astream(start, stream_mode="values")][-1]

    return waited(stream())


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke", "astream"])
def test_each_node_is_a_step_and_has_its_own_calls(asking, provider, steps, how):
    provider.says("Plan", Said("planned", 11, 3), Said("again", 13, 5))
    provider.says("Write", Said("written", 17, 7))
    is_async = how.startswith("a")
    graph = chain(("plan", asking("Plan", 2, is_async=is_async)), ("write", asking("Write", is_async=is_async)))

    assert run(graph, how) == {"said": ["planned", "again", "written"]}

    records = steps()
    assert rows(records) == [("plan", "completed", 2, 24, 8), ("write", "completed", 1, 17, 7)]
    assert records[0].cost_usd == pytest.approx(usd(Said("", 24, 8)))


@pytest.mark.parametrize("is_async", [False, True])
def test_nodes_that_run_at_once_have_each_their_own(asking, provider, steps, is_async):
    graph = StateGraph(State)
    graph.add_node("spread", lambda _state: {})
    for number in range(4):
        provider.says(f"Node{number}", Said("x", number, 1))
        graph.add_node(f"node{number}", asking(f"Node{number}", is_async=is_async))
        graph.add_edge("spread", f"node{number}")
    graph.add_edge(START, "spread")

    run(graph.compile(), "ainvoke" if is_async else "invoke")

    assert sorted(rows(steps())) == [
        *((f"node{number}", "completed", 1, number, 1) for number in range(4)),
        ("spread", "completed", 0, 0, 0),
    ]


def test_a_node_that_is_sent_to_many_times_is_a_step_each_time(asking, provider, steps):
    provider.says("Work", Said("x", 1, 1))
    graph = StateGraph(State)
    graph.add_node("work", asking("Work"))
    graph.add_conditional_edges(START, lambda _state: [Send("work", {}) for _ in range(3)])

    run(graph.compile())

    assert rows(steps()) == [("work", "completed", 1, 1, 1)] * 3


def test_the_nodes_of_a_subgraph_are_nested(asking, provider, steps):
    provider.says("Inner", Said("x", 2, 1))

    run(chain(("outer", chain(("inner", asking("Inner"))))))

    assert rows(steps()) == [("outer/inner", "completed", 1, 2, 1), ("outer", "completed", 0, 0, 0)]


def test_an_agent_of_langchain_has_a_step_for_its_model_and_one_for_its_tools(model, provider, steps):
    provider.says("You help", Said(tool="search", arguments={"query": "x"}), Said("found", 5, 1))

    create_agent(model, [search], system_prompt="You help").invoke({"messages": [("user", "hi")]})

    assert rows(steps()) == [
        ("model", "completed", 1, 100, 20),
        ("tools", "completed", 0, 0, 0),
        ("model", "completed", 1, 5, 1),
    ]


def test_tasks_of_the_functional_api_are_steps(model, provider, steps):
    provider.says("Plan", Said("planned", 3, 2))

    @task
    def plan(_question: str) -> str:
        return str(model.invoke([("system", "Plan")]).content)

    @entrypoint()
    def flow(question: str) -> str:
        return plan(question).result()

    assert flow.invoke("hi") == "planned"
    assert rows(steps()) == [("flow/plan", "completed", 1, 3, 2), ("flow", "completed", 0, 0, 0)]


def test_continue_of_a_task_returns_the_fallback(model, provider, steps, declare):
    declare("plan", budget={"max_tokens": 1}, error_boundary="continue", fallback="no plan")
    provider.says("Plan", Said("planned", 3, 2))

    @task
    def plan(_question: str) -> str:
        return str(model.invoke([("system", "Plan")]).content)

    @entrypoint()
    def flow(question: str) -> str:
        return plan(question).result()

    assert flow.invoke("hi") == "no plan"
    assert [record.status for record in steps()] == ["skipped", "completed"]


@pytest.mark.parametrize("how", ["invoke", "astream"])
def test_a_budget_stops_a_node(asking, provider, steps, declare, how):
    declare("loop", budget={"max_tokens": 300})
    provider.says("Loop", Said())

    with pytest.raises(StepBudgetExceeded) as caught:
        run(chain(("loop", asking("Loop", 99, is_async=how == "astream"))), how)

    assert caught.value.step == "loop"
    assert provider.asked == ["Loop"] * 3
    assert rows(steps()) == [("loop", "failed", 3, 300, 60)]


def test_a_retry_of_a_node_spends_no_more(asking, provider, steps, declare):
    declare("loop", budget={"max_tokens": 10})
    provider.says("Loop", Said())
    policy = RetryPolicy(initial_interval=0, backoff_factor=0, jitter=False, max_attempts=3, retry_on=Exception)

    with pytest.raises(StepBudgetExceeded):
        run(chain(("loop", asking("Loop")), retry_policy=policy))

    assert provider.asked == ["Loop"]
    assert rows(steps()) == [("loop", "failed", 1, 100, 20)]


def test_a_breach_that_the_node_swallows_or_wraps_is_raised_at_its_edge(model, provider, steps, declare):
    def wrapping(_state: State) -> None:
        try:
            model.invoke([("system", "Loop")])
        except StepBudgetExceeded as error:
            raise RuntimeError("the model is not there") from error

    def swallowing(_state: State) -> None:
        with suppress(StepBudgetExceeded):
            model.invoke([("system", "Loop")])

    provider.says("Loop", Said())
    for name, node in (("wraps", wrapping), ("swallows", swallowing)):
        declare(name, budget={"max_usd": 0})
        with pytest.raises(StepBudgetExceeded):
            run(chain((name, node)))

    assert [record.status for record in steps()] == ["failed", "failed"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_continue_goes_on_with_the_fallback_as_the_nodes_update(asking, provider, steps, declare, how):
    declare("loop", budget={"max_tokens": 10}, error_boundary="continue", fallback={"said": ["nothing"]})
    declare("silent", budget={"max_tokens": 10}, error_boundary="continue")
    provider.says("Loop", Said())
    provider.says("Write", Said("written"))
    is_async = how == "ainvoke"
    nodes = [(name, asking(who, is_async=is_async)) for name, who in (("loop", "Loop"), ("silent", "Loop"))]

    assert run(chain(*nodes, ("write", asking("Write", is_async=is_async))), how) == {"said": ["nothing", "written"]}
    assert [record.status for record in steps()] == ["skipped", "skipped", "completed"]


def test_escalate_reaches_the_app(asking, provider, steps, declare):
    declare("loop", budget={"max_tokens": 10}, error_boundary="escalate")
    provider.says("Loop", Said())

    with pytest.raises(StepEscalated):
        run(chain(("loop", asking("Loop"))))


def test_a_node_that_waits_for_a_person_has_not_failed(provider, steps):
    graph = StateGraph(State)
    graph.add_node("ask", lambda _state: {"said": [interrupt("sure?")]})
    graph.add_edge(START, "ask")
    app = graph.compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}

    app.invoke({"said": []}, thread)
    assert app.invoke(Command(resume="yes"), thread) == {"said": ["yes"]}

    assert rows(steps()) == [("ask", "completed", 0, 0, 0)] * 2


def test_nothing_of_a_step_is_left_behind_when_a_node_is_cancelled(steps):
    async def wait(_state: State) -> None:
        waits.set()
        await asyncio.Event().wait()

    async def main() -> None:
        running = asyncio.create_task(chain(("wait", wait)).ainvoke({"said": []}))
        await waits.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert current_step() is None

    waits = asyncio.Event()
    waited(main())

    assert [(record.name, record.status) for record in steps()] == [("wait", "cancelled")]


def test_uninstrument_leaves_nothing_behind():
    module = sys.modules["langgraph.pregel._runner"]
    before = names_in(module)
    otel_harn_steps.instrument(frameworks=["langgraph"])
    assert names_in(module) != before

    otel_harn_steps.uninstrument()

    assert names_in(module) == before
