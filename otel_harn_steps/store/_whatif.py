"""The ledger priced again: with another model, service tier, prices, or cached share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, Literal

from otel_harn_steps._cost.list_prices import context_window, knows_model
from otel_harn_steps._cost.price_book import card_of
from otel_harn_steps._cost.rate_card import RateCard
from otel_harn_steps._cost.usage import Terms, Usage
from otel_harn_steps._cost.vendors import vendor_of
from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps.store._repricing import (
    NO_PRICES,
    OwnPrices,
    model_of,
    recorded_price,
    sent_at_s,
    terms_of,
    usage_of,
    with_terms,
)
from otel_harn_steps.store._tokenizers import Range, same_vendor, scaled, token_range

Tier = Literal["standard", "batch", "flex", "priority"]
TIERS: Final[tuple[Tier, ...]] = ("standard", "batch", "flex", "priority")
_TIER_TERMS: Final[Mapping[str, Mapping[str, str]]] = {
    "standard": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
_OF_TIERS: Final = frozenset({"service_tier", "processing", "speed"})
_LOCAL: Final = "local"
_EMBEDDINGS: Final = "embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be different.

    Attributes:
        model: the model of all calls. None: as they were.
        provider: who bills it. None: the provider of each call, if it has the model; else the model's own.
        tier: the service tier. None: as it was.
        own: what the user says about prices; rates hold for every call to a model that they name.
        cached_share: of the input, what is read from a cache, 0 to 1. Nothing is written to one then. None: as it was.
        tokens: how many tokens the other model counts for one, at least and at most. None: by what is known of both.
    """

    model: str | None = None
    provider: str | None = None
    tier: Tier | None = None
    own: OwnPrices = NO_PRICES
    cached_share: Fraction | None = None
    tokens: Range | None = None


@dataclass(frozen=True, slots=True)
class Repriced:
    """One call priced again, in pico-dollars.

    Attributes:
        cost: with the tokens that were counted. None: unknown.
        low, high: with the fewest and the most tokens that another model may count. None: unknown.
        book: where the price is from.
        is_scaled: whether the recorded cost was no list price, and was changed by as much as the list price changes.
    """

    cost: int | None
    low: int | None
    high: int | None
    book: str | None
    is_scaled: bool = False


@dataclass(slots=True, kw_only=True)
class WhatIfRow:
    """What the calls of one step cost, and would cost, in pico-dollars.

    Attributes:
        calls: those that are priced on both sides.
        before_picousd: of these calls, measured.
        after_picousd, low_picousd, high_picousd: of the same calls.
    """

    step: str
    calls: int = 0
    before_picousd: int = 0
    after_picousd: int = 0
    low_picousd: int = 0
    high_picousd: int = 0


@dataclass(slots=True, kw_only=True)
class WhatIf:
    """The ledger and what it would be. Every billed call is in one of the counts.

    Attributes:
        rows: by step, the largest saving first.
        total: of all rows.
        repriced_calls: of the total, those that the change is for. The others are as they were.
        other_kind_calls: calls that stay as they are because no such model could answer them: embeddings, for a model
            that writes.
        scaled_calls: those whose recorded cost was no list price, and was changed as the list price changes.
        gone_calls, gone_picousd: calls with a cost today, and none that is known with the change. In no row.
        gone_why: these calls by what has no price, as "claude-sonnet-4-5 (batch)".
        unpriced_calls: calls without a cost today and with the change. In no row.
        newly_priced_calls, newly_priced_picousd: calls without a cost today, and what they would cost. In no row.
        estimated_calls, estimated_picousd: what budgets have estimated. It stays as it is, and is in no row.
        too_long_calls: calls with more input than the other model takes.
        reasoning_tokens, output_tokens: of the calls that another model would make.
        books: where the new prices are from.
    """

    rows: list[WhatIfRow] = field(default_factory=list)
    total: WhatIfRow = field(default_factory=lambda: WhatIfRow(step=""))
    repriced_calls: int = 0
    other_kind_calls: int = 0
    scaled_calls: int = 0
    gone_calls: int = 0
    gone_picousd: int = 0
    gone_why: Mapping[str, int] = field(default_factory=dict)
    unpriced_calls: int = 0
    newly_priced_calls: int = 0
    newly_priced_picousd: int = 0
    estimated_calls: int = 0
    estimated_picousd: int = 0
    too_long_calls: int = 0
    reasoning_tokens: int = 0
    output_tokens: int = 0
    books: tuple[str, ...] = ()


def what_if(rows: Iterable[CallRow], change: Change, *, is_meant: Callable[[CallRow], bool] = lambda _: True) -> WhatIf:
    """Price the rows again.

    Args:
        rows: the ledger.
        change: what is to be different.
        is_meant: which calls the change is for. The others stay as they are, and count in the totals.

    Raises:
        TypeError, ValueError: a rate of `change.own` is wrong.
    """
    found, steps = WhatIf(), dict[str, WhatIfRow]()
    books, gone = set[str](), Counter[str]()
    for row in rows:
        if row.outcome not in BILLED:
            continue
        meant = is_meant(row)
        if meant and change.model is not None and not _is_of_the_kind(row, change.model):
            found.other_kind_calls += 1
            meant = False
        repriced = reprice(row, change) if meant else _as_it_was(row)
        if meant and repriced.book is not None:
            books.add(repriced.book)
        if row.cost_picousd is not None and repriced.cost is None:
            gone[_named(row, change)] += 1
        _count(found, steps, row, repriced, change if meant else None)
    found.rows = sorted(steps.values(), key=lambda each: (each.after_picousd - each.before_picousd, each.step))
    for each in found.rows:
        for name in ("calls", "before_picousd", "after_picousd", "low_picousd", "high_picousd"):
            setattr(found.total, name, getattr(found.total, name) + getattr(each, name))
    found.books, found.gone_why = tuple(sorted(books)), dict(gone.most_common())
    return found


def _named(row: CallRow, change: Change) -> str:
    model = change.model or model_of(row) or "(unknown model)"
    return model if change.tier is None else f"{model} ({change.tier})"


def _count(found: WhatIf, steps: dict[str, WhatIfRow], row: CallRow, repriced: Repriced, change: Change | None) -> None:
    if row.estimated_cost_picousd:
        found.estimated_calls += 1
        found.estimated_picousd += row.estimated_cost_picousd
    if row.cost_picousd is None:
        if repriced.cost is None:
            found.unpriced_calls += 1
        else:
            found.newly_priced_calls += 1
            found.newly_priced_picousd += repriced.cost
        return
    if repriced.cost is None:
        found.gone_calls += 1
        found.gone_picousd += row.cost_picousd
        return
    name = NO_STEP if row.step_id is None else row.step
    step = steps.setdefault(name, WhatIfRow(step=name))
    step.calls += 1
    step.before_picousd += row.cost_picousd
    step.after_picousd += repriced.cost
    step.low_picousd += repriced.cost if repriced.low is None else repriced.low
    step.high_picousd += repriced.cost if repriced.high is None else repriced.high
    if change is None:
        return
    found.repriced_calls += 1
    found.scaled_calls += repriced.is_scaled
    if change.model is not None and not _is_that(row, change.model):
        window = context_window(change.provider or row.provider, change.model) or context_window(None, change.model)
        found.too_long_calls += window is not None and (row.input_tokens or 0) > window
        found.reasoning_tokens += row.reasoning_tokens
        found.output_tokens += row.output_tokens or 0


# -- one call ----------------------------------------------------------------------------------------------------------


def reprice(row: CallRow, change: Change) -> Repriced:
    """Price one call again, by the price functions that have priced it, at the day on which it was sent.

    With nothing changed, it is the recorded cost, to the pico-dollar.
    """
    usage = usage_of(row)
    if usage is None or (row.cost_picousd is None and not usage.is_complete):
        return _as_it_was(row)
    wanted = usage if change.cached_share is None else with_cached_share(usage, change.cached_share)
    terms = terms_of(row)
    if change.tier is not None and row.price_book != _LOCAL:
        terms = with_terms(terms, _TIER_TERMS[change.tier], _OF_TIERS)
    if change.model is not None and not _is_that(row, change.model):
        return _with_model(row, change, change.model, wanted, terms)
    return _with_own_model(row, change, (usage, wanted), terms)


def _as_it_was(row: CallRow) -> Repriced:
    return Repriced(row.cost_picousd, row.cost_picousd, row.cost_picousd, row.price_book)


def _is_that(row: CallRow, model: str) -> bool:
    """Whether a call was made to this model: by its name, or answered by a snapshot of it."""
    return model in {row.model, row.requested_model}


def _is_of_the_kind(row: CallRow, model: str) -> bool:
    """Whether a model of this name could answer a call: embeddings are for models that are named so."""
    return (row.operation == _EMBEDDINGS) == ("embed" in model.lower())


def _with_own_model(row: CallRow, change: Change, usages: tuple[Usage, Usage], terms: Terms) -> Repriced:
    usage, wanted = usages
    model, at, cost = model_of(row), sent_at_s(row), row.cost_picousd
    given = None if model is None else change.own.card(row.provider, model)
    if given is not None:
        return _flat(given.cost_picousd(wanted), given.book)
    if (terms == terms_of(row) and wanted == usage) or cost is None or model is None:
        return _as_it_was(row)
    recorded = recorded_price(
        row.provider, model, terms_of(row), at, usage=usage, cost=cost, book=row.price_book, own=change.own
    )
    listed = None if recorded.card is None else recorded.card.cost_picousd(usage)
    card = recorded.card if terms == terms_of(row) else _card(row, change.own.known_as(row.provider, model), terms)
    new = None if card is None else card.cost_picousd(wanted)
    if recorded.card is None or new is None or card is None or (cost and not listed):
        return Repriced(None, None, None, None)
    if recorded.is_exact or not listed:
        return _flat(new, card.book)
    return replace(_flat(round(Fraction(cost * new, listed)), card.book), is_scaled=True)


def _flat(cost: int | None, book: str | None) -> Repriced:
    return Repriced(cost, cost, cost, None if cost is None else book)


def _card(row: CallRow, model: str, terms: Terms) -> RateCard | None:
    """The list prices of a call's own model under other terms. At a gateway, they are its vendor's."""
    at, vendor = sent_at_s(row), vendor_of(model)
    if vendor is not None and not knows_model(row.provider, model):
        return card_of(*vendor, terms, at)
    return card_of(row.provider, model, terms, at)


def _with_model(row: CallRow, change: Change, model: str, usage: Usage, terms: Terms) -> Repriced:
    """The same tokens with another model; and with the fewest and the most that it may count."""
    provider = change.provider
    if provider is None and knows_model(row.provider, model):
        provider = row.provider
    if provider != row.provider and change.tier is None:
        terms = ()  # the tiers of one provider are not those of another
    given = change.own.card(provider, model)
    card = card_of(provider, model, terms, sent_at_s(row)) if given is None else given
    if card is None:
        return Repriced(None, None, None, None)
    low, high = token_range(model_of(row), model) if change.tokens is None else change.tokens
    fewest, most = scaled(usage, low), scaled(usage, high)
    if change.cached_share is None and not same_vendor(model_of(row), model):
        most = with_cached_share(most, Fraction(0))  # another vendor may cache nothing of it
    costs = [card.cost_picousd(each) for each in (usage, fewest, most)]
    if None in costs:
        return Repriced(None, None, None, None)
    cost, least, highest = (each or 0 for each in costs)
    return Repriced(cost, min(cost, least), max(cost, highest), card.book)


def with_cached_share(usage: Usage, share: Fraction) -> Usage:
    """The usage, with this share of the input read from a cache, and nothing written to one."""
    return replace(
        usage,
        cache_read_tokens=_part(usage.input_tokens or 0, share),
        cache_write_tokens=0,
        cache_write_1h_tokens=0,
        cache_read_audio_tokens=_part(usage.input_audio_tokens, share),
    )


def _part(tokens: int, share: Fraction) -> int:
    return tokens * share.numerator // share.denominator
