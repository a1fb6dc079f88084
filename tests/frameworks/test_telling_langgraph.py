"""LangGraph: what is left of a budget is told in the system's message of one call of LangChain's models."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langgraph")

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

import otel_harn_steps
from otel_harn_steps import step
from otel_harn_steps.testing import ReplayServer
from tests.frameworks.observing import names_in, waited
from tests.frameworks.stand_in import MODEL, Provider, Said
from tests.frameworks.telling import ANSWERS, LINE, LINES, TELL, finds_its_loop, lines_of, told_only
from tests.replay.answers import recorded
from tests.replay.cases import case

RESPONSES = "openai.responses.responses_create_reports_reasoning_tokens_c"
GIVEN = [SystemMessage("You are Finder."), HumanMessage("hi")]


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def model(provider: Provider) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, max_retries=0, stream_usage=True)


async def _collected(stream: Any) -> list[Any]:
    return [each async for each in stream]


def _events(model: Any, given: Any) -> Any:
    return model.stream_events(given, version="v3").output


async def _events_async(model: Any, given: Any) -> Any:
    return await (await model.astream_events(given, version="v3"))


WAYS = {
    "invoke": lambda model, given: model.invoke(given),
    "batch": lambda model, given: model.batch([given]),
    "generate": lambda model, given: model.generate([given]),
    "stream": lambda model, given: list(model.stream(given)),
    "stream of none": lambda model, given: list(model.model_copy(update={"disable_streaming": True}).stream(given)),
    "stream_events": _events,
}
ASYNC = {
    "ainvoke": lambda model, given: model.ainvoke(given),
    "abatch": lambda model, given: model.abatch([given]),
    "agenerate": lambda model, given: model.agenerate([given]),
    "astream": lambda model, given: _collected(model.astream(given)),
    "astream_events v2": lambda model, given: _collected(model.astream_events(given, version="v2")),
    "astream_events": _events_async,
}


def graph_of(model: Any, way: str, given: Any) -> Any:
    """A graph whose node "finder" asks four times."""

    def ask(_state: Any) -> Any:
        for _ in ANSWERS:
            WAYS[way](model, given)

    async def ask_async(_state: Any) -> Any:
        for _ in ANSWERS:
            await ASYNC[way](model, given)

    graph = StateGraph(MessagesState)
    graph.add_node("finder", ask if way in WAYS else ask_async)
    graph.add_edge(START, "finder")
    graph.add_edge("finder", END)
    return graph.compile()


def run(graph: Any, *, is_async: bool = False) -> Any:
    start: Any = {"messages": [HumanMessage("hi")]}
    return waited(graph.ainvoke(start)) if is_async else graph.invoke(start)


@pytest.mark.parametrize("way", [*WAYS, *ASYNC])
def test_a_model_is_told_once_the_share_is_reached_and_nothing_else_changes(model, provider, way):
    given = [message.model_copy() for message in GIVEN]

    told_only(provider, lambda: run(graph_of(model, way, given), is_async=way in ASYNC))

    assert given == GIVEN


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    "given",
    [
        "Finder",
        [("user", "Finder")],
        [("developer", "You are Finder."), ("user", "hi")],
        [("user", "hi"), ("system", "You are Finder.")],
        [("system", "You are Finder."), ("system", "Be brief."), ("user", "hi")],
        ChatPromptTemplate([("system", "You are {who}."), ("user", "hi")]).invoke({"who": "Finder"}),
    ],
    ids=["a text", "no system", "a developer", "a late system", "two", "a prompt"],
)
def test_a_model_is_told_whatever_it_is_given(model, provider, way, given):
    told_only(provider, lambda: run(graph_of(model, way, given)))


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.usefixtures("steps")
def test_blocks_of_the_system_stay_as_they_are_and_get_one_more(model, provider, declare, way):
    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)
    blocks = [{"type": "text", "text": "You are Finder."}]

    run(graph_of(model, way, [SystemMessage(content=[*blocks]), HumanMessage("hi")]))

    sent = [received.json()["messages"][0]["content"] for received in provider.received]
    assert sent == [[*blocks, *({"type": "text", "text": line} for line in lines)] for lines in LINES]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.usefixtures("steps")
def test_an_agent_in_a_step_of_the_app_is_told_of_its_budget_and_does_not_keep_the_line(model, provider, is_async):
    provider.says("Finder", *ANSWERS)
    agent = create_agent(model, [search], system_prompt="You are Finder.")

    with step("request", max_tokens=1_000, scope="tree", at={0.2: "tell"}):
        state = run(agent, is_async=is_async)

    assert lines_of(provider) == LINES
    assert LINE.search(repr(state)) is None
    assert [message["role"] for message in provider.received[-1].json()["messages"]].count("system") == 1


@pytest.mark.parametrize("mode", ["messages", "values", "updates"])
@pytest.mark.usefixtures("steps")
def test_a_graph_that_is_streamed_is_told_too(model, provider, mode):
    provider.says("Finder", *ANSWERS[:1], Said("found"))
    agent = create_agent(model, [search], system_prompt="You are Finder.")

    with step("request", max_calls=9, scope="tree", at={0.1: "tell"}):
        streamed = list(agent.stream({"messages": [HumanMessage("hi")]}, stream_mode=mode))

    assert lines_of(provider) == [[], ["Budget: 8 calls left. Finish."]]
    assert LINE.search(repr(streamed)) is None


@pytest.mark.usefixtures("steps")
def test_the_responses_api_is_told_too(server: ReplayServer, monkeypatch):
    exchange = server.serve(recorded(case(RESPONSES)))
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.address}/{exchange.token}/v1")
    model = ChatOpenAI(model=MODEL, use_responses_api=True, max_retries=0)

    with step("request", max_calls=2, at={0.5: "tell"}):
        model.invoke(GIVEN)
        model.invoke(GIVEN)

    said = [received.json()["input"][0]["content"] for received in exchange.requests]
    assert said == ["You are Finder.", "You are Finder.\nBudget: 1 call left. Finish."]


@pytest.mark.usefixtures("steps")
def test_a_model_in_a_run_without_a_step_is_told_of_the_runs_budget(model, provider):
    provider.says("Finder", Said())

    with otel_harn_steps.run("nightly", max_calls=2, at={0.5: "tell"}):
        model.invoke(GIVEN)
        model.invoke(GIVEN)
    model.invoke(GIVEN)

    assert lines_of(provider) == [[], ["Budget: 1 call left. Finish."], []]


@pytest.mark.usefixtures("steps")
def test_a_line_that_comes_back_is_replaced(model, provider):
    provider.says("Finder", Said())
    old: list[BaseMessage] = [SystemMessage("You are Finder.\nBudget: 9 calls left. Finish."), HumanMessage("hi")]

    with step("request", max_calls=2, at={0.5: "tell"}):
        model.invoke(GIVEN)
        model.invoke(old)

    assert lines_of(provider) == [[], ["Budget: 1 call left. Finish."]]


def test_an_agent_that_repeats_itself_is_found_though_its_model_is_told_another_figure_each_time(model, provider):
    graph = StateGraph(MessagesState)

    def ask(_state: Any) -> Any:
        for _ in range(9):
            model.invoke(GIVEN)

    graph.add_node("finder", ask)
    graph.add_edge(START, "finder")

    finds_its_loop(provider, lambda: run(graph.compile()))


def test_uninstrument_leaves_nothing_behind():
    before = names_in(BaseChatModel)
    otel_harn_steps.instrument(frameworks=["langgraph"])
    assert names_in(BaseChatModel) != before

    otel_harn_steps.uninstrument()

    assert names_in(BaseChatModel) == before
