"""What a call costs: the user's prices first, then what its host says, then list prices. Unknown stays unknown.

A card is made once per (provider, model, terms, host); what is missing is looked for once a day.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from otel_harn_steps import _settings
from otel_harn_steps._cost.hosts import is_known, is_local
from otel_harn_steps._cost.list_prices import dearest_rates, knows_model, knows_provider, list_card
from otel_harn_steps._cost.money import PICOUSD_PER_USD
from otel_harn_steps._cost.rate_card import FREE, PRICE_KEYS, Prices, RateCard, compile_card
from otel_harn_steps._cost.usage import Terms, Usage
from otel_harn_steps._cost.vendors import is_in_ollamas_cloud, vendor_of
from otel_harn_steps._settings import Rates

_logger = logging.getLogger("otel_harn_steps")

_MOST_CARDS: Final = 4096
_S_PER_DAY: Final = 86_400

# Who bills for these clients' calls depends on who answers at the host: local servers speak their protocols.
_SPOKEN_BY_LOCAL_SERVERS: Final = frozenset({"anthropic", "openai"})
_OLLAMA: Final = "ollama"

_Key = tuple[str | None, str, Terms, str | None]
_cards: dict[_Key, RateCard | None] = {}
_missed_on: dict[_Key, float] = {}
"""The days, counted from 1970, on which a price was not known."""
_warned: set[tuple[str | None, str]] = set()

_UNKNOWN: Final = (None, None)


def cost_picousd(provider: str | None, model: str | None, usage: Usage, terms: Terms, at: float) -> int | None:
    """What `usage` cost, in pico-dollars. None for an unknown price. The arguments are those of `price_of`."""
    return price_of(provider, model, usage, terms, at)[0]


def price_of(
    provider: str | None, model: str | None, usage: Usage, terms: Terms, at: float, *, host: str | None = None
) -> tuple[int | None, str | None]:
    """What `usage` cost in pico-dollars, and where that price is from. None and None for an unknown price.

    Prices are from the price book ("genai-prices 0.2.3"), from `instrument(prices=...)` ("prices"), from the rates that
    `instrument(unpriced=...)` assumes ("unpriced"); or the model runs on a machine of your own ("local"), for free.

    Args:
        provider: who bills, as in `gen_ai.provider.name`; None: the one that the model's name points to.
        model: the model that answered, or that was asked for.
        usage: what was used.
        terms: what else decides the price (service tier, batch, ...).
        at: when the request was made, in seconds since the epoch.
        host: the name of the host that the request goes to; None: unknown, and the provider's own is meant.
    """
    if not model:
        return _UNKNOWN
    card = card_of(provider, model, terms, at, host)
    cost = None if card is None else card.cost_picousd(usage)
    if card is None or cost is None:
        _warn_unpriced(provider, model)
        return _UNKNOWN
    return cost, card.book


def cache_savings_of(
    provider: str | None, model: str | None, usage: Usage, terms: Terms, at: float, *, host: str | None = None
) -> int | None:
    """What reading from a cache saved, in pico-dollars. None where nothing was read from one, or a price is unknown.

    The same tokens at the price of input that is in no cache, on the same terms, less what they cost. The arguments are
    those of `price_of`.
    """
    if not usage.cache_read_tokens or not model:
        return None
    card = card_of(provider, model, terms, at, host=host)
    return None if card is None else card.cache_savings_picousd(usage)


def card_of(provider: str | None, model: str, terms: Terms, at: float, host: str | None = None) -> RateCard | None:
    """The rates of a model. None: its price is unknown. Arguments as those of `price_of`."""
    key = (provider, model, terms, host)
    card = _cards.get(key)
    if card is not None and card.valid_from <= at < card.valid_until:
        return card
    # A price may be known from a day on, and before it, or after it, be asked for.
    if card is None and _missed_on.get(key) == at // _S_PER_DAY:
        return None
    return _cards_add(key, at)


def dearest_picousd(provider: str | None, usage: Usage) -> int:
    """What `usage` costs at the most expensive text rates that the price book knows, in pico-dollars. For budgets only.

    Args:
        provider: the rates are its own where the book knows it, else those of all providers.
        usage: unknown counts are 0.
    """
    input_rate, output_rate = dearest_rates(provider)
    input_tokens = max(usage.input_tokens or 0, usage.cache_read_tokens + usage.cache_write_tokens, 0)
    output_tokens = max(usage.output_tokens or 0, 0)
    return int((input_tokens * input_rate + output_tokens * output_rate) * PICOUSD_PER_USD)


def forget_prices() -> None:
    """Compile every card again: the settings have changed."""
    _cards.clear()
    _missed_on.clear()
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
        _missed_on.clear()
    card = _cards[key] = _make_card(*key, at)
    if card is None:
        _missed_on[key] = at // _S_PER_DAY
    return card


def _make_card(provider: str | None, model: str, terms: Terms, host: str | None, at: float) -> RateCard | None:
    known_as = _known_as(provider, model)
    given = given_card(_settings.in_force.prices, provider, model, known_as)
    if given is not None:
        return given
    is_elsewhere = provider == _OLLAMA if host is None else not is_known(host)
    card = _card_elsewhere(provider, known_as, terms, host, at) if is_elsewhere else None
    return card or list_card(provider, known_as, terms, at) or _assumed_card()


def _card_elsewhere(provider: str | None, model: str, terms: Terms, host: str | None, at: float) -> RateCard | None:
    """The card of a model at a host that is not known to be a provider's: a gateway, or a server of your own.

    None: the host changes nothing.
    """
    if is_in_ollamas_cloud(model):
        return None
    vendor = vendor_of(model)
    if vendor is not None:  # a cloud that sells another's models has prices of its own for them
        return None if knows_model(provider, model) else list_card(*vendor, terms, at)
    if provider == _OLLAMA:
        return FREE
    # The client of one provider (groq, mistralai, ...) at a local host talks to that provider through a proxy.
    may_be_local = provider in _SPOKEN_BY_LOCAL_SERVERS or not knows_provider(provider)
    return FREE if host is not None and may_be_local and is_local(host) else None


def _known_as(provider: str | None, model: str) -> str:
    """The model behind a deployment's name or an inference profile, by the user's own map."""
    models = _settings.in_force.models
    return models.get(f"{provider}:{model}") or models.get(model) or model


def given_rates(
    prices: Mapping[str, Rates], provider: str | None, model: str, known_as: str | None = None
) -> Rates | None:
    """The user's own rates of a model, of those that were given as to `instrument(prices=...)`. None: there are none.

    Args:
        prices: rates by `"model"`, `"provider:model"` or `"provider:*"`.
        provider: who bills.
        model: as it was called.
        known_as: the model behind a name of the user's own. None: `model`.
    """
    known_as = model if known_as is None else known_as
    for name in (f"{provider}:{model}", model, f"{provider}:{known_as}", known_as, f"{provider}:*"):
        if name in prices:
            return prices[name]
    return None


def given_card(
    prices: Mapping[str, Rates], provider: str | None, model: str, known_as: str | None = None
) -> RateCard | None:
    """The card of the rates that `given_rates` finds, with the same arguments.

    Raises:
        TypeError, ValueError: as `checked_rates`.
    """
    given = given_rates(prices, provider, model, known_as)
    return None if given is None else compile_card(checked_rates(f"prices[{model!r}]", given), book="prices")


def _assumed_card() -> RateCard | None:
    assumed = _settings.in_force.unpriced
    return None if isinstance(assumed, str) else compile_card(checked_rates("unpriced", assumed), book="unpriced")


_UNDER_A_BUDGET: Final = {
    "estimate": "a max_usd budget counts it at the most expensive rate that is known",
    "ignore": "a max_usd budget does not count it",
    "refuse": "under a max_usd budget it is a breach",
}


def _warn_unpriced(provider: str | None, model: str) -> None:
    if (provider, model) in _warned or len(_warned) >= _MOST_CARDS:
        return
    _warned.add((provider, model))
    policy = _settings.in_force.unpriced
    _logger.warning(
        "the price of model %r of provider %r is not known for what a call used: its tokens are counted, its cost is "
        "not, and %s (unpriced=%r); give a price with instrument(prices={%r: {'input_mtok': ..., 'output_mtok': ...}})",
        model,
        provider,
        _UNDER_A_BUDGET[policy if isinstance(policy, str) else "ignore"],
        policy if isinstance(policy, str) else dict(policy),
        model,
    )
