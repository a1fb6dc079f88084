"""The HTTP libraries that are watched for calls to models: what looks at their requests is imported when one is."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Final

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher

HTTP_MODULES: Final = ("httpx", "httpx2", "aiohttp", "requests", "urllib3.poolmanager", "urllib3.connectionpool")


def patch_http_libraries(patcher: Patcher) -> None:
    """Look at the requests of every HTTP library: now if it is imported, else once it is."""
    for name in HTTP_MODULES:
        patcher.when_imported(name, partial(_patch, patcher))


def _patch(patcher: Patcher, module: ModuleType) -> None:
    with guard("patching an HTTP library"):
        from otel_harn_steps._instrument.unseen import patch_library  # noqa: PLC0415 -- imports what bills calls

        patch_library(patcher, module)
