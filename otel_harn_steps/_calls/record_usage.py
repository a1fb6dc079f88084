"""Billing by hand, for clients that are not patched."""

from __future__ import annotations

from decimal import Decimal
from time import time

from otel_harn_steps._arguments import number_or_none, text_or_none
from otel_harn_steps._calls.budget_estimate import bill_at_once
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.usage import LIST_PRICE, Usage, token_count
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.active import current_account
from otel_harn_steps._steps.pausing import goes_on
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

    Always added, also when the step is exhausted: the money is spent. A negative count becomes 0; one that is NaN or
    infinite is unknown.

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
        TypeError: a name is not a string, or a number is none. Nothing was billed.
    """
    text_or_none("model", model)
    text_or_none("provider", provider)
    given_cost = number_or_none("cost_usd", cost_usd, "US dollars")
    counts = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "cache_write_1h_tokens": cache_write_1h_tokens,
        "reasoning_tokens": reasoning_tokens,
    }
    known_counts = {name: token_count(number_or_none(name, count, "tokens")) for name, count in counts.items()}
    active = current_account()
    if active is None:
        return
    priced_as = model or active.definition.model
    sides = known_counts.pop("input_tokens"), known_counts.pop("output_tokens")
    usage = Usage(*sides, **{name: count or 0 for name, count in known_counts.items()})
    known = usage.input_tokens is not None or usage.output_tokens is not None
    cost = None if given_cost is None else to_picousd(given_cost)
    book, saved = None if cost is None else "given", None
    with guard("pricing a call"):
        if given_cost is None and known:
            from otel_harn_steps._cost.price_book import cache_savings_of, price_of  # noqa: PLC0415 -- only for who prices

            cost, book = price_of(provider, priced_as, usage, LIST_PRICE, time())
            saved = cache_savings_of(provider, priced_as, usage, LIST_PRICE, time())
    billed_as = priced_as if model is None else model or None
    certainty: Certainty = "measured" if usage.is_complete else "unknown"
    call = ModelCall(
        provider or "unknown",
        billed_as,
        usage if known else None,
        cost,
        certainty=certainty,
        price_book=book,
        cache_savings_picousd=saved,
    )
    breach = bill_at_once(active, call, time())
    if breach is not None and not goes_on(breach):
        raise breach
