"""Usage as OpenAI's protocol reports it, in the dialects of its endpoints and of those who speak it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from otel_harn_steps._calls.client import Part, Request
from otel_harn_steps._calls.fields import Fields, count, field, fields_of, items_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._cost.surcharges import PREVIEW_SEARCH
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, token_count

_NO_OUTPUT: Final = frozenset({"embeddings", "rerank"})
# Perplexity's count of searches.
_QUERIES: Final = "num_search_queries"
_XAI_TICKS_PER_USD: Final = Decimal(10**10)
# Models that search the web before every answer (OpenAI's documentation of chat completions), and report no searches.
_SEARCHES_ALWAYS: Final = re.compile(r"gpt-[\w.-]+-search-(?:preview|api)\b")
# Google's totals are documented to be prompt + candidates + thoughts + what tools put into the prompt. On its endpoint
# for OpenAI's clients the thoughts are in none of the other counts. Nobody else's total says what it is the sum of.
_GOOGLE: Final = frozenset({"gcp.gemini", "gcp.vertex_ai"})


def _details(name: str, *sides: str) -> tuple[str, ...]:
    # Transcriptions say `input_token_details`, all others `input_tokens_details`.
    return tuple(f"{side}_{tokens}_details.{name}" for side in sides for tokens in ("tokens", "token"))


_usage: Final = usage_table(
    input_tokens=("prompt_tokens", "input_tokens"),
    output_tokens=("completion_tokens", "output_tokens"),
    # OpenAI's place for it, then those of Moonshot and Together, and of DeepSeek.
    cache_read_tokens=(*_details("cached_tokens", "prompt", "input"), "cached_tokens", "prompt_cache_hit_tokens"),
    cache_write_tokens=_details("cache_write_tokens", "prompt", "input"),
    reasoning_tokens=_details("reasoning_tokens", "completion", "output"),
    input_audio_tokens=_details("audio_tokens", "prompt", "input"),
    output_audio_tokens=_details("audio_tokens", "completion", "output"),
    cache_read_audio_tokens=_details("cached_tokens_details.audio_tokens", "prompt", "input"),
    input_image_tokens=_details("image_tokens", "prompt", "input"),
    output_image_tokens=_details("image_tokens", "completion", "output"),
    web_searches=_QUERIES,
)


def usage_of(response: Any) -> Any:
    """The usage object of a response, None where there is none. Groq's streams have a place of their own for it."""
    fields = fields_of(response)
    usage = fields.get("usage")
    return usage if usage is not None else field(fields.get("x_groq"), "usage")


def parts_of(request: Request, response: Any) -> tuple[Part, ...]:
    """What `response` used. Empty where it does not say."""
    return parts_in(request, fields_of(response))


def parts_in(request: Request, fields: Fields, *, is_verbatim: bool = False) -> tuple[Part, ...]:
    """What the response with these fields used. `is_verbatim`: its usage is as the provider has sent it."""
    reported = fields.get("usage")
    if reported is None:
        reported = field(fields.get("x_groq"), "usage")
    usage = _read(request, reported)
    if usage is None:
        return ()
    if is_verbatim and request.provider in _GOOGLE and not usage.reasoning_tokens:
        usage = _with_thoughts(usage, reported)
    if usage.web_searches or fields.get("tool_usage") is not None or fields.get("output") is not None:
        searches = _web_searches(reported, fields)
        if searches != usage.web_searches:
            usage = replace(usage, web_searches=searches)
    tier = fields.get("service_tier")
    terms: Terms = (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE
    if request.provider == "openai":
        model = fields.get("model") or request.model
        if isinstance(model, str) and "-search-" in model and _is_search_model(request, model):
            usage = usage if usage.web_searches else replace(usage, web_searches=1)
            terms = (*terms, PREVIEW_SEARCH)
        elif usage.web_searches and _has_preview_search(fields):
            terms = (*terms, PREVIEW_SEARCH)
    part = Part(usage, terms)
    drawing = fields.get("svg_usage")  # next to the image model's own usage, of a model that it names
    drawn = None if drawing is None else _read(request, drawing)
    if drawn is None:
        return (part,)
    model = field(drawing, "model")
    return part, Part(drawn, LIST_PRICE, model if isinstance(model, str) else None)


SAYS_USD: Final = frozenset({"openrouter", "perplexity", "x_ai"})
"""Who says what it charges."""


def reported_usd(provider: str, response: Any) -> object:
    """What the provider says that it charges, where it does. Elsewhere fields of these names mean other things."""
    if provider not in SAYS_USD:
        return None
    usage = usage_of(response)
    if provider == "openrouter":
        return _openrouter_usd(usage)
    if provider == "perplexity":
        return field(usage, "cost.total_cost")
    ticks = field(usage, "cost_in_usd_ticks")
    return Decimal(ticks) / _XAI_TICKS_PER_USD if isinstance(ticks, int) else None


def _openrouter_usd(usage: Any) -> object:
    cost = field(usage, "cost")
    if field(usage, "is_byok") is not True or not isinstance(cost, (int, float)):
        return cost
    # With your own key, `cost` is OpenRouter's fee, and the provider charges the key's owner as well.
    upstream = field(usage, "cost_details.upstream_inference_cost")
    return Decimal(str(cost)) + Decimal(str(upstream)) if isinstance(upstream, (int, float)) else None


def _read(request: Request, reported: Any) -> Usage | None:
    usage = _usage(reported)
    if usage is None:
        return None
    if request.operation in _NO_OUTPUT and usage.output_tokens is None:
        usage = replace(usage, output_tokens=0)
    reasoning = usage.reasoning_tokens
    if request.provider == "perplexity" and not reasoning:
        # Its deep research counts these outside of the response's tokens, at the top level.
        reasoning, citations = count(reported, "reasoning_tokens"), count(reported, "citation_tokens")
        output = (usage.output_tokens or 0) + reasoning + citations
        return replace(usage, output_tokens=output, reasoning_tokens=reasoning, output_citation_tokens=citations)
    if reasoning and _is_outside_output(usage, reported):
        return replace(usage, output_tokens=(usage.output_tokens or 0) + reasoning)
    return usage


def _is_outside_output(usage: Usage, reported: Any) -> bool:
    """Whether reasoning is not within the output tokens, as xAI has it: the total gives it away."""
    total = token_count(field(reported, "total_tokens"))
    counted = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return total is not None and total == counted + usage.reasoning_tokens


def _with_thoughts(usage: Usage, reported: Any) -> Usage:
    """`usage` with the thoughts that only the total counts."""
    total = token_count(field(reported, "total_tokens"))
    if total is None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    thoughts = max(total - usage.input_tokens - usage.output_tokens, 0)
    return replace(usage, output_tokens=usage.output_tokens + thoughts, reasoning_tokens=thoughts)


def _is_search_model(request: Request, model: str) -> bool:
    return request.operation == "chat" and _SEARCHES_ALWAYS.match(model) is not None


def _has_preview_search(response: Fields) -> bool:
    tools = (field(each, "type") for each in items_of(response.get("tools")))
    return any(isinstance(each, str) and each.startswith("web_search_preview") for each in tools)


def _web_searches(usage: Any, response: Fields) -> int:
    """How many searches the provider made for the model: as it counts them, else as its output shows them."""
    counted = token_count(field(response.get("tool_usage"), "web_search.num_requests"))
    if counted is None:
        counted = token_count(field(usage, _QUERIES))
    if counted is not None:
        return counted
    output = response.get("output")
    return sum(map(_is_search, output)) if isinstance(output, list) else 0


def _is_search(item: Any) -> bool:
    # Opening a page that was found, and searching in it, are not charged.
    return field(item, "type") == "web_search_call" and field(item, "action.type") in (None, "search")


# -- streams -----------------------------------------------------------------------------------------------------------

# What `parts_of` and its callers read of a response.
_OF_RESPONSE: Final = (
    "id",
    "model",
    "service_tier",
    "background",
    "output",
    "tools",
    "tool_usage",
    "svg_usage",
)
# Some servers send these with the first chunk only.
_STANDS: Final = ("id", "model", "service_tier")


def streamed(state: Any, response: Any) -> Any:
    """What a stream has reported, with one more chunk: in the places of a whole response.

    Some servers report usage in parts (the input first, the output last), or send an empty one after it.
    """
    usage = usage_of(response)
    if usage is None:
        return state if field(state, "model") or usage_of(state) is not None else response
    if state is None:
        return response
    before, fields = fields_of(state), fields_of(response)
    stands = {name: value for name in _STANDS if not fields.get(name) and (value := before.get(name))}
    merged = merged_usage(usage_of(state), usage)
    if merged is usage and not stands:
        return response
    return {**{name: fields.get(name) for name in _OF_RESPONSE}, **stands, "usage": merged}


def merged_usage(known: Any, usage: Any) -> Any:
    """The usage that holds when `usage` comes after `known`. One that reports both sides replaces what came before."""
    if known is None:
        return usage
    reported = _usage(usage)
    if reported is not None and reported.input_tokens and reported.output_tokens:
        return usage
    return with_counts(known, usage)


def with_counts(known: Any, usage: Any) -> dict[str, Any]:
    """The usage `known` with the counts of `usage`; zeros and what is left out say nothing against a count."""
    merged = _as_dict(known)
    for name, value in _as_dict(usage).items():
        held = merged.get(name)
        if isinstance(value, Mapping) or hasattr(value, "__pydantic_extra__"):
            merged[name] = with_counts(held, value)
        elif value or held is None:
            merged[name] = value
    return merged


def _as_dict(source: Any) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return dict(source)
    fields = fields_of(source)
    return dict(fields) if isinstance(fields, dict) else {}
