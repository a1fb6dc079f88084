"""Steps declared by function name, and the limits of all that are declared, for the whole process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from otel_harn_steps._steps.budget import LIMITS
from otel_harn_steps._steps.definition import StepDefinition, definition_from_dict

# Assignments to a dict are atomic, and a definition is replaced whole: no lock is needed.
_definitions: dict[str, StepDefinition] = {}
_limits: dict[tuple[str, str], None] = {}
_MOST_LIMITS: Final = 10_000  # names made at run time must not fill the memory
_watch: Callable[[str, str], None] | None = None


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
    declare_limits(definition)


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


def declare_limits(definition: StepDefinition) -> None:
    """Remember which limits a step has that may run later, of the first 10,000. The watcher gets each of them once."""
    for limit in LIMITS:
        declared = definition.name, limit
        if getattr(definition.budget, limit) is not None and declared not in _limits and len(_limits) < _MOST_LIMITS:
            _limits[declared] = None
            if _watch is not None:
                _watch(*declared)


def watch_limits(watch: Callable[[str, str], None] | None) -> None:
    """Call `watch` with the step's name and the limit: for all that are declared, and for each that will be."""
    global _watch  # noqa: PLW0603 -- one watcher, for all of the process
    _watch = watch
    if watch is not None:
        for declared in list(_limits):
            watch(*declared)


def forget_registered_steps() -> None:
    """Empty the registry."""
    _definitions.clear()
    _limits.clear()
