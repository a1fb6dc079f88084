"""The AWS clients (`botocore`, so `boto3`, and `aiobotocore`): models behind `bedrock-runtime`.

An answer names no model that has a price: a call is priced by the id that it asks for, which also says the region.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Part, Request, Seam
from otel_harn_steps._calls.meter import Meter, decoded
from otel_harn_steps._clients._bedrock_bodies import is_async_body, put_back, watch_async_body, watch_events
from otel_harn_steps._clients._shared.openai_usage import parts_of as openai_parts_of
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, count_at, field, items_of, token_count

_OPERATIONS: Final = frozenset(
    {"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream", "StartAsyncInvoke"}
)
_METRICS: Final = "amazon-bedrock-invocationMetrics"
_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}
# What a body or an event may tell usage by, in the dialects of the models' makers.
_TELLING: Final = (
    _METRICS,
    "usage",
    "metadata",
    "serviceTier",
    "performanceConfig",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
    "prompt_token_count",
)
_SENT: Final = frozenset({"ConnectionClosedError"})


class _Bedrock(ClientAdapter):
    name: Final = "botocore"
    seams: Final = (
        Seam("botocore.client", "BaseClient._make_api_call", "call"),
        Seam("aiobotocore.client", "AioBaseClient._make_api_call", "async call"),
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        if instance.meta.service_model.service_name != "bedrock-runtime" or args[0] not in _OPERATIONS:
            return None
        model = args[1].get("modelId")
        operation = "embeddings" if isinstance(model, str) and "embed" in model else "chat"
        return Request(operation, "aws.bedrock", model if isinstance(model, str) else None)

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        if request.model is not None and not args[1].get("modelId"):
            args[1]["modelId"] = request.model

    def was_sent(self, error: BaseException) -> bool:
        return type(error).__name__ in _SENT or super().was_sent(error)

    def watched(self, request: Request, result: Any, meter: Meter) -> Any:
        """Bill the call when the stream, or the body that only an event loop can read, has been read."""
        for name in ("stream", "body"):
            inner = result.get(name)
            if hasattr(inner, "_event_generator"):
                watch_events(inner, meter)
                return result
            if is_async_body(inner):
                watch_async_body(inner, meter, _told_by_headers(result))
                return result
        return None

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        told = answer
        body = field(answer, "body")
        if body is not None:  # an answer of InvokeModel; what `fold` has made of a stream has none
            told = {**_told_by_headers(answer), **(_mapping(decoded(put_back(body))) or {})}
        return ParsedResponse(parts=_parts(request, told))

    def fold(self, state: Any, event: Any) -> Any:
        if isinstance(event, dict) and "headers" in event:  # a whole body that an event loop has read
            return {**event["headers"], **(_mapping(event["body"]) or {})}
        told = _told_by_event(event)
        if told is None:
            return state
        state = state or {}
        if str(told.get("type")).startswith("message_"):
            message = ANTHROPIC.fold(state.get("message"), told)
            state = {**state, "message": message, "usage": message["usage"]} if message else state
            told = {key: value for key, value in told.items() if key != "usage"}
        found = {key: told[key] for key in _TELLING if told.get(key) is not None}
        if told.get("stop_reason"):  # Llama counts what it has generated so far
            found["generation_token_count"] = told.get("generation_token_count")
        return {**state, **found}


def _told_by_headers(result: Any) -> dict[str, Any]:
    headers: Any = field(field(result, "ResponseMetadata"), "HTTPHeaders") or {}
    counts = {name: headers[header] for header, name in _HEADERS.items() if header in headers}
    return {_METRICS: counts} if counts else {}


def _told_by_event(event: Any) -> dict[str, Any] | None:
    """The JSON of an event, as it comes over the wire."""
    payload = _mapping(decoded(event.payload))
    kind = event.headers.get(":event-type")
    if kind == "metadata":
        return payload
    if kind == "chunk" and payload is not None:
        return _mapping(decoded(base64.b64decode(payload.get("bytes", ""))))
    return None


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _parts(request: Request, told: Any) -> tuple[Part, ...]:
    usage = field(told, "usage")
    if usage is None:
        usage = field(field(told, "metadata"), "usage")  # Nova's own stream
    terms = _terms(told)
    if field(usage, "inputTokens") is not None or field(usage, "outputTokens") is not None:
        return (Part(_camel(usage), terms),)
    if field(usage, "input_tokens") is not None:
        return tuple(ANTHROPIC.read(request, {"usage": usage}).parts)
    if field(usage, "prompt_tokens") is not None:
        return openai_parts_of(request, {"usage": usage})
    counted = _metrics(field(told, _METRICS)) or _counted(told)
    if counted is None:
        return ()
    if request.operation == "embeddings" and counted.output_tokens is None:
        counted = Usage(counted.input_tokens, 0)
    return (Part(counted, terms),)


def _camel(usage: Any) -> Usage:
    """Converse and Nova: cached input is not in `inputTokens`."""
    read, written = (
        token_count(field(usage, f"cache{kind}InputTokens")) or count_at(usage, f"cache{kind}InputTokenCount")
        for kind in ("Read", "Write")
    )
    uncached = token_count(field(usage, "inputTokens"))
    details = items_of(field(usage, "cacheDetails"))
    return Usage(
        None if uncached is None else uncached + read + written,
        token_count(field(usage, "outputTokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(count_at(each, "inputTokens") for each in details if field(each, "ttl") == "1h"),
    )


def _counted(told: Any) -> Usage | None:
    """Titan and Llama count at the top level of the body."""
    titan = token_count(field(told, "inputTextTokenCount"))
    if titan is not None:
        results = items_of(field(told, "results"))
        streamed = token_count(field(told, "totalOutputTextTokenCount"))
        return Usage(titan, streamed if streamed is not None else _sum_or_none(results))
    llama = token_count(field(told, "prompt_token_count"))
    return None if llama is None else Usage(llama, token_count(field(told, "generation_token_count")))


def _sum_or_none(results: list[Any]) -> int | None:
    return sum(count_at(each, "tokenCount") for each in results) if results else None


def _metrics(metrics: Any) -> Usage | None:
    """Bedrock's own count, for models whose bodies tell none."""
    uncached, output = (token_count(field(metrics, f"{side}TokenCount")) for side in ("input", "output"))
    if uncached is None and output is None:
        return None
    read, written = (count_at(metrics, f"cache{kind}InputTokenCount") for kind in ("Read", "Write"))
    return Usage(
        None if uncached is None else uncached + read + written,
        output,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _terms(told: Any) -> Terms:
    tier = field(field(told, "serviceTier"), "type")
    if field(field(told, "performanceConfig"), "latency") == "optimized":
        return (("latency", "optimized"),)
    return (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE


BEDROCK: Final = _Bedrock()
