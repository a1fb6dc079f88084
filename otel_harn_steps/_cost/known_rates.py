"""List prices of the models that most apps call, from a small file: the price book takes a sixth of a second to import.

`tools/known_rates.py` makes the file of genai-prices, whose rates they are. It counts while that version is installed:
who has a newer one has its prices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._cost.rate_card import Prices, TieredRate

FILE: Final = Path(__file__).with_name("known_rates.json")
SNAPSHOT: Final = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")
"""The date at the end of a model's name. A later snapshot of a model has its price, until the book knows better."""


@dataclass(frozen=True, slots=True)
class Period:
    """When rates hold, from and until, in seconds since the epoch."""

    rates: Prices
    valid_from: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the file: its rates under no terms, oldest first, and how many tokens it takes and gives."""

    periods: tuple[Period, ...]
    context_window: int | None

    def at(self, moment: float) -> Period:
        """The period of a moment, in seconds since the epoch."""
        return next(each for each in self.periods if moment < each.valid_until)


def book_name() -> str | None:
    """The name and version of the price book that the file is made of. None: another one is installed."""
    known = _file()
    return None if known is None else f"genai-prices {known['version']}"


def is_known_provider(provider: str | None) -> bool:
    """Whether the price book has the provider, as the file knows it."""
    known = _file()
    return known is not None and provider in known["providers"]


@lru_cache(maxsize=1024)
def known_model(provider: str | None, model: str) -> KnownModel | None:
    """A model of a provider, both by the names that the book has. None: the book itself is to be asked."""
    known = _file()
    if known is None:
        return None
    models: Mapping[str, list[Any]] = known["models"].get(provider, {})
    name = model.lower()
    found = models.get(name)
    if found is None:
        found = models.get(SNAPSHOT.sub("", name))
        if found is None or not found[2]:
            return None
    begins, context_window, _ = found
    ends = [begin for begin, _ in begins[1:]]
    return KnownModel(
        tuple(
            Period(
                {key: _rate(value) for key, value in known["rates"][rates].items()},
                -inf if begin is None else begin,
                end,
            )
            for (begin, rates), end in zip(begins, [*ends, inf], strict=True)
        ),
        context_window,
    )


@cache
def _file() -> Mapping[str, Any] | None:
    known: Mapping[str, Any] = json.loads(FILE.read_bytes())
    try:
        return known if version("genai-prices") == known["version"] else None
    except PackageNotFoundError:
        return None


def _rate(value: Any) -> Decimal | TieredRate:
    if isinstance(value, str):
        return Decimal(value)
    base, *tiers = value
    return TieredRate(Decimal(base), tuple((start, Decimal(price)) for start, price in tiers))
