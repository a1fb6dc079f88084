"""The wrappers in the frameworks: in place once the app imports them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher, owner_in
from otel_harn_steps.frameworks import crewai, langgraph, openai_agents, pydantic_ai
from otel_harn_steps.frameworks._source import Source

_logger = logging.getLogger("otel_harn_steps")

SOURCES: Final = {
    source.name: source for source in (openai_agents.SOURCE, langgraph.SOURCE, pydantic_ai.SOURCE, crewai.SOURCE)
}


_warned: set[str] = set()
"""The frameworks of which a WARNING has named a function as missing."""


def patch_frameworks(patcher: Patcher, frameworks: Iterable[str]) -> None:
    """Make the agents of these frameworks steps: at once if they are imported, else once they are."""
    for source in (SOURCES[name] for name in frameworks):
        for function in source.wrappers:
            patcher.when_imported(function.partition(":")[0], functools.partial(_patch, patcher, source, function))


def _patch(patcher: Patcher, source: Source, function: str, module: Any) -> None:
    with guard(f"patching {function}"):
        target = function.partition(":")[2]
        owner = owner_in(module, target)
        if owner is not None:
            patcher.wrap(owner, target.rpartition(".")[2], source.wrappers[function])
        elif source.name not in _warned:
            _warned.add(source.name)
            _warn(source, function.replace(":", "."))


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
