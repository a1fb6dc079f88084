"""What calls of one kind are like: how many, how long, how much of them cached, and at what price."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from otel_harn_steps._cost.rate_card import RateCard
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps.store._billed import Billed
from otel_harn_steps.store._repricing import NO_PRICES, OwnPrices, recorded_price

_NONE: Final = Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One call of its kind, on average, exactly.

    Attributes:
        input_tokens, output_tokens: of a call.
        read_share, write_share: of the input, what is read from a cache and written to one.
        input_rate, read_rate, write_rate, output_rate: pico-dollars per token, over all calls of the kind.
        fee: pico-dollars for what is no token; of an opaque one, all that it costs.
        is_opaque: whether its rates are not known.
    """

    input_tokens: Fraction = _NONE
    output_tokens: Fraction = _NONE
    read_share: Fraction = _NONE
    write_share: Fraction = _NONE
    input_rate: Fraction = _NONE
    read_rate: Fraction = _NONE
    write_rate: Fraction = _NONE
    output_rate: Fraction = _NONE
    fee: Fraction = _NONE
    is_opaque: bool = False

    @property
    def cost(self) -> Fraction:
        """Pico-dollars of one call."""
        plain = (1 - self.read_share - self.write_share) * self.input_rate
        of_input = plain + self.read_share * self.read_rate + self.write_share * self.write_rate
        return self.input_tokens * of_input + self.output_tokens * self.output_rate + self.fee

    def with_input(self, now: Profile) -> Profile:
        """With the length of the input of `now`."""
        return replace(self, input_tokens=now.input_tokens)

    def with_cache(self, now: Profile) -> Profile:
        """With the cached shares of `now`."""
        return replace(self, read_share=now.read_share, write_share=now.write_share)

    def with_output(self, now: Profile) -> Profile:
        """With the length of the output of `now`."""
        return replace(self, output_tokens=now.output_tokens)

    def with_fees(self, now: Profile) -> Profile:
        """With the fees of `now`."""
        return replace(self, fee=now.fee)

    def at_prices_of(self, now: Profile) -> Profile:
        """The same call with the rates of `now`. Where one of both has none that are known, it is `now`."""
        if self.is_opaque or now.is_opaque:
            return now
        return replace(
            now,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            read_share=self.read_share,
            write_share=self.write_share,
            fee=self.fee,
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """The calls with a known cost of one step to one model under the same terms."""

    model: tuple[str, str | None]
    calls: Fraction
    profile: Profile

    @property
    def cost(self) -> Fraction:
        """Pico-dollars of all of them."""
        return self.calls * self.profile.cost


class _Sums:
    """The counts and the costs of the calls of a cell, by kind."""

    __slots__ = ("calls", "cost", "kinds", "tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.cost = 0
        self.tokens = [0, 0, 0, 0]  # plain input, cache reads, cache writes, output
        self.kinds: list[int | Fraction] = [0, 0, 0, 0]


def add_up(billed: Iterable[Billed], runs: int, own: OwnPrices = NO_PRICES) -> dict[tuple[object, ...], Cell]:
    """The cells of some calls, of one run of `runs`. Calls of unknown cost are in none."""
    sums: dict[tuple[object, ...], _Sums] = {}
    models: dict[tuple[object, ...], tuple[str, str | None]] = {}
    cards: dict[tuple[object, ...], RateCard] = {}
    for each in billed:
        if each.cost_picousd is None:
            continue
        split = _split(each, own)
        key = (each.provider, each.model, tuple(sorted(each.terms)), split is None)
        models[key] = each.provider, each.model
        sum_ = sums.setdefault(key, _Sums())
        sum_.calls += each.calls
        sum_.cost += each.cost_picousd
        if split is not None:
            tokens, kinds, cards[key] = split
            sum_.tokens = [had + more for had, more in zip(sum_.tokens, tokens, strict=True)]
            sum_.kinds = [had + more for had, more in zip(sum_.kinds, kinds, strict=True)]
    return {
        # A cost without a call, as a record may have, is one of a call that is made in no time.
        key: Cell(models[key], Fraction(sum_.calls or 1, runs), _profile(sum_, cards.get(key)))
        for key, sum_ in sums.items()
    }


def _profile(sums: _Sums, card: RateCard | None) -> Profile:
    calls = sums.calls or 1
    if card is None:
        return Profile(fee=Fraction(sums.cost, calls), is_opaque=True)
    plain, read, write, output = sums.tokens
    whole = plain + read + write
    rates = [
        Fraction(kind) / tokens if tokens else _marginal(card, number)
        for number, (kind, tokens) in enumerate(zip(sums.kinds, sums.tokens, strict=True))
    ]
    return Profile(
        input_tokens=Fraction(whole, calls),
        output_tokens=Fraction(output, calls),
        read_share=Fraction(read, whole) if whole else _NONE,
        write_share=Fraction(write, whole) if whole else _NONE,
        input_rate=rates[0],
        read_rate=rates[1],
        write_rate=rates[2],
        output_rate=rates[3],
        fee=Fraction(sums.cost - sum(sums.kinds)) / calls,
    )


_MANY: Final = 1000
_OF_EACH: Final[tuple[dict[str, Any], ...]] = (
    {"input_tokens": _MANY, "output_tokens": 0},
    {"input_tokens": _MANY, "output_tokens": 0, "cache_read_tokens": _MANY},
    {"input_tokens": _MANY, "output_tokens": 0, "cache_write_tokens": _MANY},
    {"input_tokens": 0, "output_tokens": _MANY},
)


def _marginal(card: RateCard, number: int) -> Fraction:
    """What a token of a kind costs that none of the calls had."""
    nothing = card.cost_picousd(Usage(0, 0)) or 0
    return Fraction((card.cost_picousd(Usage(**_OF_EACH[number])) or nothing) - nothing, _MANY)


def _split(each: Billed, own: OwnPrices) -> tuple[list[int], list[int | Fraction], RateCard] | None:
    """Tokens by kind, what they cost, and the rates. None: the rates are not known.

    Where the recorded cost is not that of the rates (a provider's own, an older price book), each kind has its share of
    it.
    """
    usage, cost = each.usage, each.cost_picousd
    if usage is None or cost is None:
        return None
    card = recorded_price(
        each.provider, each.model, each.terms, each.at, usage=usage, cost=cost, book=each.book, own=own
    ).card
    listed = None if card is None else card.cost_picousd(usage)
    if card is None or listed is None or (cost and not listed):
        return None
    reads, writes = usage.cache_read_tokens, usage.cache_write_tokens
    whole = max(usage.input_tokens or 0, reads + writes)
    tokens = [whole - reads - writes, reads, writes, usage.output_tokens or 0]
    of_input, of_unread, of_plain = (card.cost_picousd(one) or 0 for one in _less_and_less(usage))
    fees = card.cost_picousd(Usage(0, 0, web_searches=usage.web_searches)) or 0
    a_token, rest = divmod(of_plain - fees, whole) if whole else (0, 0)
    rate = a_token if not rest else Fraction(of_plain - fees, whole)  # integers take a tenth of the time
    costs: list[int | Fraction] = [
        tokens[0] * rate,
        of_input - of_unread + reads * rate,
        of_unread - of_plain + writes * rate,
        listed - of_input,
    ]
    return tokens, costs if cost == listed else [each * Fraction(cost, listed) for each in costs], card


def _less_and_less(usage: Usage) -> tuple[Usage, Usage, Usage]:
    """The usage without output, then without reads from caches, then without writes to caches.

    The tier of a long request follows its input, so the input stays the same.
    """
    inputs, searches = usage.input_tokens, usage.web_searches
    audio, cached_audio, images = usage.input_audio_tokens, usage.cache_read_audio_tokens, usage.input_image_tokens
    reads, writes, kept = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    plain = Usage(inputs, 0, 0, 0, 0, 0, audio, 0, 0, images, 0, 0, searches)
    unread = plain if not writes else Usage(inputs, 0, 0, writes, kept, 0, audio, 0, 0, images, 0, 0, searches)
    if not reads:
        return unread, unread, plain
    return Usage(inputs, 0, reads, writes, kept, 0, audio, 0, cached_audio, images, 0, 0, searches), unread, plain


def mixed(cells: Iterable[Cell]) -> Profile:
    """What a call of several cells is like, on average."""
    kept = list(cells)
    calls = sum((cell.calls for cell in kept), _NONE)
    if any(cell.profile.is_opaque for cell in kept):
        return Profile(fee=sum((cell.cost for cell in kept), _NONE) / calls, is_opaque=True)
    profiles = [(cell.calls / calls, cell.profile) for cell in kept]

    def mean(value: Any, weight: Any = lambda _: 1) -> Fraction:
        weights = sum((share * weight(profile) for share, profile in profiles), _NONE)
        over = sum((share * weight(profile) * value(profile) for share, profile in profiles), _NONE)
        return over / weights if weights else sum((share * value(profile) for share, profile in profiles), _NONE)

    return Profile(
        input_tokens=mean(lambda each: each.input_tokens),
        output_tokens=mean(lambda each: each.output_tokens),
        read_share=mean(lambda each: each.read_share, lambda each: each.input_tokens),
        write_share=mean(lambda each: each.write_share, lambda each: each.input_tokens),
        input_rate=mean(lambda e: e.input_rate, lambda e: e.input_tokens * (1 - e.read_share - e.write_share)),
        read_rate=mean(lambda e: e.read_rate, lambda e: e.input_tokens * e.read_share),
        write_rate=mean(lambda e: e.write_rate, lambda e: e.input_tokens * e.write_share),
        output_rate=mean(lambda each: each.output_rate, lambda each: each.output_tokens),
        fee=mean(lambda each: each.fee),
    )
