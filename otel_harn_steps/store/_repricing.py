"""The rows of the ledger, priced again by the package's own price functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_harn_steps._cost.price_book import card_of, given_card
from otel_harn_steps._cost.rate_card import FREE, RateCard
from otel_harn_steps._cost.usage import PARTS, Terms, Usage
from otel_harn_steps._cost.vendors import vendor_of
from otel_harn_steps._settings import Rates
from otel_harn_steps._telemetry.call_row import CallRow

_NS_PER_S: Final = 10**9
_LOCAL: Final = "local"
_OF_THE_BOOK: Final = "genai-prices"
_IN_ROWS: Final = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def usage_of(row: CallRow) -> Usage | None:
    """What a row used. None where the provider reported nothing; one side may still be None."""
    if row.input_tokens is None and row.output_tokens is None:
        return None
    details = {name: count for name, count in row.details.items() if name in PARTS}
    return Usage(row.input_tokens, row.output_tokens, **{name: getattr(row, name) for name in _IN_ROWS} | details)


def terms_of(row: CallRow) -> Terms:
    """What else decided the price of a row."""
    return tuple(row.terms.items())


def model_of(row: CallRow) -> str | None:
    """The model that answered, else the one that was asked for."""
    return row.model or row.requested_model


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrices:
    """What the user has said about prices, as to `instrument()`: the ledger does not keep it.

    Attributes:
        prices: rates by `"model"`, `"provider:model"` or `"provider:*"`.
        models: the model behind a name of the user's own, by that name or `"provider:name"`.
    """

    prices: Mapping[str, Rates] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    _cards: dict[tuple[str | None, str], RateCard | None] = field(default_factory=dict, repr=False, compare=False)

    def known_as(self, provider: str | None, model: str) -> str:
        """The model behind a name."""
        return self.models.get(f"{provider}:{model}") or self.models.get(model) or model

    def card(self, provider: str | None, model: str) -> RateCard | None:
        """The user's rates of a model. None: there are none.

        Raises:
            TypeError, ValueError: a rate is wrong.
        """
        if not self.prices:
            return None
        key = provider, model
        if key not in self._cards:
            self._cards[key] = given_card(self.prices, provider, model, self.known_as(provider, model))
        return self._cards[key]


NO_PRICES: Final = OwnPrices()


@dataclass(frozen=True, slots=True)
class RecordedPrice:
    """The rates that a row was priced with, as far as they can be had again.

    Attributes:
        card: the rates. None: unknown, as those of `instrument(prices=...)` in another process are.
        is_exact: whether they give the row's own cost, to the pico-dollar. They do not where the provider has said what
            it charges, where the price book has changed since, or where several models have answered one call.
    """

    card: RateCard | None
    is_exact: bool


def recorded_price(
    provider: str | None,
    model: str | None,
    terms: Terms,
    at: float,
    *,
    usage: Usage,
    cost: int,
    book: str | None,
    own: OwnPrices = NO_PRICES,
) -> RecordedPrice:
    """The rates behind a cost.

    Args:
        provider: who bills.
        model: the model that answered.
        terms: what else decided the price.
        at: when it was sent, in seconds since the epoch.
        usage: what was used.
        cost: what it cost, in pico-dollars.
        book: where the price was from.
        own: what the user says about prices.

    Raises:
        TypeError, ValueError: a rate of the user's is wrong.
    """
    if book == _LOCAL:
        return RecordedPrice(FREE, is_exact=cost == 0)
    if not model:
        return RecordedPrice(None, is_exact=False)
    given, name = own.card(provider, model), own.known_as(provider, model)
    listed = [card_of(provider, name, terms, at), _vendor_card(name, terms, at)]
    possible = [card for card in (given, *listed) if card is not None and not (card is FREE and cost)]
    for card in possible:
        if card.cost_picousd(usage) == cost:
            return RecordedPrice(card, is_exact=True)
    # Rates of the user's own may have nothing to do with the book's.
    is_of_the_book = book is None or book.startswith((_OF_THE_BOOK, "provider"))
    near = [card for card in possible if (card is not given) == is_of_the_book]
    return RecordedPrice(near[0] if near else None, is_exact=False)


def _vendor_card(model: str, terms: Terms, at: float) -> RateCard | None:
    """The card of a model's vendor: at a gateway, whose host is in no row, such a call has the vendor's price."""
    vendor = vendor_of(model)
    return None if vendor is None else card_of(*vendor, terms, at)


def sent_at_s(row: CallRow) -> float:
    """When a row's call was sent, in seconds since the epoch."""
    return row.sent_at / _NS_PER_S


def with_terms(terms: Terms, more: Mapping[str, str], without: frozenset[str]) -> Terms:
    """The terms without some, and with others."""
    kept = {key: value for key, value in terms if key not in without}
    return tuple((kept | dict(more)).items())
