"""`otel-harn-steps prices`: what models cost, and where that is from."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from otel_harn_steps._cost.book_rates import BookRates, book_rates, near_models
from otel_harn_steps._cost.price_book import checked_rates, given_rates
from otel_harn_steps._cost.rate_card import Prices, TieredRate
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._price_files import provider_and_model, read_prices
from otel_harn_steps.cli._reading_options import read_time
from otel_harn_steps.cli._terminal import print_lines, terminal_width
from otel_harn_steps.cli._text_table import Cell, Column, Line, flowed, folded, label, table
from otel_harn_steps.store._numbers import tokens
from otel_harn_steps.store._repricing import NO_PRICES, OwnPrices

_USAGE_ERROR: Final = 2
_LIST: Final = "list"
_YOURS: Final = "yours"
_CENTS: Final = 2


def prices(arguments: argparse.Namespace) -> int:
    """Print the rates. Returns 1 where a model is not known."""
    try:
        at = time.time() if arguments.at is None else read_time("--at", arguments.at) / 10**9
        own = read_prices(arguments.prices) if arguments.prices else NO_PRICES
    except ModuleNotFoundError as error:
        complain(f"a configuration file needs {error.name}: pip install 'otel-harn-steps[cli]'")
        return _USAGE_ERROR
    except (OSError, ValueError) as error:
        complain(str(error))
        return _USAGE_ERROR
    found = [_priced(model, arguments.provider, at, own) for model in arguments.models]
    if arguments.json:
        print(json.dumps([each.to_json() for each in found], indent=2))
    else:
        lines = [line for n, each in enumerate(found) for line in ([Line.of("")] if n else []) + each.lines(at)]
        print_lines(lines, arguments.color)
    return 1 if any(not each.columns for each in found) else 0


@dataclass(frozen=True, slots=True)
class _Priced:
    """A model that was asked for, with its rates by the terms that they hold under. No columns: it is not known."""

    asked: str
    book: BookRates | None
    columns: Mapping[str, Prices]
    near: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        known = self.book
        return {
            "asked": self.asked,
            "provider": None if known is None else known.provider,
            "model": None if known is None else known.model,
            "price_book": None if known is None else known.book,
            "context_window": None if known is None else known.context_window,
            "rates": {name: _plain(rates) for name, rates in self.columns.items()} or None,
            "near": list(self.near),
        }

    def lines(self, at: float) -> list[Line]:
        if not self.columns:
            near = ", ".join(label(each) for each in self.near)
            hint = f"; near names: {near}" if near else ""
            texts = folded(f"{label(self.asked)}: no price is known{hint}", terminal_width(), "")
            return [Line.of(text, "yellow") for text in texts]
        day = datetime.fromtimestamp(at, UTC).date()
        about = [label(self.asked)]
        if self.book is not None:
            is_same = self.book.model == provider_and_model(self.asked)[1]
            about += [self.book.provider if is_same else f"{self.book.provider}:{self.book.model}", self.book.book]
            if self.book.context_window is not None:
                about.append(f"{tokens(self.book.context_window)} tokens of context")
        keys = list(dict.fromkeys(key for rates in self.columns.values() for key in rates))
        rows = [row for key in keys for row in _rows(key, self.columns)]
        names = Column(heading="US dollars", cells=[Cell(name) for name, _ in rows], is_name=True, leaves=None)
        numbers = [
            Column(heading=name, cells=[Cell(texts[n]) for _, texts in rows], leaves=None if not n else 0)
            for n, name in enumerate(self.columns)
        ]
        head = flowed([*about, str(day)], terminal_width(), margin="")
        return [*(Line.of(text, "bold") for text in head), *table([names, *numbers], terminal_width())]


def _priced(asked: str, provider: str | None, at: float, own: OwnPrices) -> _Priced:
    named, model = provider_and_model(asked) if provider is None else (provider, asked)
    name = own.known_as(named, model)
    book = book_rates(named, name, at)
    columns: dict[str, Prices] = {}
    given = given_rates(own.prices, named, model, name)
    if given is not None:
        columns[_YOURS] = checked_rates(model, given)
    if book is not None:
        columns[_LIST] = book.rates
        for term, rates in book.by_term.items():
            columns[term.partition("=")[2] if ", " not in term else term] = {**book.rates, **rates}
    return _Priced(asked, book, columns, [] if columns else near_models(named, model))


_UNITS: Final = {"mtok": "per million tokens", "kcount": "per thousand"}


def _rows(key: str, columns: Mapping[str, Prices]) -> Iterator[tuple[str, list[str]]]:
    """A price key in words with its rates; a line more for each size of a request from which they change."""
    kind, _, unit = key.rpartition("_")
    name = f"{kind.replace('_', ' ')}, {_UNITS[unit]}"
    starts = {
        start for rates in columns.values() if isinstance(rate := rates.get(key), TieredRate) for start, _ in rate.tiers
    }
    yield name, [_text(rates.get(key)) for rates in columns.values()]
    for start in sorted(starts):
        yield f"  above {start:,} input tokens", [_text(rates.get(key), start) for rates in columns.values()]


def _text(rate: Decimal | TieredRate | None, start: int | None = None) -> str:
    if rate is None:
        return "-"
    if isinstance(rate, TieredRate):
        return _text(rate.base if start is None else rate.above(start))
    return f"${rate:f}" if rate != round(rate, _CENTS) else f"${rate:.{_CENTS}f}"


def _plain(rates: Prices) -> dict[str, Any]:
    """Rates in JSON: numbers as text, because they are exact."""
    return {
        key: str(rate)
        if isinstance(rate, Decimal)
        else {"base": str(rate.base), "above": {str(start): str(price) for start, price in rate.tiers}}
        for key, rate in rates.items()
    }
