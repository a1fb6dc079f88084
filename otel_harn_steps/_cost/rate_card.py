"""Rate cards: what each kind of token costs, compiled from list prices into integers.

A price book says what a *kind* of token costs ("cached input", "audio input"), and kinds contain each other. A card
folds that containment into one coefficient per count, so that a call is priced by a few integer multiplications.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import inf, lcm
from operator import attrgetter
from typing import Final

from otel_harn_steps._cost.money import PICOUSD_PER_USD
from otel_harn_steps._cost.usage import Usage


@dataclass(frozen=True, slots=True)
class _Unit:
    """Something with a price of its own: `per` of it cost what the price book says under `price_key`."""

    price_key: str
    count: Callable[[Usage], int]
    per: int
    is_token: bool
    traits: frozenset[str]


def _tokens(price_key: str, count: Callable[[Usage], int], *traits: str) -> _Unit:
    return _Unit(price_key, count, 1_000_000, is_token=True, traits=frozenset(traits))


# A unit contains another when its traits are a part of the other's: input contains cached input, and so on.
_UNITS: Final = {
    unit.price_key: unit
    for unit in (
        _tokens("input_mtok", lambda u: max(u.input_tokens or 0, u.cache_read_tokens + u.cache_write_tokens), "input"),
        _tokens("output_mtok", lambda u: u.output_tokens or 0, "output"),
        _tokens("cache_read_mtok", attrgetter("cache_read_tokens"), "input", "read"),
        _tokens("cache_write_mtok", attrgetter("cache_write_tokens"), "input", "write"),
        _tokens("cache_write_1h_mtok", attrgetter("cache_write_1h_tokens"), "input", "write", "1h"),
        _tokens("input_audio_mtok", attrgetter("input_audio_tokens"), "input", "audio"),
        _tokens("cache_audio_read_mtok", attrgetter("cache_read_audio_tokens"), "input", "audio", "read"),
        _tokens("output_audio_mtok", attrgetter("output_audio_tokens"), "output", "audio"),
        _tokens("input_image_mtok", attrgetter("input_image_tokens"), "input", "image"),
        _tokens("output_image_mtok", attrgetter("output_image_tokens"), "output", "image"),
        _tokens("output_citation_mtok", attrgetter("output_citation_tokens"), "output", "citation"),
        _tokens("output_reasoning_mtok", attrgetter("reasoning_tokens"), "output", "reasoning"),
        _Unit("web_searches_kcount", attrgetter("web_searches"), 1000, is_token=False, traits=frozenset({"search"})),
        _Unit("requests_kcount", lambda _: 1, 1000, is_token=False, traits=frozenset({"request"})),
    )
}

PRICE_KEYS: Final = tuple(_UNITS)
"""The price keys that a card may have. US dollars per million tokens, or per thousand searches or requests."""


@dataclass(frozen=True, slots=True)
class TieredRate:
    """A price that depends on the size of the request: above `start` input tokens, all tokens cost `price`."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...]

    def above(self, start: int) -> Decimal:
        """The price of a request just above `start` input tokens."""
        return next((price for begin, price in reversed(self.tiers) if start >= begin), self.base)


Prices = Mapping[str, Decimal | TieredRate]

# A call that used these at no known price has an unknown cost. Everything else without a price is a part of these.
_INPUT: Final = "input_mtok"
_OUTPUT: Final = "output_mtok"
_NEED_A_PRICE: Final = (_INPUT, _OUTPUT, "web_searches_kcount")
_AUDIO: Final = ("input_audio_mtok", "output_audio_mtok")


# What one token of input costs, one of output, and one of each other kind, which is a part of these, or stands alone.
_Rates = tuple[int, int, tuple[tuple[Callable[[Usage], int], int], ...]]


@dataclass(frozen=True, slots=True)
class RateCard:
    """Integer rates of one model under one set of terms, for as long as they hold.

    Attributes:
        book: where the rates are from, with its version.
        valid_from, valid_until: when these rates hold, in seconds since the epoch.
    """

    _base: _Rates
    _above: tuple[tuple[int, _Rates], ...]  # by the number of input tokens that a request has more than
    _scale: int
    _unknown: tuple[Callable[[Usage], int], ...]
    book: str
    valid_from: float = -inf
    valid_until: float = inf

    def cost_picousd(self, usage: Usage) -> int | None:
        """Pico-dollars for `usage`. None where a part of it has no price, or its counts contradict each other."""
        for count in self._unknown:
            if count(usage):
                return None
        input_tokens = usage.input_tokens or 0
        of_input, of_output, others = self._base
        for start, rates in self._above:
            if input_tokens > start:
                of_input, of_output, others = rates
        if usage.cache_read_tokens or usage.cache_write_tokens:  # a sum may have left the cached tokens out
            input_tokens = max(input_tokens, usage.cache_read_tokens + usage.cache_write_tokens)
        total = input_tokens * of_input + (usage.output_tokens or 0) * of_output
        for count, rate in others:
            total += count(usage) * rate
        if total < 0:  # more reasoning than output, and the like
            return None
        return total if self._scale == 1 else round(Fraction(total, self._scale))

    def cache_savings_picousd(self, usage: Usage) -> int | None:
        """Pico-dollars saved by reading input from a cache: the cost without a cache, less the cost.

        Below 0 where cached input costs more than other input. None where one of the two costs is not known.
        """
        if usage.input_tokens is None:
            return None
        uncached = replace(
            usage,
            input_tokens=max(usage.input_tokens, usage.cache_read_tokens + usage.cache_write_tokens),
            cache_read_tokens=0,
            cache_read_audio_tokens=0,
        )
        without_cache, cost = self.cost_picousd(uncached), self.cost_picousd(usage)
        return None if without_cache is None or cost is None else without_cache - cost

    def output_picousd(self, input_tokens: int) -> int:
        """Pico-dollars for one more token of output, rounded up, where the input has so many tokens."""
        of_output = self._base[1]
        for start, rates in self._above:
            if input_tokens > start:
                of_output = rates[1]
        return -(-of_output // self._scale)


FREE: Final = RateCard((0, 0, ()), (), 1, (), "local")
"""The card of a model that nobody bills for."""


def compile_card(
    prices: Prices,
    *,
    book: str,
    token_factor: Fraction = Fraction(1),
    needs_audio_price: bool = False,
    valid_from: float = -inf,
    valid_until: float = inf,
) -> RateCard:
    """The card for `prices`, in US dollars by price key. Kinds that a call cannot have are left out.

    Args:
        prices: as the price book gives them.
        book: where they are from, with its version.
        token_factor: what the price of every token is multiplied with.
        needs_audio_price: whether audio without a price of its own is unknown, and not the price of text.
        valid_from: when these prices begin to hold, in seconds since the epoch.
        valid_until: when they end.
    """
    known = {key: prices[key] for key in _UNITS if key in prices}
    needed = (*_NEED_A_PRICE, *_AUDIO) if needs_audio_price else _NEED_A_PRICE
    starts = {start for price in known.values() if isinstance(price, TieredRate) for start, _ in price.tiers}
    tiers: list[dict[str, Fraction]] = []
    for start in (-1, *sorted(starts)):
        flat = {key: price.above(start) if isinstance(price, TieredRate) else price for key, price in known.items()}
        tiers.append(_coefficients(flat, token_factor))
    scale = lcm(*(rate.denominator for rates in tiers for rate in rates.values())) if known else 1
    base, *above = (_scaled(rates, scale) for rates in tiers)
    return RateCard(
        base,
        tuple(zip(sorted(starts), above, strict=True)),
        scale,
        tuple(_UNITS[key].count for key in needed if key not in known),
        book,
        valid_from,
        valid_until,
    )


def _scaled(rates: Mapping[str, Fraction], scale: int) -> _Rates:
    whole = {key: int(rate * scale) for key, rate in rates.items()}
    others = ((_UNITS[key].count, rate) for key, rate in whole.items() if rate and key not in (_INPUT, _OUTPUT))
    return whole.get(_INPUT, 0), whole.get(_OUTPUT, 0), tuple(others)


def _coefficients(prices: Mapping[str, Decimal], token_factor: Fraction) -> dict[str, Fraction]:
    """Pico-dollars per count. A kind within others adds only what it costs more or less than they do."""
    coefficients: dict[str, Fraction] = {}
    for key in sorted(prices, key=lambda each: len(_UNITS[each].traits)):
        unit = _UNITS[key]
        rate = Fraction(prices[key]) * PICOUSD_PER_USD / unit.per * (token_factor if unit.is_token else 1)
        around = (each for each in coefficients if _UNITS[each].traits < unit.traits)
        coefficients[key] = rate - sum((coefficients[each] for each in around), Fraction(0))
    return coefficients
