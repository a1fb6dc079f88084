"""Prices of the user's own, from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otel_harn_steps._cost.list_prices import knows_provider
from otel_harn_steps._cost.price_book import checked_rates
from otel_harn_steps.store._repricing import OwnPrices


def read_prices(path: str) -> OwnPrices:
    """The `prices` and `models` of a configuration file, or JSON that has rates by model.

    Raises:
        OSError: it cannot be read.
        ValueError: there is a mistake in it, or neither. The message names the file.
    """
    if path.endswith(".toml"):
        from otel_harn_steps.config._loading import load  # noqa: PLC0415 -- an extra

        loaded = load(path)
        if loaded.problems:
            raise ValueError("\n".join(map(str, loaded.problems)))
        options = loaded.plan.options
        found = OwnPrices(prices=options.get("prices", {}), models=options.get("models", {}))
    else:
        try:
            found = OwnPrices(prices=_by_model(json.loads(Path(path).read_text(encoding="utf-8"))))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
    if not found.prices and not found.models:
        raise ValueError(f"{path}: there are no prices in it")
    return found


def _by_model(values: Any) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise TypeError("must be an object of rates by model")
    for model, rates in values.items():
        checked_rates(f"[{model!r}]", rates)
    return values


def provider_and_model(given: str) -> tuple[str | None, str]:
    """`openai:gpt-5-nano` in its parts. Names of models may have colons too: a provider is one that has prices."""
    provider, colon, model = given.partition(":")
    return (provider, model) if colon and model and knows_provider(provider) else (None, given)
