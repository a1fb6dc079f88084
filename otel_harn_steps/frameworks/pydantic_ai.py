"""Pydantic AI: each run of an agent is a step.

Every way to run one passes `Agent.iter`, a context manager whose body has the agent's calls. `run` is wrapped around it
because only there a result can stand in for what the error boundary has forgiven.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.run import StepRun
from otel_harn_steps._steps.telling import with_budget_line
from otel_harn_steps.frameworks._naming import definition_of
from otel_harn_steps.frameworks._running import in_step_async, leave_async, step_of
from otel_harn_steps.frameworks._source import Functions, Source, theirs
from otel_harn_steps.frameworks._telling import result_told

_is_in_run: ContextVar[bool] = ContextVar("otel_harn_steps.pydantic_ai", default=False)


async def _run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _infer_name(instance, kwargs, sys._getframe())
    token = _is_in_run.set(True)
    try:
        return await in_step_async(step_of(lambda: _definition(instance)), lambda: wrapped(*args, **kwargs), _result)
    finally:
        _is_in_run.reset(token)


def _iter(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _is_in_run.get():
        return _InRun(wrapped(*args, **kwargs))
    # Nothing can stand in for a run that the app itself takes through its nodes, or reads as a stream.
    definition = step_of(lambda: _definition(instance))
    if definition is None:
        return wrapped(*args, **kwargs)
    if definition.error_boundary == "continue":
        definition = replace(definition, error_boundary=None)
    return _Iterated(wrapped(*args, **kwargs), definition)


def _definition(agent: Any) -> StepDefinition:
    return definition_of(agent.name, "agent", agent=agent.name)


def _infer_name(agent: Any, kwargs: dict[str, Any], frame: FrameType) -> None:
    """Let the agent find its name where it would: in the app's frame, above ours."""
    if kwargs.get("infer_name", True) and agent.name is None:
        with guard("naming an agent"):
            agent._infer_name(frame)


def _result(fallback: Any) -> Any:
    return theirs("pydantic_ai.run", "AgentRunResult")(output=fallback)


class _InRun:
    """The `iter` of a `run` that is a step: agents that run inside of it are steps of their own."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> Any:
        _is_in_run.set(False)
        return await self._inner.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return await self._inner.__aexit__(kind, error, traceback)


class _Iterated:
    """The context manager of `iter`, as a step."""

    def __init__(self, inner: Any, definition: StepDefinition) -> None:
        self._inner = inner
        self._definition = definition

    async def __aenter__(self) -> Any:
        self._step = StepRun(self._definition)
        try:
            return await self._inner.__aenter__()
        except BaseException as error:  # noqa: BLE001 -- raised again
            raised = error
        return await leave_async(self._step, raised, _result)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        is_handled, raised = False, error
        try:
            is_handled = await self._inner.__aexit__(kind, error, traceback)
        except BaseException as other:  # noqa: BLE001 -- raised again
            raised = other
        return await leave_async(self._step, None if is_handled else raised, _result, is_handled)


def _with_part(parts: Any, line: str) -> Any:
    # It changes from call to call: what providers keep of a prompt ends before it.
    return [*(parts or ()), theirs("pydantic_ai.messages", "InstructionPart")(content=line, dynamic=True)]


SOURCE = Source(
    "pydantic-ai",
    steps=Functions(
        "pydantic-ai-slim",
        {
            "pydantic_ai.agent.abstract:AbstractAgent.run": _run,
            "pydantic_ai.agent:Agent.iter": _iter,
        },
    ),
    prompts=Functions(
        "pydantic-ai-slim",
        {
            "pydantic_ai.models:Model._get_instruction_parts": result_told(_with_part),
            "pydantic_ai.models.openai._responses_model:get_instructions": result_told(with_budget_line),
        },
    ),
)
