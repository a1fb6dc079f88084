"""The work by way of the `openai` client, whatever holds its budget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai

from overshooting.work import Job


class OpenAICalls:
    """A way whose calls are those of an `openai` client."""

    def __init__(self, job: Job, client: openai.AsyncOpenAI, texts: Callable[[Any], AsyncIterator[str]]) -> None:
        """`texts` reads the texts of a stream's chunks."""
        self._request, self._completions, self._texts = job.request, client.chat.completions, texts

    async def call(self) -> None:
        await self._completions.create(**self._request)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[str]]:
        stream = await self._completions.create(**self._request, stream=True)
        try:
            yield self._texts(stream)
        finally:
            await stream.close()


async def texts_of(stream: Any) -> AsyncIterator[str]:
    """The texts of the chunks."""
    async for chunk in stream:
        yield (chunk.choices and chunk.choices[0].delta.content) or ""
