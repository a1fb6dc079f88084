"""pydantic-ai-harness's `SpendLimits`, in its strictest form: a response without a price is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import openai
from pydantic_ai_harness import SpendLimits
from pydantic_ai_harness.spend import Budget

from overshooting.pydantic_ai_limits import Runs
from overshooting.work import Job, Way


@asynccontextmanager
async def opens(job: Job) -> AsyncIterator[Way]:
    budget: Budget[None] = Budget(usd=Decimal(job.limit_usd), window="total")
    limits: SpendLimits[None] = SpendLimits(budgets=[budget], on_unpriced="raise")
    async with openai.AsyncOpenAI(api_key="none", base_url=job.url, max_retries=0, timeout=60) as client:
        yield Runs(job, client, limits)
