"""The wrappers in the frameworks: in place once the app imports them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher, Wrapper, owner_in
from otel_harn_steps.frameworks import crewai, langgraph, openai_agents, pydantic_ai
from otel_harn_steps.frameworks._source import Source

_logger = logging.getLogger("otel_harn_steps")

SOURCES: Final = {
    source.name: source for source in (openai_agents.SOURCE, langgraph.SOURCE, pydantic_ai.SOURCE, crewai.SOURCE)
}


def patch_frameworks(patcher: Patcher, frameworks: Iterable[str]) -> None:
    """Make the agents of these frameworks steps: at once if they are imported, else once they are."""
    for source in (SOURCES[name] for name in frameworks):
        patching = _Patching(patcher, source)
        for function in source.wrappers:
            module, _, target = function.partition(":")
            patcher.when_imported(module, functools.partial(patching.patch, target, source.wrappers[function]))


class _Patching:
    """One framework. Of what is missing in it, the first function is named in a WARNING."""

    def __init__(self, patcher: Patcher, source: Source) -> None:
        self._patcher = patcher
        self._source = source
        self._has_warned = False

    def patch(self, target: str, wrapper: Wrapper, module: Any) -> None:
        with guard(f"patching {module.__name__}.{target}"):
            owner = owner_in(module, target)
            if owner is not None:
                self._patcher.wrap(owner, target.rpartition(".")[2], wrapper)
            elif not self._has_warned:
                self._has_warned = True
                _warn(self._source, f"{module.__name__}.{target}")


def _warn(source: Source, function: str) -> None:
    from importlib import metadata  # noqa: PLC0415 -- costs more than all the rest, and is hardly ever needed

    try:
        version = metadata.version(source.package)
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    _logger.warning(
        "%s is missing in %s %s: what this framework runs is not, or not all, made into steps",
        function,
        source.package,
        version,
    )
