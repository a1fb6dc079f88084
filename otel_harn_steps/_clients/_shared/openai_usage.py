"""Usage as OpenAI's protocol tells it, in the dialects of its endpoints and of those who speak it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from otel_harn_steps._calls.client import Part, Request
from otel_harn_steps._cost.surcharges import PREVIEW_SEARCH
from otel_harn_steps._cost.usage import (
    LIST_PRICE,
    Fields,
    Terms,
    Usage,
    count_in,
    field,
    fields_of,
    items_of,
    token_count,
)

_NO_OUTPUT: Final = frozenset({"embeddings", "rerank"})
_XAI_TICKS_PER_USD: Final = Decimal(10**10)


def usage_of(answer: Any) -> Any:
    """What tells usage in an answer, None where nothing does. Groq's streams have a place of their own for it."""
    told = fields_of(answer)
    usage = told.get("usage")
    return usage if usage is not None else field(told.get("x_groq"), "usage")


def parts_of(request: Request, answer: Any) -> tuple[Part, ...]:
    """What `answer` used. Empty where it does not tell."""
    told = fields_of(answer)
    usage = _usage(request, usage_of(answer), told)
    if usage is None:
        return ()
    part = Part(usage, _terms(request.provider, usage, told))
    drawing = told.get("svg_usage")  # beside the image model's own usage, by a model that it names
    drawn = None if drawing is None else _usage(request, drawing, fields_of(None))
    if drawn is None:
        return (part,)
    model = field(drawing, "model")
    return part, Part(drawn, LIST_PRICE, model if isinstance(model, str) else None)


def reported_usd(provider: str, answer: Any) -> object:
    """What the provider says that it charges, where it does. Elsewhere fields of these names mean other things."""
    usage = usage_of(answer)
    if provider == "openrouter":
        return _openrouter_usd(usage)
    if provider == "perplexity":
        return field(field(usage, "cost"), "total_cost")
    if provider == "x_ai":
        ticks = field(usage, "cost_in_usd_ticks")
        return Decimal(ticks) / _XAI_TICKS_PER_USD if isinstance(ticks, int) else None
    return None


def _openrouter_usd(usage: Any) -> object:
    cost = field(usage, "cost")
    if field(usage, "is_byok") is not True or not isinstance(cost, (int, float)):
        return cost
    # With a key of one's own, `cost` is OpenRouter's fee, and the provider charges the key's owner beside it.
    upstream = field(field(usage, "cost_details"), "upstream_inference_cost")
    return Decimal(str(cost)) + Decimal(str(upstream)) if isinstance(upstream, (int, float)) else None


def _usage(request: Request, source: Any, answer: Fields) -> Usage | None:
    usage = fields_of(source)
    told_in, told_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if told_in is None and told_out is None:
        details_in, details_out = _details(usage, "input"), _details(usage, "output")
        told_in, told_out = usage.get("input_tokens"), usage.get("output_tokens")
    else:
        details_in, details_out = _details(usage, "prompt"), _details(usage, "completion")
    input_tokens, output_tokens = token_count(told_in), token_count(told_out)
    if input_tokens is None and output_tokens is None:
        return None
    if request.operation in _NO_OUTPUT:
        output_tokens = output_tokens or 0
    reasoning = count_in(details_out, "reasoning_tokens")
    citations = 0
    if request.provider == "perplexity" and not reasoning:
        # Its deep research counts these beside the answer's tokens, at the top level.
        reasoning, citations = count_in(usage, "reasoning_tokens"), count_in(usage, "citation_tokens")
        output_tokens = (output_tokens or 0) + reasoning + citations
    elif reasoning and _is_beside_output(input_tokens, output_tokens, reasoning, usage):
        output_tokens = (output_tokens or 0) + reasoning
    return Usage(
        input_tokens,
        output_tokens,
        cache_read_tokens=_cache_read(usage, details_in),
        cache_write_tokens=count_in(details_in, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=count_in(details_in, "audio_tokens"),
        output_audio_tokens=count_in(details_out, "audio_tokens"),
        cache_read_audio_tokens=count_in(fields_of(details_in.get("cached_tokens_details")), "audio_tokens"),
        input_image_tokens=count_in(details_in, "image_tokens"),
        output_image_tokens=count_in(details_out, "image_tokens"),
        output_citation_tokens=citations,
        web_searches=_web_searches(usage, answer),
    )


def _details(usage: Fields, side: str) -> Fields:
    """What a count consists of. Transcriptions say `input_token_details`, all others `input_tokens_details`."""
    details = usage.get(f"{side}_tokens_details")
    return fields_of(details if details is not None else usage.get(f"{side}_token_details"))


def _cache_read(usage: Fields, details: Fields) -> int:
    """Input that came from a cache: OpenAI's place for it, then those of Moonshot and Together, and of DeepSeek."""
    for source, name in ((details, "cached_tokens"), (usage, "cached_tokens"), (usage, "prompt_cache_hit_tokens")):
        count = token_count(source.get(name))
        if count is not None:
            return count
    return 0


def _is_beside_output(tokens_in: int | None, tokens_out: int | None, reasoning: int, usage: Fields) -> bool:
    """Whether reasoning is not within the output tokens, as xAI has it: the total gives it away."""
    total = token_count(usage.get("total_tokens"))
    return total is not None and total == (tokens_in or 0) + (tokens_out or 0) + reasoning


def _terms(provider: str, usage: Usage, answer: Fields) -> Terms:
    tier = answer.get("service_tier")
    terms: Terms = (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE
    if usage.web_searches and provider == "openai":
        tools = (field(each, "type") for each in items_of(answer.get("tools")))
        if any(isinstance(each, str) and each.startswith("web_search_preview") for each in tools):
            return (*terms, PREVIEW_SEARCH)
    return terms


def _web_searches(usage: Fields, answer: Fields) -> int:
    """How many searches the provider made for the model: as it counts them, else as its output shows them."""
    tools = answer.get("tool_usage")
    told = None if tools is None else token_count(field(field(tools, "web_search"), "num_requests"))
    if told is None:
        told = token_count(usage.get("num_search_queries"))
    if told is not None:
        return told
    return sum(_is_search(item) for item in items_of(answer.get("output")))


def _is_search(item: Any) -> bool:
    # Opening a page that was found, and searching in it, are not charged.
    return field(item, "type") == "web_search_call" and field(field(item, "action"), "type") in (None, "search")
