"""Putting the engine's wrappers into client libraries, and taking them out again."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import wrapt

from otel_harn_steps._engine import Switch, wrapper_for
from otel_harn_steps._guard import guard
from otel_harn_steps._providers import PROVIDERS
from otel_harn_steps._reading import Provider, Seam

_logger = logging.getLogger("otel_harn_steps")


@dataclass(frozen=True, slots=True)
class _Patch:
    owner: Any
    name: str
    original: Any
    wrapper: Any
    was_inherited: bool

    def undo(self) -> None:
        """Put the original back. Where somebody has wrapped our wrapper, it stays below theirs and passes through."""
        if vars(self.owner).get(self.name) is not self.wrapper:
            return
        if self.was_inherited:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


_patches: dict[Seam, _Patch] = {}
_hooked: set[tuple[str, str]] = set()
_is_wanted = False


def patch_clients(providers: Iterable[Provider] = PROVIDERS) -> None:
    """Patch every client library: at once if it is imported, else when it is."""
    global _is_wanted  # noqa: PLW0603 -- import hooks can not be removed; this tells them
    _is_wanted = True
    for provider in providers:
        for module in {seam.module for seam in provider.seams}:
            if (provider.name, module) in _hooked:
                continue
            _hooked.add((provider.name, module))
            wrapt.register_post_import_hook(functools.partial(_patch_module, provider, module), module)
        _patch_imported(provider)


def unpatch_clients() -> None:
    """Put every original back."""
    global _is_wanted  # noqa: PLW0603 -- as above
    _is_wanted = False
    for patch in _patches.values():
        patch.undo()
    _patches.clear()


def _patch_imported(provider: Provider) -> None:
    import sys  # noqa: PLC0415 -- read at the moment of patching

    for module in {seam.module for seam in provider.seams}:
        if module in sys.modules:
            _patch_module(provider, module, sys.modules[module])


def _patch_module(provider: Provider, name: str, module: Any) -> None:
    if not _is_wanted:
        return
    for seam in provider.seams:
        if seam.module == name and seam not in _patches:
            with guard(f"patching {seam.module}.{seam.target}"):
                _patch(provider, seam, module)


def _patch(provider: Provider, seam: Seam, module: Any) -> None:
    *path, name = seam.target.split(".")
    owner = functools.reduce(lambda found, each: getattr(found, each, None), path, module)
    original = getattr(owner, name, None)
    if owner is None or original is None:
        if not seam.is_optional:
            _logger.warning(
                "%s.%s is missing in the installed version of %s: its calls are not billed to steps",
                seam.module,
                seam.target,
                provider.name,
            )
        return
    own = vars(owner).get(name)
    wrapper = wrapt.FunctionWrapper(original if own is None else own, wrapper_for(provider, seam.kind))
    setattr(owner, name, wrapper)
    _patches[seam] = _Patch(owner, name, own, wrapper, was_inherited=own is None)


__all__ = ["Switch", "patch_clients", "unpatch_clients"]
