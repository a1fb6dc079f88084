"""Callbacks for modules that are imported later.

wrapt has such hooks, but takes as long to import as all of this package, in programs that may never call a model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]

_waiting: dict[str, list[Callback]] = {}
"""By module, the callbacks to call when it is imported."""


def when_imported(module: str, callback: Callback) -> None:
    """Call `callback` with the module: now if it is imported, else once it is."""
    imported = sys.modules.get(module)
    if imported is not None:
        callback(imported)
        return
    _waiting.setdefault(module, []).append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget_import(module: str, callback: Callback) -> None:
    """Call `callback` no more."""
    callbacks = _waiting.get(module, [])
    if callback in callbacks:
        callbacks.remove(callback)


class _Finder:
    """Lets others find a module, and has it loaded by a loader that calls back."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find. None for every module that nobody waits for."""
        if not _waiting.get(name):
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec, spec.loader)  # type: ignore[assignment]  # delegates what it is not
                return spec
        return None


class _Loader:
    """Loads a module by its own loader, which the module has as it always had, and then calls back."""

    def __init__(self, spec: ModuleSpec, loader: Any) -> None:
        self._spec = spec
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        self._spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        for callback in _waiting.pop(self._spec.name, ()):
            callback(module)


_finder = _Finder()
