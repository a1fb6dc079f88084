"""pydantic-ai's `UsageLimits` in dollars. All runs share one `RunUsage`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import openai
from pydantic_ai import Agent, RunUsage, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from overshooting.work import Job, Way


@asynccontextmanager
async def opens(job: Job) -> AsyncIterator[Way]:
    limits = UsageLimits(cost_limit=Decimal(job.limit_usd), request_limit=None)
    async with openai.AsyncOpenAI(api_key="none", base_url=job.url, max_retries=0, timeout=60) as client:
        yield Runs(job, client, usage=RunUsage(), usage_limits=limits)


class Runs:
    """A run of the agent for each call.

    Args:
        capabilities: of the agent.
        shared: what each run gets.
    """

    def __init__(self, job: Job, client: openai.AsyncOpenAI, *capabilities: Any, **shared: Any) -> None:
        model = OpenAIChatModel(job.model, provider=OpenAIProvider(openai_client=client))
        settings = ModelSettings() if job.max_tokens is None else ModelSettings(max_tokens=job.max_tokens)
        self._agent = Agent(model, model_settings=settings, capabilities=capabilities)
        self._prompt, self._shared = job.prompt, shared

    async def call(self) -> None:
        await self._agent.run(self._prompt, **self._shared)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[str]]:
        async with (
            self._agent.run_stream(self._prompt, **self._shared) as run,
            aclosing(run.stream_text(delta=True, debounce_by=None)) as texts,
        ):
            yield texts
