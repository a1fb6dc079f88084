"""OpenAI Agents SDK: an agent is a step from its first turn in a run until it hands off, or the run ends.

Its hooks cannot carry a step: `RunHooks` run in tasks of their own, and trace processors not at all where tracing is
switched off. A turn is the lowest function that has the agent and all its calls: the model's, and those of its tools.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepEscalated
from otel_harn_steps._steps.run import StepRun
from otel_harn_steps._steps.telling import with_budget_line
from otel_harn_steps.frameworks._naming import definition_of
from otel_harn_steps.frameworks._running import leave_async, step_of
from otel_harn_steps.frameworks._source import Functions, Source, theirs
from otel_harn_steps.frameworks._telling import told


class _Stay:
    """The agent whose turn it is in one run of the runner, and its step."""

    agent: Any = None
    step: StepRun | None = None

    def turn_of(self, agent: Any, definition: StepDefinition) -> StepRun:
        """The step of the agent, made current: it goes on, or begins after that of another."""
        if self.agent is not agent:
            self.end()
        if self.step is None:
            self.agent, self.step = agent, StepRun(definition)
        else:
            self.step.resume()
        return self.step

    def end(self, error: BaseException | None = None) -> None:
        """The agent has no more turns. Its boundary has nothing to judge: what a turn raised has ended it before."""
        step, self.step, self.agent = self.step, None, None
        if step is not None:
            step.leave(None if isinstance(error, (StepBudgetExceeded, StepEscalated)) else error)


_stay: ContextVar[_Stay | None] = ContextVar("otel_harn_steps.openai_agents", default=None)


async def _run(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    stay = _Stay()
    token = _stay.set(stay)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        stay.end(error)
        raise
    finally:
        _stay.reset(token)
    stay.end()
    return result


async def _turn(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    stay = _stay.get()
    definition = None if stay is None else step_of(lambda: _definition(_agent(args, kwargs)))
    if stay is None or definition is None:
        return await wrapped(*args, **kwargs)
    step = stay.turn_of(_agent(args, kwargs), definition)
    result = raised = None
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 -- raised again, or judged
        raised = error
    if raised is None and step.active.breach is None:
        step.suspend()
        return result
    # A breach that was not raised is that of a tool, of which the runner has made a message to the model.
    stay.step = None
    return await leave_async(step, raised, lambda fallback: _final(fallback, args, kwargs), result)


def _definition(agent: Any) -> StepDefinition:
    return definition_of(agent.name, "agent", agent=agent.name)


def _agent(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The agent as the app knows it. Versions before 0.18 give it bare."""
    bindings = kwargs.get("bindings") or kwargs.get("agent") or args[1]
    return getattr(bindings, "public_agent", bindings)


def _final(fallback: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A turn that ends the run, with `fallback` as its output."""
    streamed = args[0] if args else None
    before = kwargs["generated_items"] if streamed is None else streamed._model_input_items
    usage = theirs("agents.usage", "Usage")()
    return theirs("agents.run_internal.run_steps", "SingleStepResult")(
        original_input=kwargs["original_input"] if streamed is None else streamed.input,
        model_response=theirs("agents.items", "ModelResponse")(output=[], usage=usage, response_id=None),
        pre_step_items=before,
        new_step_items=[],
        next_step=theirs("agents.run_internal.run_steps", "NextStepFinalOutput")(fallback),
        tool_input_guardrail_results=[],
        tool_output_guardrail_results=[],
    )


async def _model_input(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return told(await wrapped(*args, **kwargs), lambda given, line: _with_line(given, line, kwargs.get("agent")))


def _with_line(given: Any, line: str, agent: Any) -> Any:
    # They could take the place of those in the prompt that is kept at OpenAI.
    if given.instructions is None and getattr(agent, "prompt", None) is not None:
        return given
    return replace(given, instructions=with_budget_line(given.instructions, line))


SOURCE = Source(
    "openai-agents",
    steps=Functions(
        "openai-agents",
        {
            "agents.run:AgentRunner.run": _run,
            "agents.run:start_streaming": _run,
            "agents.run:run_single_turn": _turn,
            "agents.run_internal.run_loop:run_single_turn_streamed": _turn,
        },
    ),
    prompts=Functions("openai-agents", {"agents.run_internal.run_loop:maybe_filter_model_input": _model_input}),
)
