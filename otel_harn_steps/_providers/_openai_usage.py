"""Usage as OpenAI's protocol tells it, in the dialects of its endpoints and of those who speak it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from otel_harn_steps._reading import Part, Request
from otel_harn_steps._usage import LIST_PRICE, Terms, Usage, count_at, field, token_count

_NO_OUTPUT: Final = frozenset({"embeddings", "rerank"})
_XAI_TICKS_PER_USD: Final = Decimal(10**10)


def usage_of(answer: Any) -> Any:
    """What tells usage in an answer, None where nothing does. Groq's streams have a place of their own for it."""
    usage = field(answer, "usage")
    return usage if usage is not None else field(field(answer, "x_groq"), "usage")


def parts_of(request: Request, answer: Any) -> tuple[Part, ...]:
    """What `answer` used. Empty where it does not tell."""
    usage = _usage(request, usage_of(answer), answer)
    if usage is None:
        return ()
    parts = [Part(usage, _terms(answer))]
    drawing = field(answer, "svg_usage")  # beside the image model's own usage, by a model that it names
    drawn = None if drawing is None else _usage(request, drawing, None)
    if drawn is not None:
        model = field(drawing, "model")
        parts.append(Part(drawn, LIST_PRICE, model if isinstance(model, str) else None))
    return tuple(parts)


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


def _usage(request: Request, usage: Any, answer: Any) -> Usage | None:
    names = ("prompt_tokens", "completion_tokens")
    if all(field(usage, name) is None for name in names):
        names = ("input_tokens", "output_tokens")
    input_tokens, output_tokens = (token_count(field(usage, name)) for name in names)
    if input_tokens is None and output_tokens is None:
        return None
    if request.operation in _NO_OUTPUT:
        output_tokens = output_tokens or 0
    details_in, details_out = _details(usage, *names)
    reasoning = count_at(details_out, "reasoning_tokens")
    citations = 0
    if request.provider == "perplexity" and not reasoning:
        # Its deep research counts these beside the answer's tokens, at the top level.
        reasoning, citations = count_at(usage, "reasoning_tokens"), count_at(usage, "citation_tokens")
        output_tokens = (output_tokens or 0) + reasoning + citations
    elif reasoning and _is_beside_output(input_tokens, output_tokens, reasoning, usage):
        output_tokens = (output_tokens or 0) + reasoning
    return Usage(
        input_tokens,
        output_tokens,
        cache_read_tokens=_cache_read(usage, details_in),
        cache_write_tokens=count_at(details_in, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=count_at(details_in, "audio_tokens"),
        output_audio_tokens=count_at(details_out, "audio_tokens"),
        cache_read_audio_tokens=count_at(field(details_in, "cached_tokens_details"), "audio_tokens"),
        input_image_tokens=count_at(details_in, "image_tokens"),
        output_image_tokens=count_at(details_out, "image_tokens"),
        output_citation_tokens=citations,
        web_searches=_web_searches(usage, answer),
    )


def _details(usage: Any, *names: str) -> tuple[Any, ...]:
    """What each count consists of. Transcriptions say `input_token_details`, all others `input_tokens_details`."""
    found = []
    for name in names:
        details = field(usage, f"{name}_details")
        found.append(details if details is not None else field(usage, f"{name.removesuffix('s')}_details"))
    return tuple(found)


def _cache_read(usage: Any, details: Any) -> int:
    """Input that came from a cache: OpenAI's place for it, then those of Moonshot and Together, and of DeepSeek."""
    for source, name in ((details, "cached_tokens"), (usage, "cached_tokens"), (usage, "prompt_cache_hit_tokens")):
        count = token_count(field(source, name))
        if count is not None:
            return count
    return 0


def _is_beside_output(tokens_in: int | None, tokens_out: int | None, reasoning: int, usage: Any) -> bool:
    """Whether reasoning is not within the output tokens, as xAI has it: the total gives it away."""
    total = token_count(field(usage, "total_tokens"))
    return total is not None and total == (tokens_in or 0) + (tokens_out or 0) + reasoning


def _terms(answer: Any) -> Terms:
    tier = field(answer, "service_tier")
    return (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE


def _web_searches(usage: Any, answer: Any) -> int:
    """How many searches the provider made for the model: as it counts them, else as its output shows them."""
    for source, name in (
        (field(field(answer, "tool_usage"), "web_search"), "num_requests"),
        (usage, "num_search_queries"),
    ):
        told = token_count(field(source, name))
        if told is not None:
            return told
    output = field(answer, "output")
    return sum(_is_search(item) for item in output) if isinstance(output, list) else 0


def _is_search(item: Any) -> bool:
    # Opening a page that was found, and searching in it, are not charged.
    return field(item, "type") == "web_search_call" and field(field(item, "action"), "type") in (None, "search")
