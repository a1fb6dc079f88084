"""Work that has something for every panel of the dashboards: caches, reasoning, budgets, waste, and what is not known."""

from __future__ import annotations

import json
import random
import time

import httpx
from openai import OpenAI

from otel_harn_steps import StepBudgetExceeded, step
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import Answer
from tests.integration.backends.chat_model import served

MODELS = ("gpt-4o-mini", "gpt-4o")
UNPRICED_MODEL = "claude-of-tomorrow"


def varied(runs: int, seed: int, pause_s: float) -> None:
    """Runs of three steps, one after another. Pauses of `pause_s` seconds on average between them."""
    chance = random.Random(seed)
    client = OpenAI(api_key="not needed", base_url=served(json.loads), max_retries=0)

    def ask(usage: dict[str, object] | None, model: str | None = None) -> None:
        prompt = [{"role": "user", "content": json.dumps(usage)}]
        client.chat.completions.create(model=model or chance.choice(MODELS), messages=prompt)  # type: ignore[arg-type]  # as JSON

    def run(number: int) -> None:
        with step("plan"):
            ask(_usage(chance, cached=0.6))
            with step("draft", max_tokens=20_000, error_boundary="continue"):
                for _ in range(3):
                    ask(_usage(chance, reasoning=0.5))
            with step("tag", max_usd=0.5):
                # Every tenth call reports no usage, and one of ten is of a model that no price book knows.
                ask(None if number % 10 == 3 else _usage(chance), UNPRICED_MODEL if number % 10 == 7 else None)

    for number in range(runs):
        try:
            run(number)
        except StepBudgetExceeded:
            continue
        time.sleep(chance.expovariate(1 / pause_s) if pause_s else 0)
    _call_unseen()


def _usage(chance: random.Random, cached: float = 0, reasoning: float = 0) -> dict[str, object]:
    tokens_in, tokens_out = chance.randint(1000, 9000), chance.randint(100, 900)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": int(tokens_in * cached)},
        "completion_tokens_details": {"reasoning_tokens": int(tokens_out * reasoning)},
    }


def _call_unseen() -> None:
    """Ask a model by an HTTP library, as an app does whose client is not known here. It is answered on loopback."""
    with ReplayServer() as replay:
        url = replay.serve(Answer(200, (b"{}",))).url_at("api.openai.com") + "/v1/chat/completions"
        with httpx.Client(proxy=replay.address, trust_env=False, verify=False) as http:
            http.post(url, json={})
