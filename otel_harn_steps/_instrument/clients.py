"""The engine's wrappers in the client libraries."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

from otel_harn_steps._calls.client import ClientAdapter, Seam
from otel_harn_steps._calls.engine import wrapper_for
from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher, owner_in
from otel_harn_steps._steps.active import current_account

_logger = logging.getLogger("otel_harn_steps")
_warned: set[tuple[str, str]] = set()
"""The functions that a WARNING has named as missing."""


def _filled_in() -> dict[str, Any]:
    """What the engine adds to a call that lacks it: the step's default model."""
    active = current_account()
    model = None if active is None else active.definition.model
    return {} if model is None else {"model": model}


def patch_clients(patcher: Patcher, adapters: Sequence[ClientAdapter]) -> None:
    """Patch every client library: at once if it is imported, else once it is."""
    for adapter in adapters:
        for module in dict.fromkeys(seam.module for seam in adapter.seams):
            patcher.when_imported(module, functools.partial(_patch_module, patcher, adapter, module))


def _patch_module(patcher: Patcher, adapter: ClientAdapter, name: str, module: Any) -> None:
    for seam in adapter.seams:
        if seam.module == name:
            with guard(f"patching {seam.module}.{seam.target}"):
                _patch(patcher, adapter, seam, module)


def _patch(patcher: Patcher, adapter: ClientAdapter, seam: Seam, module: Any) -> None:
    owner = owner_in(module, seam.target)
    if owner is not None:
        name, package = seam.target.rpartition(".")[2], seam.module.partition(".")[0]
        patcher.wrap_innermost(owner, name, wrapper_for(adapter, seam), package, _filled_in)
    elif not seam.is_optional and (seam.module, seam.target) not in _warned:
        _warned.add((seam.module, seam.target))
        _logger.warning(
            "%s.%s is missing in the installed version of %s: its calls are not billed to steps",
            seam.module,
            seam.target,
            adapter.name,
        )
