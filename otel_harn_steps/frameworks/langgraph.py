"""LangGraph: each run of a node is a step, with its retries. Tasks of the functional API are nodes as well.

LangChain's callbacks cannot carry a step: LangGraph runs them next to the node, and keeps the errors that they raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps.frameworks._naming import definition_of
from otel_harn_steps.frameworks._running import in_step, in_step_async, step_of
from otel_harn_steps.frameworks._source import Functions, Source, theirs
from otel_harn_steps.frameworks._telling import SYSTEM_ROLES, argument_told, in_content, in_messages

_INNER = "__"  # what begins with it is LangGraph's own
_RETURN = "__return__"


def _node(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = _task(args, kwargs)
    paused = _Paused()
    work = step_of(lambda: _definition(task)), lambda: paused.run(wrapped, args, kwargs), _as_update(task, kwargs)
    return paused.go_on(in_step(*work))


async def _node_async(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    task = _task(args, kwargs)
    paused = _Paused()
    work = step_of(lambda: _definition(task)), lambda: paused.run_async(wrapped, args, kwargs), _as_update(task, kwargs)
    return paused.go_on(await in_step_async(*work))


def _task(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("task")


def _definition(task: Any) -> StepDefinition | None:
    return None if task.name.startswith(_INNER) else definition_of(task.name, "node")


class _Paused:
    """What LangGraph raises to pause a node or to leave it for another is no failure: it passes the step by."""

    _signal: BaseException | None = None

    def run(self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except theirs("langgraph.errors", "GraphBubbleUp") as signal:
            self._signal = signal
            return None

    async def run_async(self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        except theirs("langgraph.errors", "GraphBubbleUp") as signal:
            self._signal = signal
            return None

    def go_on(self, value: Any) -> Any:
        if self._signal is None:
            return value
        raise self._signal


def _as_update(task: Any, kwargs: dict[str, Any]) -> Callable[[Any], Any]:
    """Writes the fallback as the node's update of the state; None updates nothing. The graph goes on from there.

    A task of the functional API has no writers, and returns the fallback.
    """

    def write(fallback: Any) -> Any:
        task.writes.clear()
        if not task.writers:
            task.writes.append((_RETURN, fallback))
            return fallback
        configurable = {**task.config.get("configurable", {}), **(kwargs.get("configurable") or {})}
        for writer in task.writers:
            writer.invoke(fallback, {**task.config, "configurable": configurable})
        return None

    return write


def _with_line_in_input(model: Any, given: Any, line: str) -> Any:
    return _with_line(model, model._convert_input(given).to_messages(), line)


def _with_line(_model: Any, messages: Any, line: str) -> Any:
    return in_messages(
        messages,
        line,
        is_system=lambda message: message.type == "system" or getattr(message, "role", None) in SYSTEM_ROLES,
        with_line=lambda message, line: message.model_copy(update={"content": in_content(message.content, line)}),
        made_of=theirs("langchain_core.messages", "SystemMessage"),
    )


_MODEL = "langchain_core.language_models.chat_models:BaseChatModel"
_IN_MESSAGES = argument_told("messages", _with_line)
_IN_INPUT = argument_told("input", _with_line_in_input)

SOURCE = Source(
    "langgraph",
    steps=Functions(
        "langgraph",
        {
            "langgraph.pregel._runner:run_with_retry": _node,
            "langgraph.pregel._runner:arun_with_retry": _node_async,
        },
    ),
    prompts=Functions(
        "langchain-core",
        {
            f"{_MODEL}._generate_with_cache": _IN_MESSAGES,
            f"{_MODEL}._agenerate_with_cache": _IN_MESSAGES,
            f"{_MODEL}.stream": _IN_INPUT,
            f"{_MODEL}.astream": _IN_INPUT,
            f"{_MODEL}._iter_v2_events?": _IN_MESSAGES,
            f"{_MODEL}._aiter_v2_events?": _IN_MESSAGES,
        },
    ),
)
