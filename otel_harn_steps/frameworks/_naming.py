"""What is declared about a framework's step: by its name, in the file or with `register_step`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.registry import declare_limits, registered_step


def _ignore(_name: str) -> None:
    """Default no-op callback."""


class _Declared(NamedTuple):
    definitions: Mapping[str, StepDefinition]
    on_run: Callable[[str], object]


_declared = _Declared({}, _ignore)


def use_definitions(definitions: Mapping[str, StepDefinition], on_run: Callable[[str], object] = _ignore) -> None:
    """Declare the framework's steps of these names, and no others. `on_run` gets the name of each that runs."""
    global _declared  # noqa: PLW0603 -- the one place that holds what a file declares
    for definition in definitions.values():
        declare_limits(definition)
    _declared = _Declared(definitions, on_run)


def definition_of(name: Any, default: str, *, agent: Any = None) -> StepDefinition:
    """The step of an agent, a node or a task that its framework calls `name`; `default` where it has no name.

    It belongs to the agent that is declared for it, else to the framework's of the name `agent`.
    """
    definition = _declared_or_new(_text(name) or default)
    if definition.agent is None and _text(agent):
        return replace(definition, agent=_text(agent))
    return definition


def _text(name: Any) -> str:
    return name.strip() if isinstance(name, str) else ""


def _declared_or_new(name: str) -> StepDefinition:
    definition = _declared.definitions.get(name)
    if definition is not None:
        with guard("noting a step", ours=False):
            _declared.on_run(name)
        return definition
    return registered_step(name) or StepDefinition(name, name)
