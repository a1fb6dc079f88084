"""List prices from genai-prices: the card of a model, and the most expensive rates of a provider.

Pricing through the library takes 170 to 330 microseconds a call; a compiled rate card takes about one. So the library
is asked once for each card, and imported at the first of a model or of terms that `known_rates` does not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._cost import known_rates
from otel_harn_steps._cost.known_rates import SNAPSHOT, known_model
from otel_harn_steps._cost.rate_card import PRICE_KEYS, Prices, RateCard, TieredRate, compile_card
from otel_harn_steps._cost.surcharges import REGIONAL_RATES, factor_of_place, factor_of_term, rates_of_term
from otel_harn_steps._cost.usage import Terms

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

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


@cache
def _book_name() -> str:
    name = known_rates.book_name()
    if name is not None:
        return name
    import genai_prices  # noqa: PLC0415 -- as in `_book`

    return f"genai-prices {genai_prices.__version__}"


@cache
def _book() -> DataSnapshot:
    """A price book of our own: one that others update or replace would change prices in the middle of a run."""
    from genai_prices.data import providers  # noqa: PLC0415 -- half a second: only for who prices
    from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415

    return DataSnapshot(providers=providers, from_auto_update=False)


def list_card(provider: str | None, model: str, terms: Terms, at: float) -> RateCard | None:
    """The card of a model's list prices under these terms, at this time. None where the book has no such price.

    Args:
        provider: as in `gen_ai.provider.name`, or as the book has it; None: the one that the model's name points to.
        model: as the provider names it.
        terms: what else decides the price.
        at: seconds since the epoch.
    """
    provider = _in_book(provider)
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
        return None if context else compile_card(REGIONAL_RATES[model], token_factor=factor, book=_book_name())
    known = None if context else known_model(provider, model)
    if known is not None:
        period = known.at(at)
        return compile_card(
            {**period.rates, **rates},
            book=_book_name(),
            token_factor=factor,
            needs_audio_price=provider in _AUDIO_IS_DEARER,
            valid_from=period.valid_from,
            valid_until=period.valid_until,
        )
    found = _found_as(provider, model)
    return None if found is None else _found_card(found, context, rates, factor, at)


@lru_cache(maxsize=1024)
def knows_model(provider: str | None, model: str) -> bool:
    """Whether the book has list prices of the provider for the model, under whatever terms."""
    provider, model = _in_book(provider), _PATH.sub("", model)
    return known_model(provider, model) is not None or _found_as(provider, model) is not None


@lru_cache(maxsize=1024)
def context_window(provider: str | None, model: str | None) -> int | None:
    """How many tokens a model takes and gives in one call at most. None where the book does not say."""
    if model is None:
        return None
    provider, model = _in_book(provider), _PATH.sub("", model)
    known = known_model(provider, model)
    if known is not None:
        return known.context_window
    found = _found_as(provider, model)
    return None if found is None else found[1].context_window


def knows_provider(provider: str | None) -> bool:
    """Whether the book has prices of the provider."""
    provider = _in_book(provider)
    return known_rates.is_known_provider(provider) or any(each.id == provider for each in _book().providers)


def _in_book(provider: str | None) -> str | None:
    return _BOOK_PROVIDERS.get(provider or "", provider)


def _found_as(provider: str | None, model: str) -> tuple[Provider, ModelInfo] | None:
    return _found(provider, model) or _found(provider, SNAPSHOT.sub("", model))


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
        book=_book_name(),
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


# -- the most expensive rates ------------------------------------------------------------------------------------------


def dearest_rates(provider: str | None) -> tuple[Decimal, Decimal]:
    """The highest list prices of text input and of text output that the book knows now, in US dollars per token.

    Args:
        provider: as in `gen_ai.provider.name`; where the book does not know it, the rates are those of all providers.
    """
    return _dearest_rates(_in_book(provider) if knows_provider(provider) else None)


@cache
def _dearest_rates(provider: str | None) -> tuple[Decimal, Decimal]:
    now = datetime.now(UTC)
    models = [
        model.get_prices(now, None)
        for each in _book().providers
        if provider in (None, each.id)
        for model in each.models
    ]
    return _highest(each.input_mtok for each in models), _highest(each.output_mtok for each in models)


def _highest(prices: Iterable[Decimal | TieredPrices | None]) -> Decimal:
    highest = Decimal(0)
    for price in prices:
        if isinstance(price, Decimal):
            highest = max(highest, price)
        elif price is not None:
            highest = max(highest, price.base, *(tier.price for tier in price.tiers))
    return highest / 1_000_000
