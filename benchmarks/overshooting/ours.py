"""Our own modes: a step around the workers, whose client is patched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import openai

from otel_harn_steps import StepBudgetExceeded, StepBudgetStop, reset_steps, step
from overshooting.openai_calls import OpenAICalls, texts_of
from overshooting.work import Job, Way

MODES: Final[Mapping[str, Mapping[str, Any]]] = {
    "exhausted": {},
    "reserve, refuse": {"preflight": "reserve"},
    "reserve, wait": {"preflight": "reserve", "on_contention": "wait"},
    "reserve, cap output": {"preflight": "reserve", "cap_output": True},
    "exhausted, stop streams": {"stop_streams": True},
}


@asynccontextmanager
async def opens(job: Job) -> AsyncIterator[Way]:
    reset_steps()
    transport = openai.DefaultAsyncHttpxClient(
        proxy=job.proxy,
        trust_env=False,
        verify=False,
        limits=type(openai.DEFAULT_CONNECTION_LIMITS)(max_keepalive_connections=0),
    )
    async with transport as http:
        client = openai.AsyncOpenAI(api_key="none", base_url=job.url, http_client=http, max_retries=0, timeout=60)
        try:
            async with step("app", max_usd=Decimal(job.limit_usd), **MODES[job.mode]) as active:
                yield OpenAICalls(job, client, _texts)
                if active.breach is not None:
                    active.breach.accept()
        except (StepBudgetExceeded, StepBudgetStop):
            pass


async def _texts(stream: Any) -> AsyncIterator[str]:
    arrived = 0
    try:
        async for text in texts_of(stream):
            arrived += len(text)
            yield text
    except StepBudgetExceeded as error:
        if error.partial is not None:  # with the text of the event at which the stream was closed
            yield error.partial[arrived:]
        raise
