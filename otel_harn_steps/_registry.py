"""Steps declared by function name, for the whole process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_harn_steps._definition import StepDefinition, definition_from_dict

# Assignments to a dict are atomic, and a definition is replaced whole: no lock is needed.
_definitions: dict[str, StepDefinition] = {}


def register_step(function: str, definition: StepDefinition) -> None:
    """Declare that the function called `function` is a step. Registering it again replaces the definition whole.

    Raises:
        TypeError: `function` is not a string, or `definition` is not a `StepDefinition`.
    """
    if not isinstance(function, str):
        raise TypeError(f"function must be a string, not {type(function).__name__}")
    if not isinstance(definition, StepDefinition):
        raise TypeError(f"definition must be a StepDefinition, not {type(definition).__name__}")
    _definitions[function] = definition if definition.function == function else replace(definition, function=function)


def register_step_from_dict(function: str, metadata: Mapping[str, object]) -> None:
    """Declare a step from the dict form of configuration files: `{"name", "model", "error_boundary", "budget": {...}}`.

    A bad value is ignored with one WARNING that names its key and the reason.

    Raises:
        TypeError: `function` is not a string, or `metadata` is not a mapping.
    """
    register_step(function, definition_from_dict(function, metadata))


def registered_step(function: str) -> StepDefinition | None:
    """The definition of the function, None where it is not a step."""
    return _definitions.get(function)


def forget_registered_steps() -> None:
    """Empty the registry."""
    _definitions.clear()
