"""Putting the wrappers into the frameworks, when the app imports them, and taking them out again."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import wrapt

from otel_harn_steps._calls.patches import owner_in
from otel_harn_steps._guard import guard
from otel_harn_steps.frameworks import crewai, langgraph, openai_agents, pydantic_ai
from otel_harn_steps.frameworks._source import Seam, Source

_logger = logging.getLogger("otel_harn_steps")

SOURCES: Final = {
    source.name: source for source in (openai_agents.SOURCE, langgraph.SOURCE, pydantic_ai.SOURCE, crewai.SOURCE)
}


class _Ours(wrapt.FunctionWrapper[Any, Any]):
    """Our wrapper, told apart from those of others by its type."""


class _Patched(NamedTuple):
    owner: Any
    name: str
    wrapper: _Ours
    is_own: bool


_on: set[str] = set()
_patched: list[_Patched] = []
_hooked: set[Seam] = set()
_warned: set[str] = set()


def patch_frameworks(frameworks: Iterable[str]) -> None:
    """Make the agents of these frameworks steps, and no others: at once if imported, else when they are."""
    names = set(frameworks)
    if _on - names:
        _unpatch()
    _on.update(names)
    for name in names:
        for seam in SOURCES[name].seams:
            if seam not in _hooked:
                _hooked.add(seam)
                wrapt.register_post_import_hook(functools.partial(_imported, SOURCES[name], seam), seam.module)
            elif seam.module in sys.modules:
                _imported(SOURCES[name], seam, sys.modules[seam.module])


def _unpatch() -> None:
    """Put every function back. Where somebody has wrapped our wrapper, it stays below theirs, and passes through."""
    _on.clear()
    _warned.clear()
    for patched in reversed(_patched):
        if vars(patched.owner).get(patched.name) is not patched.wrapper:
            continue
        if patched.is_own:
            setattr(patched.owner, patched.name, patched.wrapper.__wrapped__)
        else:
            delattr(patched.owner, patched.name)
    _patched.clear()


def _imported(source: Source, seam: Seam, module: Any) -> None:
    if source.name in _on:  # import hooks can not be removed
        with guard(f"patching {seam.module}.{seam.target}"):
            _patch(source, seam, module)


def _patch(source: Source, seam: Seam, module: Any) -> None:
    owner, name = owner_in(module, seam.target), seam.target.rpartition(".")[2]
    if owner is None:
        _warn(source, seam)
        return
    original = inspect.getattr_static(owner, name)
    if isinstance(original, _Ours):
        return
    wrapper = _Ours(original, seam.wrapper, enabled=lambda: source.name in _on)
    _patched.append(_Patched(owner, name, wrapper, name in vars(owner)))
    setattr(owner, name, wrapper)


def _warn(source: Source, seam: Seam) -> None:
    if source.name in _warned:
        return
    _warned.add(source.name)
    from importlib import metadata  # noqa: PLC0415 -- costs more than all the rest, and is hardly ever needed

    try:
        version = metadata.version(source.package)
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    _logger.warning(
        "%s.%s is missing in %s %s: what this framework runs is not, or not all, made into steps",
        seam.module,
        seam.target,
        source.package,
        version,
    )
