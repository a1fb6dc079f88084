"""What is declared about a framework's step: by its name, in the file or with `register_step`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.registry import declare_limits, registered_step


def _ignore(_name: str) -> None:
    """Nobody wants to know."""


class _Named:
    definitions: Mapping[str, StepDefinition] = {}
    on_run: Callable[[str], object] = staticmethod(_ignore)


def use_definitions(definitions: Mapping[str, StepDefinition], on_run: Callable[[str], object] = _ignore) -> None:
    """Give the framework's steps of these names what is declared. `on_run` is told the name of each that runs."""
    for definition in definitions.values():
        declare_limits(definition)
    _Named.definitions = definitions
    _Named.on_run = staticmethod(on_run)


def forget_definitions() -> None:
    """Declare nothing any more."""
    use_definitions({})


def definition_of(name: Any, otherwise: str) -> StepDefinition:
    """The step of an agent, a node or a task that its framework calls `name`; `otherwise` where it has no name."""
    name = name.strip() if isinstance(name, str) else ""
    name = name or otherwise
    definition = _Named.definitions.get(name)
    if definition is not None:
        with guard("noting a step", ours=False):
            _Named.on_run(name)
        return definition
    return registered_step(name) or StepDefinition(name, name)
