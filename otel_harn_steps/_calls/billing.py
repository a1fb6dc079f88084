"""What a response is billed as: the usage that it reports, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.price_book import price_of
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.totals import ModelCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_harn_steps._calls.client import ParsedResponse, Part, Request
    from otel_harn_steps._cost.usage import Usage
    from otel_harn_steps._telemetry.call_row import Certainty

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
    with _ADDING_UP_CALL:
        return _added_up(request, parsed, at)
    return unknown(request, parsed)


def _added_up(request: Request, parsed: ParsedResponse, at: float) -> ModelCall:
    if not parsed.parts:
        return unknown(request, parsed)
    model = parsed.model or request.model
    usage: Usage = parsed.parts[0].usage
    for part in parsed.parts[1:]:
        usage = usage + part.usage
    cost, book = None, None
    certainty: Certainty = "measured" if usage.is_complete else "unknown"
    with _PRICING_CALL:  # what it used is known all the same
        cost = to_picousd(parsed.reported_usd)
        if cost is not None:
            certainty, book = "reported" if usage.is_complete else "unknown", "provider"
        else:
            cost, book = _cost_of(request, parsed.parts, model, at)
    terms = parsed.parts[0].terms + request.terms
    return ModelCall(request.provider, model, usage, cost, 0, 0, certainty, book, terms)


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
