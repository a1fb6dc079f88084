"""What a model is told before a limit: one line at the end of the system prompt of each call, where `tell` asks for it.

The line is only for the request: it goes into a copy of what the framework gives, and a line of an earlier call that
came back is replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.wrappers import Wrapper
from otel_harn_steps._steps.active import current_step
from otel_harn_steps._steps.program_run import current_run
from otel_harn_steps._steps.telling import budget_line, is_budget_line, with_budget_line

_T = TypeVar("_T")

SYSTEM_ROLES: Final = ("system", "developer")


def told(prompt: _T, add: Callable[[_T, str], _T]) -> _T:
    """The prompt of a call that is made here: as it is, or what `add` makes of it and the line.

    Args:
        prompt: what the framework has: a text, a list of messages. It is not changed.
        add: makes a copy with the line.
    """
    with guard("telling a model what is left of its budget"):
        account = current_step() or current_run()
        line = None if account is None else budget_line(account)
        return prompt if line is None else add(prompt, line)
    return prompt


def result_told(add: Callable[[Any, str], Any]) -> Wrapper:
    """A wrapper for a function that returns the prompt."""

    def tell(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return told(wrapped(*args, **kwargs), add)

    return tell


def argument_told(name: str, add: Callable[[Any, Any, str], Any]) -> Wrapper:
    """A wrapper for a method whose first argument, called `name`, is the prompt. `add` gets the instance first."""

    def tell(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with_line = functools.partial(add, instance)
        if args:
            args = told(args[0], with_line), *args[1:]
        elif name in kwargs:
            kwargs = {**kwargs, name: told(kwargs[name], with_line)}
        return wrapped(*args, **kwargs)

    return tell


def in_content(content: Any, line: str) -> Any:
    """The content of a system message with the line: a text, or a list of blocks."""
    if content is None or isinstance(content, str):
        return with_budget_line(content, line)
    return [*(block for block in content if not _is_earlier(block)), {"type": "text", "text": line}]


def in_messages(
    messages: Sequence[_T],
    line: str,
    *,
    is_system: Callable[[_T], bool],
    with_line: Callable[[_T, str], _T],
    made_of: Callable[[str], _T],
) -> list[_T]:
    """The messages with the line in the system's first one; where it has none, in one before all others.

    Args:
        messages: those of the framework.
        line: what is told.
        is_system: whether a message is the system's.
        with_line: a copy of a message, with the line in it.
        made_of: a message of the system with nothing but the line.
    """
    place = next((place for place, message in enumerate(messages) if is_system(message)), None)
    if place is None:
        return [made_of(line), *messages]
    return [*messages[:place], with_line(messages[place], line), *messages[place + 1 :]]


def _is_earlier(block: Any) -> bool:
    return is_budget_line(block.get("text") if isinstance(block, dict) else block)
