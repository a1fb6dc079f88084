"""What a response is billed as: the usage that it reports, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.price_book import cache_savings_of, price_of
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.totals import ModelCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_harn_steps._calls.client import ParsedResponse, Part, Request
    from otel_harn_steps._cost.usage import Usage
    from otel_harn_steps._telemetry.call_row import Certainty

_PROVIDER: Final = "provider"  # in the place of a price book: it says itself what it charges
_ADDING_UP_CALL = guard("adding up a call")
_PRICING_CALL = guard("pricing a call")


def unknown(request: Request, parsed: ParsedResponse) -> ModelCall:
    """A call of which nothing is known but who was asked."""
    return ModelCall(request.provider, parsed.model or request.model, None, certainty="unknown")


def measured(request: Request, parsed: ParsedResponse, at: float) -> ModelCall:
    """A call with what its response reports. What cannot be read of it is unknown.

    Args:
        request: what was asked for.
        parsed: what came of it.
        at: when it was sent, in seconds since the epoch.
    """
    try:
        parts = parsed.parts
        if not parts:
            return unknown(request, parsed)
        model = parsed.model or request.model
        usage: Usage = parts[0].usage
        for part in parts[1:]:
            usage = usage + part.usage
        cost, book, saved = None, None, None
        try:
            reported = parsed.reported_usd
            cost = None if reported is None else to_picousd(reported)
            if cost is not None:
                book = _PROVIDER
            else:
                cost, book = _cost_of(request, parts, model, at)
                if usage.cache_read_tokens and cost is not None:
                    saved = _savings_of(request, parts, model, at)
        except Exception as fault:  # what it used is known all the same
            if not _PRICING_CALL.drops(fault):
                raise
        certainty: Certainty = "reported" if book == _PROVIDER else "measured"
        if usage.input_tokens is None or usage.output_tokens is None:
            certainty = "unknown"
        terms = parts[0].terms + request.terms
        return ModelCall(request.provider, model, usage, cost, 0, 0, certainty, book, terms, saved)
    except Exception as fault:
        if not _ADDING_UP_CALL.drops(fault):
            raise
    return unknown(request, parsed)


def _cost_of(request: Request, parts: Sequence[Part], model: str | None, at: float) -> tuple[int | None, str | None]:
    """What the parts cost, and where the prices are from."""
    total, book = 0, None
    for part in parts:
        terms = part.terms + request.terms
        cost, book = price_of(request.provider, part.model or model, part.usage, terms, at, host=request.host)
        if cost is None:
            return None, None
        total += cost
    return total, book


def _savings_of(request: Request, parts: Sequence[Part], model: str | None, at: float) -> int | None:
    """What reading from caches saved. None where that is unknown of any part that read from one."""
    saved = [
        cache_savings_of(
            request.provider, part.model or model, part.usage, part.terms + request.terms, at, host=request.host
        )
        for part in parts
        if part.usage.cache_read_tokens
    ]
    known = [each for each in saved if each is not None]
    return sum(known) if len(known) == len(saved) else None
