"""OpenAI Agents SDK: an agent is a step, by its name."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("agents")

import agents
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI

import otel_harn_steps
from otel_harn_steps import StepBudgetExceeded, StepEscalated, current_step, step
from tests.frameworks.observing import names_in, rows, waited
from tests.frameworks.stand_in import MODEL, Provider, Said, usd
from tests.replay.answers import recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import case

RESPONSES = "openai.responses.responses_create_reports_reasoning_tokens_c"
ASKS = Said(tool="transfer_to_recipe_editor_agent", input_tokens=117, output_tokens=14)
EDITS = (
    Said(tool="search", arguments={"query": "pasta"}, input_tokens=310, output_tokens=17),
    Said(tool="search", arguments={"query": "salt"}, input_tokens=534, output_tokens=180),
    Said("Salted.", input_tokens=1094, output_tokens=198),
)


@function_tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@pytest.fixture
def agent(provider: Provider):
    """Makes an agent that asks the stand-in as whoever it is."""

    def agent(name: str, **options: Any) -> Agent[Any]:
        model = OpenAIChatCompletionsModel(model=MODEL, openai_client=AsyncOpenAI(max_retries=0))
        return Agent(name=name, instructions=f"You are {name}.", model=model, **options)

    return agent


async def run(agent: Agent[Any], how: str = "run", **options: Any) -> Any:
    options.setdefault("run_config", RunConfig(tracing_disabled=True))
    if how == "run":
        return (await Runner.run(agent, "hi", **options)).final_output
    streamed = Runner.run_streamed(agent, "hi", **options)
    async for _event in streamed.stream_events():
        pass
    return streamed.final_output


@pytest.mark.parametrize("how", ["run", "run_streamed"])
@pytest.mark.parametrize("is_traced", [True, False])
def test_each_agent_of_a_run_is_a_step_and_has_its_own_calls(agent, provider, steps, how, is_traced):
    editor = agent("Recipe Editor Agent", tools=[search])
    main = agent("Main Chat Agent", handoffs=[editor])
    provider.says("Main Chat Agent", ASKS)
    provider.says("Recipe Editor Agent", *EDITS)

    with step("request"):
        output = waited(run(main, how, run_config=RunConfig(tracing_disabled=not is_traced)))

    assert output == "Salted."
    records = steps()
    assert rows(records) == [
        ("request/Main Chat Agent", "completed", 1, 117, 14),
        ("request/Recipe Editor Agent", "completed", 3, 1938, 395),
        ("request", "completed", 0, 0, 0),
    ]
    assert [record.cost_usd for record in records[:2]] == [pytest.approx(usd(ASKS)), pytest.approx(usd(*EDITS))]
    assert (records[2].total_input_tokens, records[2].total_output_tokens) == (2055, 409)


def test_a_synchronous_run_is_a_step_too(agent, provider, steps):
    provider.says("Solo", Said())

    Runner.run_sync(agent("Solo"), "hi", run_config=RunConfig(tracing_disabled=True))

    assert rows(steps()) == [("Solo", "completed", 1, 100, 20)]


@pytest.mark.parametrize("how", ["run", "run_streamed"])
def test_the_responses_api_is_billed_to_the_agent_too(server, steps, how):
    answered = case("openai.responses.stream.responses_stream" if how == "run_streamed" else RESPONSES)
    address = f"{server.address}/{server.serve(recorded(answered)).token}/v1"
    model = OpenAIResponsesModel(model=MODEL, openai_client=AsyncOpenAI(base_url=address, api_key="test"))

    waited(run(Agent(name="Solo", model=model), how))

    [record] = steps()
    assert Bill.of_record(record) == bill_of(answered)


def test_a_streamed_run_that_is_cancelled_ends_its_step(agent, provider, steps):
    provider.says("Main", Said())

    async def main() -> None:
        streamed = Runner.run_streamed(agent("Main"), "hi", run_config=RunConfig(tracing_disabled=True))
        async for _event in streamed.stream_events():
            streamed.cancel()
        assert current_step() is None

    waited(main())

    assert [(record.name, record.status) for record in steps()] == [("Main", "cancelled")]


def test_an_agent_that_is_a_tool_is_a_nested_step(agent, provider, steps):
    inner = agent("Translator")
    outer = agent("Writer", tools=[inner.as_tool("translate", "Translates.")])
    provider.says("Writer", Said(tool="translate", arguments={"input": "hi"}), Said("written", 200, 40))
    provider.says("Translator", Said("traduit", 7, 3))

    waited(run(outer))

    assert rows(steps()) == [("Writer/Translator", "completed", 1, 7, 3), ("Writer", "completed", 2, 300, 60)]


def test_what_a_nested_agent_overspends_is_told_to_the_model_and_the_outer_agent_goes_on(
    agent, provider, steps, declare
):
    declare("Translator", budget={"max_tokens": 5})
    inner = agent("Translator")
    outer = agent("Writer", tools=[inner.as_tool("translate", "Translates.")])
    provider.says("Writer", Said(tool="translate", arguments={"input": "hi"}), Said("written", 200, 40))
    provider.says("Translator", Said("traduit", 7, 3))

    assert waited(run(outer)) == "written"
    assert rows(steps()) == [("Writer/Translator", "failed", 1, 7, 3), ("Writer", "completed", 2, 300, 60)]


def test_agents_that_run_at_once_have_each_their_own(agent, provider, steps):
    for number in range(4):
        provider.says(f"Agent{number}", Said(tool="search", arguments={"query": "x"}), Said("x", number, 1))

    async def main() -> None:
        await asyncio.gather(*(run(agent(f"Agent{number}", tools=[search])) for number in range(4)))

    waited(main())

    assert sorted(rows(steps())) == [(f"Agent{n}", "completed", 2, 100 + n, 21) for n in range(4)]


def test_a_guardrails_agent_is_a_step_beside_the_one_that_it_guards(agent, provider, steps):
    guard = agent("Guard")

    async def check(_context: Any, _agent: Any, question: Any) -> GuardrailFunctionOutput:
        await Runner.run(guard, "ok?", run_config=RunConfig(tracing_disabled=True))
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    provider.says("Guard", Said(input_tokens=5, output_tokens=1))
    provider.says("Main", Said())

    waited(run(agent("Main", input_guardrails=[InputGuardrail(check)])))

    assert sorted(rows(steps())) == [("Guard", "completed", 1, 5, 1), ("Main", "completed", 1, 100, 20)]


@pytest.mark.parametrize("how", ["run", "run_streamed"])
def test_a_budget_holds_over_all_turns_of_an_agent(agent, provider, steps, declare, how):
    declare("Loop", budget={"max_tokens": 300})
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    with pytest.raises(StepBudgetExceeded) as caught:
        waited(run(agent("Loop", tools=[search]), how))

    assert (caught.value.step, caught.value.consumed_tokens) == ("Loop", 360)
    assert provider.asked == ["Loop"] * 3
    assert rows(steps()) == [("Loop", "failed", 3, 300, 60)]


@pytest.mark.parametrize("how", ["run", "run_streamed"])
def test_continue_ends_the_run_with_the_fallback_as_its_output(agent, provider, steps, declare, how):
    declare("Loop", budget={"max_tokens": 10}, error_boundary="continue", fallback="no answer")
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    assert waited(run(agent("Loop", tools=[search]), how)) == "no answer"
    assert rows(steps()) == [("Loop", "skipped", 1, 100, 20)]


def test_a_fallback_that_is_a_coroutine_function_is_awaited(agent, provider, steps):
    async def made(error: StepBudgetExceeded, _partial: object) -> str:
        await asyncio.sleep(0)
        return f"stopped by {error.limit}"

    definition = otel_harn_steps.StepDefinition(
        "Loop", "Loop", budget={"max_calls": 1}, error_boundary="continue", fallback=made
    )
    otel_harn_steps.register_step("Loop", definition)
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    assert waited(run(agent("Loop", tools=[search]))) == "stopped by max_calls"
    assert rows(steps()) == [("Loop", "skipped", 1, 100, 20)]


def test_escalate_reaches_the_app(agent, provider, steps, declare):
    declare("Loop", budget={"max_usd": 0}, error_boundary="escalate")
    provider.says("Loop", Said())

    with pytest.raises(StepEscalated):
        waited(run(agent("Loop")))


@pytest.mark.parametrize("how", ["run", "run_streamed"])
def test_a_breach_in_a_tool_is_not_made_into_a_message_to_the_model(agent, provider, steps, declare, how):
    @function_tool
    async def ask() -> str:
        """Ask."""
        client = AsyncOpenAI()
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "system", "content": "Tool"}])
        return str(answer.choices[0].message.content)

    declare("Main", budget={"max_tokens": 150})
    provider.says("Main", Said(tool="ask"))
    provider.says("Tool", Said())

    with pytest.raises(StepBudgetExceeded):
        waited(run(agent("Main", tools=[ask]), how))

    assert provider.asked == ["Main", "Tool"]
    assert rows(steps()) == [("Main", "failed", 2, 200, 40)]


def test_nothing_of_a_step_is_left_behind_when_a_run_ends_or_is_cancelled(agent, provider, steps):
    @function_tool
    async def wait() -> str:
        """Wait."""
        waits.set()
        await asyncio.Event().wait()
        return ""

    provider.says("Main", Said(tool="wait"))

    async def main() -> None:
        task = asyncio.create_task(run(agent("Main", tools=[wait])))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert current_step() is None

    waits = asyncio.Event()
    waited(main())

    assert rows(steps()) == [("Main", "cancelled", 1, 100, 20)]


def test_a_run_that_ends_between_turns_ends_its_step(agent, provider, steps):
    provider.says("Loop", Said(tool="search", arguments={"query": "more"}))

    with pytest.raises(agents.MaxTurnsExceeded):
        waited(run(agent("Loop", tools=[search]), max_turns=2))

    assert rows(steps()) == [("Loop", "failed", 2, 200, 40)]


def test_uninstrument_leaves_nothing_behind(agent, provider):
    modules = [sys.modules["agents.run"], sys.modules["agents.run_internal.run_loop"], agents.run.AgentRunner]
    before = names_in(*modules)
    otel_harn_steps.instrument(frameworks=["openai-agents"])
    otel_harn_steps.instrument(frameworks=["openai-agents"])
    assert names_in(*modules) != before

    otel_harn_steps.uninstrument()

    assert names_in(*modules) == before


APP = """
import agents
from agents import Agent, Runner, function_tool

agents.set_tracing_disabled(True)
agents.set_default_openai_api("chat_completions")

@function_tool
def search(query: str) -> str: return "found"

editor = Agent(name="Recipe Editor Agent", instructions="You are Recipe Editor Agent.", model="gpt-4o-mini", tools=[search])
main = Agent(name="Main Chat Agent", instructions="You are Main Chat Agent.", model="gpt-4o-mini", handoffs=[editor])
try:
    print(Runner.run_sync(main, "hi").final_output)
except Exception as error:
    print(type(error).__name__)
"""
FILE = """
frameworks = "auto"

[[steps]]
name = "Recipe Editor Agent"
budget = {{ {limits} }}

[[steps]]
name = "Recipe Writer Agent"
"""


@pytest.mark.parametrize(
    ("limits", "says", "spent_by_editor"),
    [
        ("max_tokens = 3000", "Salted.", (3, 2333)),
        ("max_tokens = 1000", "StepBudgetExceeded", (2, 1041)),
        ("max_calls = 2", "StepBudgetExceeded", (2, 1041)),
        ('max_calls = 2, mode = "shadow"', "Salted.", (3, 2333)),
    ],
)
def test_a_program_that_knows_nothing_of_us_has_steps_and_budgets_from_a_file(
    provider, tmp_path, limits, says, spent_by_editor
):
    provider.says("Main Chat Agent", ASKS)
    provider.says("Recipe Editor Agent", *EDITS)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "harn-steps.toml").write_text(FILE.format(limits=limits))
    command = [
        sys.executable,
        "-m",
        "otel_harn_steps.cli",
        "run",
        "--step-records",
        "out",
        "--",
        sys.executable,
        "app.py",
    ]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, says + "\n"), done.stderr
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    spent = [(each["name"], each["llm_calls"], each["input_tokens"] + each["output_tokens"]) for each in records]
    assert spent == [
        ("Main Chat Agent", 1, 131),
        ("Recipe Editor Agent", *spent_by_editor),
    ]
    assert "harn-steps.toml:8: no step 'Recipe Writer Agent' of a framework has run" in done.stderr
    assert "harn-steps.toml:4" not in done.stderr
