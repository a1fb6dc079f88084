"""What a call may spend at most, from what it sends: so a budget can tell before whether there is room for it."""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps import _settings
from otel_harn_steps._cost.estimate import output_cap, request_size
from otel_harn_steps._cost.list_prices import context_window
from otel_harn_steps._cost.price_book import card_of, dearest_picousd
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._steps.history import expected_output
from otel_harn_steps._steps.reservation import Projection

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import Request
    from otel_harn_steps._steps.account import Account

_SOME: Final = 1_000  # the price of so many output tokens tells that of one
_WITHOUT_OUTPUT: Final = frozenset({"embeddings"})


def projection_of(account: Account, request: Request, body: Any) -> Projection:
    """What a call may spend.

    Args:
        account: what it is billed to.
        request: what it asks for.
        body: what it sends.
    """
    size = request_size(body)
    input_tokens = account.expected_input(size.tokens)
    cap = 0 if request.operation in _WITHOUT_OUTPUT else output_cap(body)
    output_tokens = cap if cap is not None else expected_output(account.definition.name, request.model)
    is_firm = output_tokens is not None
    if output_tokens is None:
        window = context_window(request.provider, request.model)
        output_tokens = 0 if window is None else max(0, window - input_tokens)
    cached = input_tokens if size.writes_cache or size.writes_cache_1h else 0
    for_1h = input_tokens if size.writes_cache_1h else 0
    of_input, of_token, is_priced = _prices_of(request, Usage(input_tokens, 0, 0, cached, for_1h))
    is_refused = not is_priced and _settings.in_force.unpriced == "refuse" and request.model is not None
    return Projection(
        input_tokens,
        output_tokens,
        of_input + output_tokens * of_token,
        input_picousd=of_input,
        token_picousd=of_token,
        cap=cap,
        is_firm=is_firm,
        estimated_input=size.tokens,
        unpriced_model=request.model if is_refused else None,
    )


def _prices_of(request: Request, usage: Usage) -> tuple[int, int, bool]:
    """What a budget assumes that an input and each token of output cost, and whether their prices are known."""
    card = None
    if request.model:
        card = card_of(request.provider, request.model, request.terms, time(), host=request.host)
    cost = None if card is None else card.cost_picousd(usage)
    if card is not None and cost is not None:
        return cost, card.output_picousd(usage.input_tokens or 0), True
    if _settings.in_force.unpriced != "estimate":
        return 0, 0, False
    of_input = dearest_picousd(request.provider, usage)
    of_some = dearest_picousd(request.provider, replace(usage, output_tokens=_SOME))
    return of_input, -(-(of_some - of_input) // _SOME), False
