"""CrewAI: what is left of a budget is told in the system's message of one call of an LLM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("crewai")

from crewai import LLM, Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool

import otel_harn_steps
from otel_harn_steps import step
from tests.frameworks.observing import names_in, waited
from tests.frameworks.stand_in import MODEL, Provider, Said
from tests.frameworks.telling import ANSWERS, LINE, LINES, TELL, finds_its_loop, lines_of, told_only

pytestmark = pytest.mark.usefixtures("silent_crewai")


@tool("search")
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def llm(provider: Provider):
    """Makes an LLM that asks the stand-in."""

    def llm(**options: Any) -> Any:
        return LLM(model=f"openai/{MODEL}", base_url=provider.url, api_key="test", **options)

    return llm


@pytest.fixture
def finder(llm: Any):
    """Makes an agent that asks the stand-in."""

    def finder(*, stream: bool = False, **options: Any) -> Agent:
        about = {"role": "Finder", "goal": "Find it.", "backstory": "You know it."}
        return Agent(**about, llm=llm(stream=stream), tools=[search], **options)

    return finder


def run(agent: Agent, how: str = "kickoff") -> Any:
    task = Task(description="Do it.", expected_output="It, done.", agent=agent, name="finder")
    crew = Crew(agents=[agent], tasks=[task])
    return crew.kickoff() if how == "kickoff" else waited(getattr(crew, how)())


@pytest.mark.parametrize("how", ["kickoff", "kickoff_async", "akickoff"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_is_told_once_the_share_is_reached_and_nothing_else_changes(finder, provider, how, stream):
    told_only(provider, lambda: run(finder(stream=stream), how))


def test_an_agent_whose_task_runs_in_a_thread_is_told(finder, provider):
    told_only(provider, lambda: run(finder(max_execution_time=60)))


def test_an_agent_without_a_system_prompt_is_told_as_well(finder, provider):
    told_only(provider, lambda: run(finder(use_system_prompt=False)))


@pytest.mark.parametrize("how", ["kickoff", "akickoff"])
@pytest.mark.usefixtures("steps")
def test_nothing_that_the_framework_keeps_has_the_line(finder, provider, declare, how):
    declare("finder", budget=TELL)
    provider.says("Finder", *ANSWERS)
    agent = finder()

    output = run(agent, how)

    assert lines_of(provider) == LINES
    [of_task] = output.tasks_output
    assert len(of_task.messages) > len(ANSWERS)
    assert LINE.search(repr([of_task.messages, agent.agent_executor.messages])) is None


@pytest.mark.usefixtures("steps")
def test_an_agent_in_a_step_of_the_app_is_told_of_its_budget(finder, provider):
    provider.says("Finder", *ANSWERS)

    with step("request", max_tokens=1_000, scope="tree", at={0.2: "tell"}):
        run(finder())

    assert lines_of(provider) == LINES


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "given",
    ["Finder", [{"role": "user", "content": "Finder"}], [{"role": "system", "content": "Finder"}]],
    ids=["a text", "no system", "a system"],
)
@pytest.mark.usefixtures("steps")
def test_an_llm_without_an_agent_is_told_of_the_step_around_it(llm, provider, given, is_async):
    provider.says("Finder", Said())
    messages = given if isinstance(given, str) else [dict(message) for message in given]
    model = llm()

    with step("request", max_calls=2, at={0.5: "tell"}):
        for _ in range(2):
            waited(model.acall(messages)) if is_async else model.call(messages)

    assert lines_of(provider) == [[], ["Budget: 1 call left. Finish."]]
    assert messages == given


@pytest.mark.usefixtures("steps")
def test_what_crewai_formats_for_litellm_is_told_too():
    messages = [{"role": "system", "content": "You are Finder."}, {"role": "user", "content": "hi"}]
    model: Any = SimpleNamespace(model="o1")  # a real one needs litellm

    with step("request", max_tokens=10, at={0.5: "tell"}):
        otel_harn_steps.record_llm_usage(model=MODEL, input_tokens=5, output_tokens=0)
        formatted = LLM._format_messages_for_provider(model, messages)

    # Of a system's message CrewAI makes one of the assistant for this model.
    assert formatted == [
        {"role": "assistant", "content": "You are Finder.\nBudget: 5 tokens left. Finish."},
        messages[1],
    ]
    assert messages[0]["content"] == "You are Finder."


def test_an_agent_that_repeats_itself_is_found_though_its_model_is_told_another_figure_each_time(finder, provider):
    finds_its_loop(provider, lambda: run(finder()))


def test_uninstrument_leaves_nothing_behind():
    before = names_in(BaseLLM, LLM)
    otel_harn_steps.instrument(frameworks=["crewai"])
    assert all(now != then for now, then in zip(names_in(BaseLLM, LLM), before, strict=True))

    otel_harn_steps.uninstrument()

    assert names_in(BaseLLM, LLM) == before
