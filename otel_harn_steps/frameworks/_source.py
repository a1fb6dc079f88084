"""What a framework's file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from otel_harn_steps._patching.wrappers import Wrapper


def theirs(module: str, name: str) -> Any:
    """A class of the framework, which is running when a wrapper asks for it."""
    return getattr(import_module(module), name)


@dataclass(frozen=True, slots=True)
class Functions:
    """Functions of a package that have wrappers.

    Attributes:
        package: the name under which it is installed, for messages about its version.
        wrappers: by function, what is called instead. A function is "module:run" or "module:Agent.run"; the module is
            the one in which the framework looks the function up. One that not every version has ends in "?".
    """

    package: str
    wrappers: Mapping[str, Wrapper]


@dataclass(frozen=True, slots=True)
class Source:
    """A framework whose agents are steps.

    Attributes:
        name: the word in the configuration.
        steps: what makes its agents into steps.
        prompts: where the system prompt of one call of a model is known, which may have to tell what is left.
    """

    name: str
    steps: Functions
    prompts: Functions
