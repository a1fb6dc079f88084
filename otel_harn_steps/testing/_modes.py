"""What lets one text drive sync and async clients alike.

A way to call is written once, as a coroutine over a `Mode`. With a sync client it never suspends, so it runs without an
event loop, in the caller's own thread and context, as sync code does.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Mode(Protocol):
    """Sync or async: how to await, iterate, enter and run."""

    @property
    def name(self) -> str: ...

    async def settle(self, value: Any) -> Any:
        """The value itself, or what it awaits to."""

    def each(self, iterable: Any) -> AsyncIterator[Any]:
        """Iterate as `for` or `async for` would."""

    async def pull(self, iterator: Any) -> Any:
        """One `next`. The end raises `StopAsyncIteration`."""

    def entered(self, manager: Any) -> Entered:
        """Enter as `with` or `async with` would."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, in the context of the caller."""


class Entered(Protocol):
    """An async context manager over either kind of manager."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, kind: object, error: object, trace: object) -> bool | None: ...


class SyncMode:
    name = "sync"

    async def settle(self, value: Any) -> Any:
        return value

    def each(self, iterable: Any) -> AsyncIterator[Any]:
        return _Each(iter(iterable))

    async def pull(self, iterator: Any) -> Any:
        return await _Each(iterator).__anext__()

    def entered(self, manager: Any) -> Entered:
        return _EnteredSync(manager)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        work.close()
        raise AssertionError("sync work suspended: something in it is async")


class AsyncMode:
    """One event loop for all, so that clients can keep their connections."""

    name = "async"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    async def settle(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    def each(self, iterable: Any) -> AsyncIterator[Any]:
        return aiter(iterable)

    async def pull(self, iterator: Any) -> Any:
        return await anext(iterator)

    def entered(self, manager: Any) -> Entered:
        entered: Entered = manager
        return entered

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        # Without a context of its own a Runner uses the one in which it was made.
        return self._runner.run(work, context=contextvars.copy_context())

    def close(self) -> None:
        self._runner.close()


SYNC = SyncMode()


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away.

    httpcore waits for ever where a stream that was dropped is collected while its pool is locked by the next request.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Each:
    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __aiter__(self) -> _Each:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None


class _EnteredSync:
    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        return self._manager.__enter__()

    async def __aexit__(self, kind: object, error: object, trace: object) -> bool | None:
        swallowed: bool | None = self._manager.__exit__(kind, error, trace)
        return swallowed
