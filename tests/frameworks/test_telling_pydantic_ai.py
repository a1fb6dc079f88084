"""Pydantic AI: what is left of a budget is told in the last instructions of one request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("pydantic_ai")

from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelRequest
from pydantic_ai.direct import model_request
from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

import otel_harn_steps
from otel_harn_steps import step
from otel_harn_steps.testing import ReplayServer
from tests.frameworks.observing import names_in, waited
from tests.frameworks.stand_in import MODEL, Provider, Said
from tests.frameworks.telling import ANSWERS, LINE, LINES, TELL, finds_its_loop, lines_of, told_only
from tests.replay.answers import recorded
from tests.replay.cases import case

RESPONSES = "openai.responses.responses_create_reports_reasoning_tokens_c"


def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def finder(provider: Provider):
    """Makes an agent that asks the stand-in."""

    def finder(model: Any = None, **options: Any) -> Agent[Any, Any]:
        options = {"instructions": "You are Finder.", **options}
        return Agent(model or OpenAIChatModel(MODEL), name="finder", tools=[search], **options)

    return finder


async def whole(agent: Any) -> Any:
    return await agent.run("hi")


async def iterated(agent: Any) -> Any:
    async with agent.iter("hi") as run:
        async for _node in run:
            pass
    return run.result


async def streamed(agent: Any) -> Any:
    async with agent.run_stream("hi") as result:
        await result.get_output()
    return result


async def events(agent: Any) -> Any:
    async with agent.run_stream_events("hi") as stream:
        return [event async for event in stream][-1].result


WAYS = {"run": whole, "iter": iterated, "run_stream": streamed, "run_stream_events": events}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_told_once_the_share_is_reached_and_nothing_else_changes(finder, provider, way):
    told_only(provider, lambda: waited(WAYS[way](finder())))


def test_a_synchronous_run_is_told_too(finder, provider):
    told_only(provider, lambda: finder().run_sync("hi"))


@pytest.mark.parametrize(
    "options",
    [
        {"instructions": None, "system_prompt": "You are Finder."},
        {"instructions": lambda: "You are Finder."},
        {"instructions": ["You are Finder.", "Be brief."], "system_prompt": "Be kind."},
    ],
    ids=["a system prompt", "a function", "several"],
)
def test_an_agent_is_told_whatever_its_instructions_are(finder, provider, options):
    told_only(provider, lambda: waited(whole(finder(**options))))


def test_a_model_behind_another_is_told(finder, provider):
    told_only(provider, lambda: waited(whole(finder(FallbackModel(OpenAIChatModel(MODEL), OpenAIChatModel("other"))))))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("steps")
def test_nothing_that_the_framework_keeps_has_the_line(finder, provider, declare, way):
    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)
    agent = finder()

    result = waited(WAYS[way](agent))
    messages = result.all_messages_json().decode()

    assert lines_of(provider) == LINES
    assert "You are Finder." in messages
    assert LINE.search(messages) is None
    provider.forget()
    provider.says("Finder", Said())
    waited(agent.run("again", message_history=result.all_messages()))
    assert lines_of(provider) == [[]]


@pytest.mark.parametrize("instructions", ["Be brief.", None])
@pytest.mark.usefixtures("steps")
def test_the_responses_api_is_told_in_its_instructions(server: ReplayServer, instructions):
    exchange = server.serve(recorded(case(RESPONSES)))
    client = AsyncOpenAI(base_url=f"{server.address}/{exchange.token}/v1", api_key="test", max_retries=0)
    agent = Agent(OpenAIResponsesModel(MODEL, provider=OpenAIProvider(openai_client=client)), instructions=instructions)

    with step("request", max_calls=2, scope="tree", at={0.5: "tell"}):
        waited(agent.run("hi"))
        waited(agent.run("hi"))

    line = "Budget: 1 call left. Finish."
    told = line if instructions is None else f"{instructions}\n{line}"
    assert [received.json().get("instructions") for received in exchange.requests] == [instructions, told]


@pytest.mark.usefixtures("steps")
def test_agents_that_run_at_once_are_told_of_their_own(provider, declare):
    names = [f"finder{number}" for number in range(3)]
    for name in names:
        declare(name, budget=TELL)
        provider.says(f"Agent {name}", *ANSWERS)

    async def main() -> None:
        agents = [
            Agent(OpenAIChatModel(MODEL), name=name, instructions=f"Agent {name}", tools=[search]) for name in names
        ]
        await asyncio.gather(*(agent.run("hi") for agent in agents))

    waited(main())

    lines = zip(provider.asked, lines_of(provider), strict=True)
    assert sorted(lines) == sorted((f"Agent {name}", line) for name in names for line in LINES)


@pytest.mark.usefixtures("steps")
def test_an_agent_in_a_step_of_the_app_is_told_of_its_budget(finder, provider):
    provider.says("Finder", *ANSWERS)

    with step("request", max_tokens=1_000, scope="tree", at={0.2: "tell"}):
        waited(whole(finder()))

    assert lines_of(provider) == LINES


@pytest.mark.usefixtures("steps")
def test_a_model_without_an_agent_is_told_of_the_step_around_it(provider):
    provider.says("Finder", Said())
    message = ModelRequest.user_text_prompt("Finder", instructions="You are Finder.")

    with step("request", max_usd=1, at={0.00001: "tell"}):
        for _ in range(2):
            waited(model_request(OpenAIChatModel(MODEL), [message]))

    assert lines_of(provider) == [[], ["Budget: $1.00 left. Finish."]]
    assert json.loads(provider.received[1].body)["messages"][0]["content"] == "You are Finder."
    assert message.instructions == "You are Finder."


def test_an_agent_that_repeats_itself_is_found_though_its_model_is_told_another_figure_each_time(finder, provider):
    finds_its_loop(provider, lambda: waited(whole(finder())))


def test_uninstrument_leaves_nothing_behind():
    before = names_in(Model)
    otel_harn_steps.instrument(frameworks=["pydantic-ai"])
    assert names_in(Model) != before

    otel_harn_steps.uninstrument()

    assert names_in(Model) == before
