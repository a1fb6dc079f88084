"""Waiting until something has changed, in a thread or in a coroutine of asyncio."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event
from typing import Any

WhenChanged = Callable[[Callable[[], None]], Callable[[], None]]
"""Calls what it is given when something has changed; returns what takes that back."""


def wait_for_change(when_changed: WhenChanged, seconds: float) -> None:
    """Wait until something has changed, and at most so long."""
    changed = Event()
    forget = when_changed(changed.set)
    try:
        changed.wait(max(0.0, seconds))
    finally:
        forget()


async def wait_for_change_async(when_changed: WhenChanged, seconds: float) -> None:
    """As `wait_for_change`, in an event loop of asyncio."""
    import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    forget = when_changed(tell)
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await changed.wait()
    except TimeoutError:
        return
    finally:
        forget()


def is_in_a_loop() -> bool:
    """Whether an event loop of asyncio runs in this thread."""
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
