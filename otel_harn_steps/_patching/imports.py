"""Callbacks for modules that are imported later.

wrapt cannot remove an import hook, so it gets one for each module, which calls everyone who is still waiting.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType

import wrapt

Callback = Callable[[ModuleType], None]

_waiting: dict[str, list[Callback]] = {}
"""By module, the callbacks to call when it is imported. A module with a key has a hook of ours in wrapt."""


def when_imported(module: str, callback: Callback) -> None:
    """Call `callback` with the module: now if it is imported, else once it is."""
    imported = sys.modules.get(module)
    if imported is not None:
        callback(imported)
        return
    is_hooked = module in _waiting
    _waiting.setdefault(module, []).append(callback)
    if not is_hooked:
        wrapt.register_post_import_hook(functools.partial(_call_back, module), module)


def forget_import(module: str, callback: Callback) -> None:
    """Call `callback` no more."""
    callbacks = _waiting.get(module, [])
    if callback in callbacks:
        callbacks.remove(callback)


def _call_back(name: str, module: ModuleType) -> None:
    for callback in _waiting.pop(name, ()):
        callback(module)
