"""Billing by hand, for clients that are not patched."""

from __future__ import annotations

from decimal import Decimal
from time import time

from otel_harn_steps._calls.budget_estimate import bill_at_once
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.usage import LIST_PRICE, Usage, token_count
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.active import current_account
from otel_harn_steps._steps.totals import ModelCall
from otel_harn_steps._telemetry.call_row import Certainty


def record_llm_usage(
    model: str | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cost_usd: float | Decimal | None = None,
    *,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    cache_write_1h_tokens: int = 0,
    reasoning_tokens: int = 0,
    provider: str | None = None,
) -> None:
    """Bill a call that was made with a client we do not patch to the active step, else to the run that is open.
    Without either, nothing happens.

    Always added, also when the step is exhausted: the money is spent. A negative count becomes 0.

    Args:
        model: the model that answered; None for the step's default model; "" for none: the call is priced by the
            default model if there is one, and billed under no model.
        input_tokens: input tokens, cached ones included; None for unknown.
        output_tokens: output tokens, reasoning included; None for unknown.
        cost_usd: what it cost in US dollars; None: price it for me. NaN, infinite and negative are an unknown cost.
        cache_read_tokens: part of the input that was read from a cache.
        cache_write_tokens: part of the input that was written to a cache.
        cache_write_1h_tokens: part of the cache writes that lives an hour.
        reasoning_tokens: part of the output that is reasoning.
        provider: who bills, as in `gen_ai.provider.name`; None: found by the model's name.

    Raises:
        StepBudgetExceeded: the call crossed a limit of a budget that covers it.
    """
    active = current_account()
    if active is None:
        return
    priced_as = model or active.definition.model
    usage = Usage(
        token_count(input_tokens),
        token_count(output_tokens),
        token_count(cache_read_tokens) or 0,
        token_count(cache_write_tokens) or 0,
        token_count(cache_write_1h_tokens) or 0,
        token_count(reasoning_tokens) or 0,
    )
    known = usage.input_tokens is not None or usage.output_tokens is not None
    cost = None if cost_usd is None else to_picousd(cost_usd)
    book = None if cost is None else "given"
    with guard("pricing a call"):
        if cost_usd is None and known:
            from otel_harn_steps._cost.price_book import price_of  # noqa: PLC0415 -- only for who prices

            cost, book = price_of(provider, priced_as, usage, LIST_PRICE, time())
    billed_as = priced_as if model is None else model or None
    certainty: Certainty = "measured" if usage.is_complete else "unknown"
    call = ModelCall(
        provider or "unknown", billed_as, usage if known else None, cost, certainty=certainty, price_book=book
    )
    breach = bill_at_once(active, call, time())
    if breach is not None:
        raise breach
