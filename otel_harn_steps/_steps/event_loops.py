"""Event loops of asyncio: whether one runs here, and calling something in one from another thread."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable


def is_in_a_loop() -> bool:
    """Whether an event loop of asyncio runs in this thread."""
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def tell(loop: AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call it in another thread's event loop."""
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(call)
