"""CrewAI: each task is a step, by its name or by the role of its agent."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("crewai")

from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import tool

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, StepEscalated, current_step
from tests.frameworks.observing import names_in, rows, waited
from tests.frameworks.stand_in import MODEL, Provider, Said, usd

pytestmark = pytest.mark.usefixtures("silent_crewai")


@tool("search")
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def make(provider: Provider):
    """Makes an agent that asks the stand-in as whoever it is."""

    def make(role: str, **options: Any) -> Agent:
        llm = LLM(model=f"openai/{MODEL}", base_url=provider.url, api_key="test")
        return Agent(role=role, goal=f"Be {role}.", backstory=f"You are {role}.", llm=llm, **options)

    return make


def work(agent: Agent | None, name: str | None = None, **options: Any) -> Task:
    return Task(description="Do it.", expected_output="It, done.", agent=agent, name=name, **options)


def run(*tasks: Task, how: str = "kickoff", **options: Any) -> Any:
    crew = Crew(agents=list({id(task.agent): task.agent for task in tasks}.values()), tasks=list(tasks), **options)
    if how == "kickoff":
        return crew.kickoff().raw
    return waited(getattr(crew, how)()).raw


@pytest.mark.parametrize("how", ["kickoff", "kickoff_async", "akickoff"])
def test_each_task_is_a_step_by_its_name_or_its_agents_role(make, provider, steps, how):
    answers = Said(tool="search", arguments={"query": "x"}), Said("found", 31, 7)
    provider.says("Researcher", *answers)
    provider.says("Writer", Said("written", 3, 1))

    assert run(work(make("Researcher", tools=[search]), "research"), work(make("Writer")), how=how) == "written"

    records = steps()
    assert rows(records) == [("research", "completed", 2, 131, 27), ("Writer", "completed", 1, 3, 1)]
    assert records[0].cost_usd == pytest.approx(usd(*answers))


def test_tasks_that_run_at_once_have_each_their_own(make, provider, steps):
    for number in range(3):
        provider.says(f"Agent{number}", Said("x", number, 1))
    provider.says("Last", Said("last", 50, 1))
    at_once = [work(make(f"Agent{number}"), f"task{number}", async_execution=True) for number in range(3)]

    run(*at_once, work(make("Last"), "last"))

    assert sorted(rows(steps())) == [
        ("last", "completed", 1, 50, 1),
        *((f"task{number}", "completed", 1, number, 1) for number in range(3)),
    ]


def test_a_role_has_the_name_that_was_written_whatever_the_run_puts_in(make, provider, steps):
    provider.says("Expert", Said())
    task = work(make("{topic} Expert"))

    Crew(agents=[task.agent], tasks=[task]).kickoff(inputs={"topic": "Salt"})

    assert [record.name for record in steps()] == ["{topic} Expert"]


def test_what_is_delegated_is_a_nested_step(make, provider, steps):
    ask = {"question": "x?", "context": "none", "coworker": "Helper"}
    provider.says("Boss", Said(tool="ask_question_to_coworker", arguments=ask), Said("done", 3, 1))
    provider.says("Helper", Said("x", 7, 5))
    boss, helper = make("Boss", allow_delegation=True), make("Helper")

    Crew(agents=[boss, helper], tasks=[work(boss, "lead")]).kickoff()

    assert rows(steps()) == [("lead/Helper", "completed", 1, 7, 5), ("lead", "completed", 2, 103, 21)]


def test_what_a_coworker_overspends_is_told_to_the_model_and_the_task_goes_on(make, provider, steps, declare):
    declare("Helper", budget={"max_tokens": 5})
    ask = {"question": "x?", "context": "none", "coworker": "Helper"}
    provider.says("Boss", Said(tool="ask_question_to_coworker", arguments=ask), Said("done", 3, 1))
    provider.says("Helper", Said("x", 7, 5))
    boss, helper = make("Boss", allow_delegation=True), make("Helper")

    Crew(agents=[boss, helper], tasks=[work(boss, "lead")]).kickoff()

    assert rows(steps()) == [("lead/Helper", "failed", 1, 7, 5), ("lead", "completed", 2, 103, 21)]


def test_a_managers_task_is_a_step(make, provider, steps):
    provider.says("Manager", Said("managed", 9, 2))
    manager, helper = make("Manager", allow_delegation=True), make("Helper")

    Crew(agents=[helper], tasks=[work(None, "lead")], process=Process.hierarchical, manager_agent=manager).kickoff()

    assert rows(steps()) == [("lead", "completed", 1, 9, 2)]


@pytest.mark.parametrize("how", ["kickoff", "kickoff_async"])
def test_an_agent_without_a_crew_is_a_step_by_its_role(make, provider, steps, how):
    provider.says("Solo", Said("sung", 9, 2))
    agent = make("Solo")

    output = agent.kickoff("hi") if how == "kickoff" else waited(agent.kickoff_async("hi"))

    assert output.raw == "sung"
    assert rows(steps()) == [("Solo", "completed", 1, 9, 2)]


@pytest.mark.parametrize("how", ["kickoff", "akickoff"])
@pytest.mark.parametrize("options", [{}, {"max_execution_time": 60}], ids=["", "in a thread"])
@pytest.mark.usefixtures("steps")
def test_a_budget_holds_over_a_task_and_its_retries(make, provider, declare, how, options):
    declare("loop", budget={"max_tokens": 300})
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    with pytest.raises(StepBudgetExceeded) as caught:
        run(work(make("Loop", tools=[search], **options), "loop"), how=how)

    assert (caught.value.step, caught.value.consumed_tokens) == ("loop", 360)
    assert provider.asked == ["Loop"] * 3
    assert rows(otel_harn_steps.drain_completed_steps()) == [("loop", "failed", 3, 300, 60)]


@pytest.mark.parametrize("how", ["kickoff", "akickoff"])
def test_continue_goes_on_with_the_fallback_as_the_tasks_output(make, provider, steps, declare, how):
    declare("loop", budget={"max_tokens": 10}, error_boundary="continue", fallback="nothing")
    provider.says("Loop", Said())
    provider.says("Writer", Said("written"))

    crew_says = run(work(make("Loop"), "loop"), work(make("Writer"), "write"), how=how)

    assert crew_says == "written"
    assert [record.status for record in steps()] == ["skipped", "completed"]


def test_continue_of_an_agent_without_a_crew_says_the_fallback(make, provider, steps, declare):
    declare("Solo", budget={"max_tokens": 10}, error_boundary="continue", fallback="nothing")
    provider.says("Solo", Said())

    assert make("Solo").kickoff("hi").raw == "nothing"


def test_escalate_reaches_the_app(make, provider, steps, declare):
    declare("loop", budget={"max_usd": 0}, error_boundary="escalate")
    provider.says("Loop", Said())

    with pytest.raises(StepEscalated):
        run(work(make("Loop"), "loop"))

    assert current_step() is None


def test_uninstrument_leaves_nothing_behind():
    before = names_in(Agent, Task)
    otel_harn_steps.instrument(frameworks=["crewai"])
    assert names_in(Agent, Task) != before

    otel_harn_steps.uninstrument()

    assert names_in(Agent, Task) == before
