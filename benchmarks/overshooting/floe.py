"""floe-guard: its OpenAI adapter, and its parts for a request of known size and for streams, as it documents them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from floe_guard import BudgetGuard, StreamGuard
from floe_guard.integrations.openai import guarded_acompletion
from floe_guard.stream import approx_tokens

from overshooting.work import Job, Way


@asynccontextmanager
async def opens(job: Job) -> AsyncIterator[Way]:
    guard = BudgetGuard(float(job.limit_usd), on_block=lambda _spent, _limit: None)
    async with openai.AsyncOpenAI(api_key="none", base_url=job.url, max_retries=0, timeout=60) as client:
        yield (_Adapter if job.mode == "adapter" else _BySize)(job, guard, client)


class _Adapter:
    """`guarded_acompletion`, which expects a call to cost as much as the last."""

    def __init__(self, job: Job, guard: BudgetGuard, client: openai.AsyncOpenAI) -> None:
        self.job, self.guard, self.client = job, guard, client

    async def call(self) -> None:
        await guarded_acompletion(self.guard, self.client, **self.job.request)

    def stream(self) -> Any:
        raise NotImplementedError("it refuses streams")


class _BySize(_Adapter):
    """`reserve(estimate_call(...))` and `StreamGuard`. How long a prompt is, its own `approx_tokens` says."""

    def __init__(self, job: Job, guard: BudgetGuard, client: openai.AsyncOpenAI) -> None:
        super().__init__(job, guard, client)
        self._prompt_tokens = approx_tokens(job.prompt)

    async def call(self) -> None:
        answered, held = await self._sent()
        usage = answered.usage
        self.guard.settle(self.job.model, usage.prompt_tokens, usage.completion_tokens, reserved=held)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[str]]:
        stream, held = await self._sent(stream=True, stream_options={"include_usage": True})
        try:
            with StreamGuard(self.guard, self.job.model, prompt_tokens=self._prompt_tokens, reserved=held) as guarded:
                yield _texts(stream, guarded)
        finally:
            await stream.close()

    async def _sent(self, **options: Any) -> tuple[Any, Any]:
        expected = self.guard.estimate_call(self.job.model, self._prompt_tokens, self.job.max_tokens or 0)
        held = self.guard.reserve(expected)
        try:
            return await self.client.chat.completions.create(**self.job.request, **options), held
        except BaseException:
            self.guard.release(held)
            raise


async def _texts(stream: Any, guarded: StreamGuard) -> AsyncIterator[str]:
    async for chunk in stream:
        text = (chunk.choices and chunk.choices[0].delta.content) or ""
        yield text
        if text:
            guarded.feed_text(text)
        if chunk.usage is not None:
            usage = chunk.usage
            guarded.finish(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
