"""An app that does what apps do with steps, at random."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import openai

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, StepEscalated, step
from tests.soak.provider import MODEL, HandedOut, Provider

OF_THE_APP = (
    StepBudgetExceeded,
    StepEscalated,
    openai.OpenAIError,
    httpx.HTTPError,
    json.JSONDecodeError,
    TimeoutError,
)
"""What may be raised: budgets, and what the client makes of faults."""


class App:
    """Does what apps do with steps, at random."""

    def __init__(self, handed_out: HandedOut, seed: int) -> None:
        self._choose = random.Random(seed)
        self._handed_out = handed_out
        transport = Provider(handed_out, seed)
        given: dict[str, Any] = {"api_key": "none", "base_url": "http://provider.invalid/v1"}
        retries = seed % 2
        self._client = openai.OpenAI(**given, max_retries=retries, http_client=httpx.Client(transport=transport))
        self.async_client = openai.AsyncOpenAI(
            **given, max_retries=retries, http_client=httpx.AsyncClient(transport=transport)
        )
        self._left_open = deque[Any](maxlen=8)

    def options(self) -> dict[str, Any]:
        """Of a step: with a budget or none, with every boundary."""
        choose = self._choose
        options: dict[str, Any] = {"error_boundary": choose.choice((None, "continue", "escalate"))}
        if choose.random() < 0.5:
            options["max_tokens"] = choose.randint(20, 300)
        if choose.random() < 0.3:
            options["max_usd"] = choose.randint(20, 300) / 1e6
        if choose.random() < 0.3:
            options["scope"] = "tree"
        return {**options, "detail": str(choose.random())}

    def name(self) -> str:
        """Of a step: one of few, or one that nobody has had."""
        choose = self._choose
        return f"ticket {choose.random()}" if choose.random() < 0.2 else choose.choice(("plan", "search", "write"))

    def chat(self, **options: Any) -> Any:
        """A call."""
        return self._client.chat.completions.create(model=MODEL, messages=[], **options)

    def work(self) -> None:
        """One thing that an app does."""
        choose = self._choose
        kind = choose.choice(("calls", "calls", "stream", "left", "late", "nested", "generator", "by hand", "outside"))
        if kind == "outside":
            self.chat()
        elif kind == "late":
            with step(self.name(), **self.options()):
                stream = self.chat(stream=True)
            for _ in stream:
                pass
        elif kind == "nested":
            with step(self.name(), **self.options()), step(self.name(), **self.options()):
                self.chat()
                self.chat()
        elif kind == "generator":
            for _ in step(self.name(), **self.options())(self._generate)():
                self.chat()
                if choose.random() < 0.3:
                    break
        else:
            with step(self.name(), **self.options()):
                self._in_step(kind)

    def _in_step(self, kind: str) -> None:
        choose = self._choose
        if kind == "by hand":
            counts = choose.randint(1, 50), choose.randint(1, 50)
            self._handed_out.add(*counts)
            harn.record_llm_usage(MODEL, *counts)
            return
        for _ in range(choose.randint(1, 4)):
            if kind == "calls":
                self.chat()
                continue
            stream = self.chat(stream=True)
            if kind == "left":
                next(iter(stream), None)
                self._left_open.append(stream)
            else:
                for _ in stream:
                    pass

    def _generate(self) -> Iterator[None]:
        for _ in range(3):
            self.chat()
            yield

    async def work_async(self) -> None:
        """One thing that an asynchronous app does."""
        choose = self._choose
        create = self.async_client.chat.completions.create
        async with step(self.name(), **self.options()):
            for _ in range(choose.randint(1, 3)):
                if choose.random() < 0.3:
                    async with asyncio.timeout(0.004):
                        await create(model=MODEL, messages=[])
                elif choose.random() < 0.5:
                    stream: Any = await create(model=MODEL, messages=[], stream=True)
                    async for _ in stream:
                        if choose.random() < 0.1:
                            break
                    await stream.close()
                else:
                    await asyncio.gather(*(create(model=MODEL, messages=[]) for _ in range(2)), return_exceptions=True)

    def close(self) -> None:
        """Let go of what was left open."""
        self._left_open.clear()
        self._client.close()
