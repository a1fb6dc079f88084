"""Give Phoenix our prices: it takes no dollars from spans, and prices tokens by a table of its own, which can grow.

    python examples/phoenix_prices.py http://127.0.0.1:6006 gpt-5-mini together:meta-llama/Llama-3.3-70B-Instruct-Turbo

Do it before the spans come, and let the app run with `emit = ["phoenix"]`: Phoenix does not price a span again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

CREATE = "mutation ($input: CreateModelMutationInput!) { createModel(input: $input) { model { name } } }"
# Phoenix's types of tokens, by our price keys.
TYPES = {
    "input_mtok": ("input", "PROMPT"),
    "output_mtok": ("output", "COMPLETION"),
    "cache_read_mtok": ("cache_read", "PROMPT"),
    "cache_write_mtok": ("cache_write", "PROMPT"),
    "web_searches_kcount": ("web_search", "PROMPT"),
}
PER_MILLION = {"mtok": 1, "kcount": 1000}


def costs(rates: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The list prices of a model, as Phoenix takes them: it knows no tiers of a rate."""
    for key, (token_type, kind) in TYPES.items():
        rate = rates.get(key, "0" if key in {"input_mtok", "output_mtok"} else None)
        if rate is not None:
            base = float(rate["base"] if isinstance(rate, dict) else rate)
            per_million = base * PER_MILLION[key.rpartition("_")[2]]
            yield {"tokenType": token_type, "costPerMillionTokens": per_million, "kind": kind}


def give(phoenix: str, models: list[str]) -> list[str]:
    """Add the prices of the models to Phoenix's table. Returns what was not added, and why."""
    asked = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-m", "otel_harn_steps.cli", "prices", *models, "--json"],
        stdout=subprocess.PIPE,
        check=False,  # 1: some of them have no price
    )
    left_out = []
    for each in json.loads(asked.stdout):
        if each["rates"] is None:
            left_out.append(f"{each['asked']}: no price is known")
            continue
        name = each["asked"].partition(":")[2] or each["asked"]
        price = {"name": name, "namePattern": f"^{re.escape(name)}$", "costs": list(costs(each["rates"]["list"]))}
        body = json.dumps({"query": CREATE, "variables": {"input": price}}).encode()
        request = Request(f"{phoenix}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 -- as given
        with urlopen(request, timeout=30) as answer:  # noqa: S310 -- as given
            problems = json.load(answer).get("errors") or []
        left_out += [f"{each['asked']}: {problem['message']}" for problem in problems]
    return left_out


if __name__ == "__main__":
    sys.exit("\n".join(give(sys.argv[1].rstrip("/"), sys.argv[2:])) or 0)
