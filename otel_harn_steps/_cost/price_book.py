"""What a call costs: the user's prices first, then genai-prices. Unknown stays unknown.

Pricing through the library takes 170 to 330 microseconds a call; a compiled rate card takes about one. So the library
is imported at the first pricing and asked once per (provider, model, terms), for misses too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._cost.rate_card import PRICE_KEYS, Prices, RateCard, TieredRate, compile_card
from otel_harn_steps._cost.surcharges import REGIONAL_RATES, factor_of_place, factor_of_term, rates_of_term
from otel_harn_steps._cost.usage import Terms, Usage
from otel_harn_steps._settings import Rates, settings

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider

_logger = logging.getLogger("otel_harn_steps")

# Where the GenAI conventions and the price book name a provider differently.
_BOOK_PROVIDERS: Final = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}
# An answer that names one of these tiers is billed at the list price.
_STANDARD_TIERS: Final = frozenset({"auto", "default", "on_demand", "standard", "standard_only"})
# Audio never costs what text costs at these; elsewhere a model without an audio price has one price for all input.
_AUDIO_IS_DEARER: Final = frozenset({"azure", "openai"})
# What stands before a model's name: Google's resource paths, and the ARNs of Bedrock's own models and profiles.
_PATH: Final = re.compile(
    r"^(?:projects/.*/)?publishers/[^/]+/models/|^models/|^arn:[^/]*:(?:foundation-model|inference-profile)/"
)
# A later snapshot of a known model has its price until the book knows better.
_SNAPSHOT: Final = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")
_MOST_CARDS: Final = 4096

_Key = tuple[str | None, str, Terms]
_cards: dict[_Key, RateCard | None] = {}
_warned: set[tuple[str | None, str]] = set()


def cost_picousd(provider: str | None, model: str | None, usage: Usage, terms: Terms, at: float) -> int | None:
    """What `usage` cost at the time `at` (seconds since the epoch), in pico-dollars. None for an unknown price.

    Args:
        provider: who bills, as in `gen_ai.provider.name`; None: the one that the model's name points to.
        model: the model that answered, or that was asked for.
        usage: what was used.
        terms: what else decides the price (service tier, batch, ...).
        at: when the request was made.
    """
    if not model:
        return None
    key = (provider, model, terms)
    try:
        card = _cards[key]
    except KeyError:
        card = _cards_add(key, at)
    if card is not None and not card.valid_from <= at < card.valid_until:
        card = _cards_add(key, at)
    cost = None if card is None else card.cost_picousd(usage)
    if cost is None:
        _warn_unpriced(provider, model)
    return cost


def forget_prices() -> None:
    """Compile every card again: the settings have changed."""
    _cards.clear()
    _warned.clear()


def checked_rates(where: str, rates: object) -> Prices:
    """The user's rates, ready to be compiled.

    Raises:
        TypeError: `rates` is not a mapping, or a rate is not a number.
        ValueError: a key is unknown, or a rate is negative or not finite.
    """
    if not isinstance(rates, Mapping):
        raise TypeError(
            f"{where} must be a mapping of rates such as {{'input_mtok': 2.5, 'output_mtok': 10}}, not {rates!r}"
        )
    return {_checked_key(where, key): _checked_rate(f"{where}[{key!r}]", rate) for key, rate in rates.items()}


def _checked_key(where: str, key: object) -> str:
    if key not in PRICE_KEYS:
        raise ValueError(f"{where} has no rate {key!r}; allowed: {', '.join(PRICE_KEYS)}")
    return str(key)


def _checked_rate(where: str, rate: object) -> Decimal:
    if isinstance(rate, bool) or not isinstance(rate, (int, float, str, Decimal)):
        raise TypeError(f"{where} must be a number of US dollars, not {rate!r}")
    try:
        amount = Decimal(str(rate))
    except InvalidOperation:
        raise ValueError(f"{where} must be a number of US dollars, not {rate!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{where} must be finite and not negative, not {rate!r}")
    return amount


def _cards_add(key: _Key, at: float) -> RateCard | None:
    if len(_cards) >= _MOST_CARDS:  # model names come from outside: they must not fill the memory
        _cards.clear()
    card = _cards[key] = _make_card(*key, at)
    return card


def _make_card(provider: str | None, model: str, terms: Terms, at: float) -> RateCard | None:
    known_as = _known_as(provider, model)
    given = _user_rates(provider, model, known_as)
    if given is not None:
        return compile_card(checked_rates(f"prices[{model!r}]", given))
    return _book_card(_BOOK_PROVIDERS.get(provider or "", provider), known_as, terms, at) or _assumed_card()


def _known_as(provider: str | None, model: str) -> str:
    """The model behind a deployment's name or an inference profile, by the user's own map."""
    models = settings().models
    return models.get(f"{provider}:{model}") or models.get(model) or model


def _user_rates(provider: str | None, model: str, known_as: str) -> Rates | None:
    prices = settings().prices
    for name in (f"{provider}:{model}", model, f"{provider}:{known_as}", known_as, f"{provider}:*"):
        if name in prices:
            return prices[name]
    return None


def _assumed_card() -> RateCard | None:
    assumed = settings().unpriced
    return None if isinstance(assumed, str) else compile_card(checked_rates("unpriced", assumed))


# -- genai-prices ------------------------------------------------------------------------------------------------------


@cache
def _book() -> DataSnapshot:
    """A price book of our own: one that others update or replace would change prices in the middle of a run."""
    from genai_prices.data import providers  # noqa: PLC0415 -- half a second: only for who prices
    from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415

    return DataSnapshot(providers=providers, from_auto_update=False)


def _book_card(provider: str | None, model: str, terms: Terms, at: float) -> RateCard | None:
    model = _PATH.sub("", model)
    factor = factor_of_place(provider, model)
    context: dict[str, str] = {}
    rates: dict[str, Decimal] = {}
    for term in terms:
        more, others = factor_of_term(term, model), rates_of_term(term, model)
        if others is not None:
            rates.update(others)
        elif more is not None:
            factor *= more
        elif term[0] != "service_tier" or term[1] not in _STANDARD_TIERS:
            context[term[0]] = term[1]
    if provider == "aws" and model in REGIONAL_RATES:
        return None if context else compile_card(REGIONAL_RATES[model], token_factor=factor)
    found = _found(provider, model) or _found(provider, _SNAPSHOT.sub("", model))
    return None if found is None else _found_card(found, context, rates, factor, at)


def _found(provider: str | None, model: str) -> tuple[Provider, ModelInfo] | None:
    try:
        return _book().find_provider_model(model, None, provider, None)
    except LookupError:
        return None


def _found_card(
    found: tuple[Provider, ModelInfo],
    context: Mapping[str, str],
    rates: Mapping[str, Decimal],
    factor: Fraction,
    at: float,
) -> RateCard | None:
    provider, info = found
    moment = datetime.fromtimestamp(at, UTC)
    # A provider that sells another's models has that one's list prices here, and not its terms.
    variants = (info.price_variants or ()) if any(info is own for own in provider.models) else ()
    if not all(_has_price_for(term, variants, moment) for term in context.items()):
        return None
    valid_from, valid_until = _window(info, moment)
    return compile_card(
        {**_book_prices(info.get_prices(moment, dict(context) if variants else None)), **rates},
        token_factor=factor,
        needs_audio_price=provider.id in _AUDIO_IS_DEARER,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _has_price_for(
    term: tuple[str, str], variants: tuple[PriceVariant, ...] | list[PriceVariant], at: datetime
) -> bool:
    """The book answers terms that it does not know with the list price; that would be a guess."""
    key, value = term
    return any(
        each.when.get(key) == value and (each.constraint is None or each.constraint.active(at)) for each in variants
    )


def _book_prices(prices: ModelPrice) -> Prices:
    found: dict[str, Decimal | TieredRate] = {}
    for key in PRICE_KEYS:
        price = getattr(prices, key)
        if isinstance(price, Decimal):
            found[key] = price
        elif price is not None:
            found[key] = TieredRate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))
    return found


def _window(info: ModelInfo, at: datetime) -> tuple[float, float]:
    """From when until when the prices of `info` are those of the moment `at`."""
    edges = [edge.timestamp() for edge in _edges(info, at)]
    now = at.timestamp()
    return max((e for e in edges if e <= now), default=-inf), min((e for e in edges if e > now), default=inf)


def _edges(info: ModelInfo, at: datetime) -> Iterator[datetime]:
    dated: list[ConditionalPrice | PriceVariant] = list(info.price_variants or ())
    if isinstance(info.prices, list):
        dated.extend(info.prices)
    for each in dated:
        constraint: Any = each.constraint
        start: date | None = getattr(constraint, "start_date", None)
        if start is not None:
            yield datetime.combine(start, time(), UTC)
        elif constraint is not None:  # a time of day, which comes round every day
            for clock in (constraint.start_time, constraint.end_time):
                for days in (-1, 0, 1):
                    yield datetime.combine(at.date() + timedelta(days=days), clock, clock.tzinfo or UTC)


def _warn_unpriced(provider: str | None, model: str) -> None:
    if (provider, model) not in _warned and len(_warned) < _MOST_CARDS:
        _warned.add((provider, model))
        _logger.warning(
            "the price of model %r of provider %r is not known for what a call used: its tokens are counted, its cost "
            "is not; give a price with instrument(prices={%r: {'input_mtok': ..., 'output_mtok': ...}})",
            model,
            provider,
            model,
        )


def price_of(
    provider: str | None, model: str | None, usage: Usage, terms: Terms, at: float, host: str | None = None
) -> tuple[int | None, str | None]:
    """(to be replaced)."""
    cost = cost_picousd(provider, model, usage, terms, at)
    return cost, None if cost is None else "genai-prices 0.2.3"


def dearest_picousd(provider: str | None, usage: Usage) -> int:
    """(to be replaced)."""
    return ((usage.input_tokens or 0) * 150 + (usage.output_tokens or 0) * 600) * 10**6
