"""What a framework's file tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of the wrapped function: with it, the instance it is bound to, and the arguments."""


def theirs(module: str, name: str) -> Any:
    """A class of the framework, which is running when this is asked for."""
    return getattr(import_module(module), name)


@dataclass(frozen=True, slots=True)
class Seam:
    """A function of the framework that is wrapped.

    Attributes:
        module: the module that has it, under whose name the framework looks it up.
        target: its name there, "run" or "Agent.run".
        wrapper: what is called instead.
    """

    module: str
    target: str
    wrapper: Wrapper


@dataclass(frozen=True, slots=True)
class Source:
    """A framework whose agents are steps.

    Attributes:
        name: the word in the configuration.
        package: how it is called where it is installed, for messages about its version.
        seams: what is wrapped.
    """

    name: str
    package: str
    seams: tuple[Seam, ...]
