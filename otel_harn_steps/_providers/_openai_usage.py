"""Usage as OpenAI's protocol tells it, in its three dialects: chat, responses, embeddings."""

from __future__ import annotations

from typing import Any

from otel_harn_steps._reading import Part
from otel_harn_steps._usage import LIST_PRICE, Terms, Usage, count_at, field, token_count


def part_of(operation: str, usage: Any, answer: Any) -> Part | None:
    """What `answer` used. None where it does not tell."""
    if usage is None:
        return None
    tokens_in, tokens_out = field(usage, "prompt_tokens"), field(usage, "completion_tokens")
    details_in, details_out = field(usage, "prompt_tokens_details"), field(usage, "completion_tokens_details")
    if tokens_in is None and tokens_out is None:
        tokens_in, tokens_out = field(usage, "input_tokens"), field(usage, "output_tokens")
        details_in, details_out = field(usage, "input_tokens_details"), field(usage, "output_tokens_details")
    input_tokens, output_tokens = token_count(tokens_in), token_count(tokens_out)
    if input_tokens is None and output_tokens is None:
        return None
    if operation == "embeddings":
        output_tokens = 0
    reasoning = count_at(details_out, "reasoning_tokens")
    if reasoning and _is_beside_output(
        input_tokens, output_tokens, reasoning, token_count(field(usage, "total_tokens"))
    ):
        output_tokens = (output_tokens or 0) + reasoning
    return Part(
        Usage(
            input_tokens,
            output_tokens,
            cache_read_tokens=count_at(details_in, "cached_tokens"),
            cache_write_tokens=count_at(details_in, "cache_write_tokens"),
            reasoning_tokens=reasoning,
            input_audio_tokens=count_at(details_in, "audio_tokens"),
            output_audio_tokens=count_at(details_out, "audio_tokens"),
            input_image_tokens=count_at(details_in, "image_tokens"),
            output_image_tokens=count_at(details_out, "image_tokens"),
            web_searches=_web_searches(answer),
        ),
        _terms(answer),
    )


def _is_beside_output(tokens_in: int | None, tokens_out: int | None, reasoning: int, total: int | None) -> bool:
    """Whether reasoning is not within the output tokens, as xAI has it: the total gives it away."""
    return total is not None and total == (tokens_in or 0) + (tokens_out or 0) + reasoning


def _terms(answer: Any) -> Terms:
    tier = field(answer, "service_tier")
    return (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE


def _web_searches(answer: Any) -> int:
    """How many searches the Responses API made for the model: as it counts them, else as its output shows them."""
    told = field(field(field(answer, "tool_usage"), "web_search"), "num_requests")
    if told is not None:
        return token_count(told) or 0
    output = field(answer, "output")
    return sum(_is_search(item) for item in output) if isinstance(output, list) else 0


def _is_search(item: Any) -> bool:
    # Opening a page that was found, and searching in it, are not charged.
    return field(item, "type") == "web_search_call" and field(field(item, "action"), "type") in (None, "search")
