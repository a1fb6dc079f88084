"""What the price book says of a model, for people who ask: its rates, under which terms, and models with near names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from otel_harn_steps._cost.list_prices import (
    _PATH,
    _STANDARD_TIERS,
    _book,
    _book_name,
    _book_prices,
    _found_as,
    _in_book,
)
from otel_harn_steps._cost.rate_card import Prices

_MOST_NEAR: Final = 5
_LEAST_LIKE: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRates:
    """The list prices of a model at one moment.

    Attributes:
        provider, model: as the book has them.
        rates: US dollars by price key.
        by_term: the rates that differ under a term, such as `processing=batch`.
        context_window: how many tokens it takes and gives at most. None: the book does not say.
        book: the book's name and version.
    """

    provider: str
    model: str
    rates: Prices
    by_term: Mapping[str, Prices] = field(default_factory=dict)
    context_window: int | None = None
    book: str = ""


def book_rates(provider: str | None, model: str, at: float) -> BookRates | None:
    """What the book says of a model. None: it does not have it.

    Args:
        provider: as in `gen_ai.provider.name`, or as the book has it; None: the one that the model's name points to.
        model: as the provider names it.
        at: seconds since the epoch.
    """
    found = _found_as(_in_book(provider), _PATH.sub("", model))
    if found is None:
        return None
    seller, info = found
    moment = datetime.fromtimestamp(at, UTC)
    rates = _book_prices(info.get_prices(moment, None))
    by_term: dict[str, Prices] = {}
    for variant in info.price_variants or ():
        if variant.constraint is not None and not variant.constraint.active(moment):
            continue
        if set(variant.when.values()) <= _STANDARD_TIERS:
            continue
        name = ", ".join(f"{key}={value}" for key, value in sorted(variant.when.items()))
        prices = _book_prices(info.get_prices(moment, dict(variant.when)))
        by_term[name] = {key: price for key, price in prices.items() if rates.get(key) != price}
    return BookRates(
        provider=seller.id,
        model=info.id,
        rates=rates,
        by_term={name: prices for name, prices in by_term.items() if prices},
        context_window=info.context_window,
        book=_book_name(),
    )


def near_models(provider: str | None, model: str) -> list[str]:
    """Models of the book with names like this one, as `provider:model`, the nearest first."""
    wanted = _PATH.sub("", model).lower()
    known = _in_book(provider)
    named = {
        f"{each.id}:{info.id}": info.id.lower()
        for each in _book().providers
        if known in (None, each.id)
        for info in each.models
    }
    names = difflib.get_close_matches(wanted, set(named.values()), n=_MOST_NEAR, cutoff=_LEAST_LIKE)
    holding = sorted((name for name in set(named.values()) if wanted in name), key=lambda name: (len(name), name))
    nearest = dict.fromkeys([*names, *holding])
    first = {name: min((title for title, other in named.items() if other == name), key=_is_sold_on) for name in nearest}
    return list(first.values())[:_MOST_NEAR]


def _is_sold_on(title: str) -> tuple[bool, str]:
    """Who makes a model comes before who sells those of others."""
    provider, _, model = title.partition(":")
    return "/" in model or provider in ("openrouter", "azure", "aws"), title
