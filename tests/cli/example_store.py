"""The store that the page on analysis shows: forty runs of an agent, of which the later ones are of a new revision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otel_harn_steps._cost.price_book import cost_picousd
from otel_harn_steps._cost.usage import Usage
from tests.cli.stores import Written

BEGAN_S = 1_795_000_000
_OLD, _NEW = "7f3a91c2a0b1c2d3", "9b2c44d0e1f2a3b4"


def write_example(folder: Path) -> None:
    """Write the store."""
    for number in range(40):
        run_id = {0: _OLD, 39: _NEW}.get(number, f"{number:02}" * 8)
        is_new = number >= 20
        run = Written(folder, run_id=run_id, began_s=BEGAN_S + 3600 * number, name="newsletter.py")
        run.start("plan")
        run.start("plan/search", 60)
        labels = {"revision": "def" if is_new else "abc"}
        for n in range(6 if is_new else 3):
            _call(run, "plan", n, ("openai", "gpt-5"), labels=labels, tokens=(4200 if is_new else 2000, 500, 0))
        for n in range(21 if number == 30 else number % 3 + 2):
            tokens = (5000, 400, 0 if is_new else 3000)
            _call(run, "plan/search", 60 + n, ("anthropic", "claude-sonnet-4-5"), labels=labels, tokens=tokens)
        run.end("plan/search", 100)
        run.end("plan", 101)
        run.finish(110)


def _call(
    run: Written, path: str, at: float, model: tuple[str, str], *, labels: dict[str, str], tokens: tuple[int, int, int]
) -> None:
    provider, name = model
    inputs, outputs, cached = tokens
    used: dict[str, Any] = {"input_tokens": inputs, "output_tokens": outputs, "cache_read_tokens": cached}
    cost = cost_picousd(provider, name, Usage(inputs, outputs, cached), (), BEGAN_S)
    named: dict[str, Any] = {"provider": provider, "model": name, "requested_model": name, "labels": labels}
    run.call(path, at, price_book="genai-prices 0.2.3", cost_picousd=cost, **named, **used)
