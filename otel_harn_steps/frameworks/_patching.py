"""The wrappers in the frameworks: in place once the app imports them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher, owner_in
from otel_harn_steps._patching.wrappers import Wrapper
from otel_harn_steps.frameworks import crewai, langgraph, openai_agents, pydantic_ai

_logger = logging.getLogger("otel_harn_steps")

SOURCES: Final = {
    source.name: source for source in (openai_agents.SOURCE, langgraph.SOURCE, pydantic_ai.SOURCE, crewai.SOURCE)
}


_warned: set[tuple[str, str]] = set()
"""The frameworks, and what is lacking there, of which a WARNING has named a function as missing."""

_LACKING_STEPS: Final = "what this framework runs is not, or not all, made into steps"
_LACKING_PROMPTS: Final = "not every model of this framework is told what is left of a budget"


def patch_frameworks(patcher: Patcher, frameworks: Iterable[str]) -> None:
    """Make the agents of these frameworks steps: at once if they are imported, else once they are."""
    for source in (SOURCES[name] for name in frameworks):
        for functions, lacking in ((source.steps, _LACKING_STEPS), (source.prompts, _LACKING_PROMPTS)):
            for function in functions.wrappers:
                warn = functools.partial(_warn, source.name, functions.package, lacking)
                patch = functools.partial(_patch, patcher, function, functions.wrappers[function], warn)
                patcher.when_imported(function.partition(":")[0], patch)


def _patch(patcher: Patcher, function: str, wrapper: Wrapper, warn: Callable[[str], None], module: Any) -> None:
    with guard(f"patching {function}"):
        target = function.partition(":")[2].removesuffix("?")
        owner = owner_in(module, target)
        if owner is not None:
            patcher.wrap(owner, target.rpartition(".")[2], wrapper)
        elif not function.endswith("?"):
            warn(function.replace(":", "."))


def _warn(name: str, package: str, lacking: str, function: str) -> None:
    if (name, lacking) in _warned:
        return
    _warned.add((name, lacking))
    from importlib import metadata  # noqa: PLC0415 -- costs more than all the rest, and is hardly ever needed

    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    _logger.warning("%s is missing in %s %s: %s", function, package, version, lacking)
