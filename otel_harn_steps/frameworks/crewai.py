"""CrewAI: each task that is executed is a step, by its own name, else by the role of its agent.

What another agent does of it (a co-worker that work is delegated to) is a nested step by that agent's role, and so is
an agent without a crew. Events of CrewAI's bus cannot carry a step: their handlers run in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps.frameworks._naming import definition_of
from otel_harn_steps.frameworks._running import in_step, in_step_async, step_of
from otel_harn_steps.frameworks._source import Functions, Source, theirs
from otel_harn_steps.frameworks._telling import SYSTEM_ROLES, argument_told, in_content, in_messages, result_told

_task: ContextVar[Any] = ContextVar("otel_harn_steps.crewai", default=None)


def _execute(wrapped: Callable[..., Any], task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    agent = _agent_of(task, args, kwargs)
    token = _task.set(task)
    try:
        return in_step(
            step_of(lambda: _definition(task.name, agent)), lambda: wrapped(*args, **kwargs), _output_of(task, agent)
        )
    finally:
        _task.reset(token)


async def _execute_async(wrapped: Callable[..., Any], task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    agent = _agent_of(task, args, kwargs)
    token = _task.set(task)
    try:
        work = step_of(lambda: _definition(task.name, agent)), lambda: wrapped(*args, **kwargs), _output_of(task, agent)
        return await in_step_async(*work)
    finally:
        _task.reset(token)


def _delegated(wrapped: Callable[..., Any], agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0] if args else kwargs.get("task")
    if task is _task.get():  # the task's own agent
        return wrapped(*args, **kwargs)
    token = _task.set(task)  # a retry executes it again, in the same step
    try:
        return in_step(step_of(lambda: _definition(None, agent)), lambda: wrapped(*args, **kwargs), _text)
    finally:
        _task.reset(token)


async def _delegated_async(
    wrapped: Callable[..., Any], agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    task = args[0] if args else kwargs.get("task")
    if task is _task.get():
        return await wrapped(*args, **kwargs)
    token = _task.set(task)
    try:
        return await in_step_async(step_of(lambda: _definition(None, agent)), lambda: wrapped(*args, **kwargs), _text)
    finally:
        _task.reset(token)


def _alone(wrapped: Callable[..., Any], agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return in_step(step_of(lambda: _definition(None, agent)), lambda: wrapped(*args, **kwargs), _output_alone(agent))


async def _alone_async(wrapped: Callable[..., Any], agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await in_step_async(
        step_of(lambda: _definition(None, agent)), lambda: wrapped(*args, **kwargs), _output_alone(agent)
    )


def _agent_of(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return (args[0] if args else kwargs.get("agent")) or getattr(task, "agent", None)


def _definition(name: Any, agent: Any) -> StepDefinition:
    # The role as it was written: with the inputs of a run in it, there would be as many names as runs.
    role = getattr(agent, "_original_role", None) or getattr(agent, "role", None)
    return definition_of(name or role, "task", agent=role)


def _text(fallback: Any) -> str:
    return "" if fallback is None else str(fallback)


def _output_of(task: Any, agent: Any) -> Callable[[Any], Any]:
    def output(fallback: Any) -> Any:
        task.output = theirs("crewai.tasks.task_output", "TaskOutput")(
            name=task.name or task.description,
            description=task.description,
            expected_output=task.expected_output,
            raw=_text(fallback),
            agent=getattr(agent, "role", ""),
        )
        return task.output

    return output


def _output_alone(agent: Any) -> Callable[[Any], Any]:
    def output(fallback: Any) -> Any:
        return theirs("crewai.lite_agent_output", "LiteAgentOutput")(raw=_text(fallback), agent_role=agent.role)

    return output


def _with_line(messages: Any, line: str) -> Any:
    return in_messages(
        messages,
        line,
        is_system=lambda message: message["role"] in SYSTEM_ROLES,
        with_line=lambda message, line: {**message, "content": in_content(message["content"], line)},
        made_of=lambda line: {"role": "system", "content": line},
    )


SOURCE = Source(
    "crewai",
    steps=Functions(
        "crewai",
        {
            "crewai.task:Task._execute_core": _execute,
            "crewai.task:Task._aexecute_core": _execute_async,
            "crewai.agent.core:Agent.execute_task": _delegated,
            "crewai.agent.core:Agent.aexecute_task": _delegated_async,
            "crewai.agent.core:Agent._execute_and_build_output": _alone,
            "crewai.agent.core:Agent._execute_and_build_output_async": _alone_async,
        },
    ),
    prompts=Functions(
        "crewai",
        {
            "crewai.llms.base_llm:BaseLLM._format_messages": result_told(_with_line),
            # For litellm. Before and not after: for some models CrewAI makes another role of the system's.
            "crewai.llm:LLM._format_messages_for_provider": argument_told(
                "messages", lambda _llm, messages, line: _with_line(messages, line)
            ),
        },
    ),
)
