"""OpenAI Agents SDK: what is left of a budget is told in the instructions of one call of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("agents")

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    RunHooks,
    Runner,
    SQLiteSession,
    function_tool,
)
from agents.run_internal import run_loop
from openai import AsyncOpenAI

import otel_harn_steps
from otel_harn_steps import step
from otel_harn_steps.testing import ReplayServer
from tests.frameworks.observing import names_in, waited
from tests.frameworks.stand_in import MODEL, Provider
from tests.frameworks.telling import ANSWERS, LINE, LINES, TELL, finds_its_loop, lines_of, told_only
from tests.replay.answers import recorded
from tests.replay.cases import case

RESPONSES = "openai.responses.responses_create_reports_reasoning_tokens_c"
CONFIG = RunConfig(tracing_disabled=True)


@function_tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def finder(provider: Provider):
    """Makes an agent that asks the stand-in."""

    def finder(**options: Any) -> Agent[Any]:
        model = OpenAIChatCompletionsModel(model=MODEL, openai_client=AsyncOpenAI(max_retries=0))
        return Agent(**{"name": "finder", "instructions": "You are Finder.", **options}, model=model, tools=[search])

    return finder


async def run(agent: Agent[Any], how: str = "run", given: str = "hi", **options: Any) -> Any:
    options.setdefault("run_config", CONFIG)
    if how == "run":
        return await Runner.run(agent, given, **options)
    streamed = Runner.run_streamed(agent, given, **options)
    async for _event in streamed.stream_events():
        pass
    return streamed


@pytest.mark.parametrize("how", ["run", "run_streamed"])
def test_a_model_is_told_once_the_share_is_reached_and_nothing_else_changes(finder, provider, how):
    told_only(provider, lambda: waited(run(finder(), how)))


def test_an_agent_without_instructions_is_told_as_well(finder, provider):
    told_only(provider, lambda: waited(run(finder(instructions=None), given="Finder")))


def test_a_synchronous_run_is_told_too(finder, provider):
    told_only(provider, lambda: Runner.run_sync(finder(), "hi", run_config=CONFIG))


@pytest.mark.parametrize("how", ["run", "run_streamed"])
@pytest.mark.usefixtures("steps")
def test_nothing_that_the_framework_keeps_has_the_line(finder, provider, declare, how):
    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)
    agent, session = finder(), SQLiteSession("1")

    result = waited(run(agent, how, session=session))

    assert lines_of(provider) == LINES
    assert LINE.search(json.dumps([result.to_input_list(), waited(session.get_items())])) is None
    assert agent.instructions == "You are Finder."


@pytest.mark.usefixtures("steps")
def test_what_a_filter_of_the_app_has_made_of_the_instructions_is_kept(finder, provider, declare):
    given = []

    def shout(data: Any) -> Any:
        data.model_data.instructions = data.model_data.instructions.upper() + " Finder"
        given.append(data.model_data)
        return data.model_data

    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)

    waited(run(finder(), run_config=RunConfig(tracing_disabled=True, call_model_input_filter=shout)))

    assert lines_of(provider) == LINES
    assert {each.instructions for each in given} == {"YOU ARE FINDER. Finder"}


@pytest.mark.usefixtures("steps")
def test_hooks_of_the_app_see_what_is_sent(finder, provider, declare):
    seen = []

    class Hooks(RunHooks[Any]):
        async def on_llm_start(self, _context: Any, _agent: Any, instructions: Any, _items: Any) -> None:
            seen.append(LINE.findall(instructions))

    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)

    waited(run(finder(), hooks=Hooks()))

    assert seen == LINES


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"instructions": "Be brief."}, ["Be brief.", "Be brief.\nBudget: 1 call left. Finish."]),
        ({}, [None, "Budget: 1 call left. Finish."]),
        ({"prompt": {"id": "pmpt_1"}}, [None, None]),
    ],
    ids=["instructions", "none", "a prompt that is kept at OpenAI"],
)
@pytest.mark.usefixtures("steps")
def test_the_responses_api_is_told_in_its_instructions(server: ReplayServer, options, told):
    exchange = server.serve(recorded(case(RESPONSES)))
    client = AsyncOpenAI(base_url=f"{server.address}/{exchange.token}/v1", api_key="test", max_retries=0)
    agent = Agent(name="finder", model=OpenAIResponsesModel(model=MODEL, openai_client=client), **options)

    with step("request", max_calls=2, scope="tree", at={0.5: "tell"}):
        waited(run(agent))
        waited(run(agent))

    assert [received.json().get("instructions") for received in exchange.requests] == told


@pytest.mark.usefixtures("steps")
def test_an_agent_in_a_step_of_the_app_is_told_of_its_budget(finder, provider):
    provider.says("Finder", *ANSWERS)

    with step("request", max_tokens=1_000, scope="tree", at={0.2: "tell"}):
        waited(run(finder()))

    assert lines_of(provider) == LINES


@pytest.mark.usefixtures("steps")
def test_an_agent_whose_calls_the_budget_does_not_cover_is_not_told(finder, provider):
    provider.says("Finder", *ANSWERS)

    with step("request", max_calls=9, at={0.1: "tell"}) as active:
        otel_harn_steps.record_llm_usage(model=MODEL, input_tokens=1, output_tokens=1)
        waited(run(finder()))

    assert active.is_told
    assert lines_of(provider) == [[]] * 4


def test_an_agent_that_repeats_itself_is_found_though_its_model_is_told_another_figure_each_time(finder, provider):
    finds_its_loop(provider, lambda: waited(run(finder())))


def test_uninstrument_leaves_nothing_behind():
    before = names_in(run_loop)
    otel_harn_steps.instrument(frameworks=["openai-agents"])
    assert names_in(run_loop) != before

    otel_harn_steps.uninstrument()

    assert names_in(run_loop) == before
