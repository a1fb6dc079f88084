"""The work: so many workers call as long as they may. Knows no budget and no client; a way to hold a budget has both.

Imports nothing but Python's own, because each way is run in an environment of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

MOST_CALLS_EACH: Final = 40
MOST_TRIES_EACH: Final = 200
MOST_TOGETHER: Final = 1_000


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        url: of the stand-in, as an OpenAI client takes it.
        proxy: by which it is reached. None: directly.
        limit_usd: what the workers may spend together, in dollars.
        mode: of the way to hold it.
        max_tokens: of output, that each call asks for. None: the calls set no maximum.
        reads: as many words of a stream are read before the task is cancelled. None: all.
        tries_again: whether a worker goes on whatever is raised.
    """

    url: str
    proxy: str | None
    limit_usd: str
    mode: str
    workers: int
    model: str
    prompt: str
    max_tokens: int | None
    streams: bool
    reads: int | None
    tries_again: bool

    @property
    def most_each(self) -> int:
        """How many calls a worker makes if nothing stops it."""
        return MOST_TRIES_EACH if self.tries_again else MOST_CALLS_EACH

    @property
    def most(self) -> int:
        """How many all of them make then."""
        return min(self.workers * self.most_each, MOST_TOGETHER)

    @property
    def request(self) -> dict[str, Any]:
        """The arguments of a chat completion."""
        asked: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": self.prompt}]}
        return asked if self.max_tokens is None else {**asked, "max_tokens": self.max_tokens}


@dataclass
class Report:
    """What came of it.

    Attributes:
        streamed: of each stream, how many words the app had read when it ended.
        errors: how often each was raised where the app calls.
    """

    streamed: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


class Way(Protocol):
    """Calls a model under one budget, which all calls share."""

    async def call(self) -> None: ...

    def stream(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """A stream's pieces of text."""
        ...


Opens = Callable[[Job], AbstractAsyncContextManager[Way]]


async def done(job: Job, opens: Opens) -> Report:
    """Do it, in asyncio."""
    async with opens(job) as way:
        app = _App(job, way)
        await asyncio.gather(*(app.work() for _ in range(job.workers)), return_exceptions=True)
        return app.report


class _App:
    def __init__(self, job: Job, way: Way) -> None:
        self.job, self.way, self.report = job, way, Report()
        self._made = 0

    async def work(self) -> None:
        for _ in range(self.job.most_each):
            if self._made == self.job.most:
                return
            self._made += 1
            try:
                await (self._stream() if self.job.streams else self.way.call())
            except BaseException as error:
                self.report.errors[named(error)] += 1
                if not (self.job.tries_again and isinstance(error, Exception)):  # as frameworks do
                    raise

    async def _stream(self) -> None:
        task = asyncio.create_task(self._read())
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise

    async def _read(self) -> None:
        async with self.way.stream() as texts:
            words = 0
            try:
                async for text in texts:
                    words += len(text.split())
                    if self.job.reads is not None and words >= self.job.reads:
                        asyncio.current_task().cancel()  # type: ignore[union-attr]
                        await asyncio.sleep(0)
            finally:
                self.report.streamed.append(words)


def named(error: BaseException) -> str:
    """The type of an error and, where a server said it, the type that it named."""
    said = getattr(error, "type", None)
    return type(error).__name__ if said is None else f"{type(error).__name__}: {said}"
