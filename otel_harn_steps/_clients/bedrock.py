"""The AWS clients (`botocore`, so `boto3`, and `aiobotocore`): models behind `bedrock-runtime`.

An answer names no model that has a price: a call is priced by the id that it asks for, which also says the region.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam
from otel_harn_steps._calls.fields import count, field, items_of, text_of
from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.raw_bodies import decoded
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._bedrock_bodies import is_async_body, put_back, watch_async_body, watch_events
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._clients._shared.openai_usage import parts_of as openai_parts_of
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._cost.estimate import lower_output_cap
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage

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
# Where a body or an event may report usage, in the dialects of the models' makers.
_REPORTING: Final = (
    _METRICS,
    "usage",
    "metadata",
    "serviceTier",
    "performanceConfig",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
    "prompt_token_count",
)
_TELLING: Final = ("metadata", "chunk")
_SENT: Final = frozenset({"ConnectionClosedError"})


# Converse and Nova. Cached input is not in `inputTokens`.
_converse: Final = usage_table(
    input_tokens="inputTokens",
    output_tokens="outputTokens",
    cache_read_tokens=("cacheReadInputTokens", "cacheReadInputTokenCount"),
    cache_write_tokens=("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    outside_input=("cache_read_tokens", "cache_write_tokens"),
)
# Bedrock's own count, for models whose bodies report none.
_metrics: Final = usage_table(
    input_tokens="inputTokenCount",
    output_tokens="outputTokenCount",
    cache_read_tokens="cacheReadInputTokenCount",
    cache_write_tokens="cacheWriteInputTokenCount",
    outside_input=("cache_read_tokens", "cache_write_tokens"),
)
# At the top level of the body.
_titan: Final = usage_table(input_tokens="inputTextTokenCount", output_tokens="totalOutputTextTokenCount")
_llama: Final = usage_table(input_tokens="prompt_token_count", output_tokens="generation_token_count")


class _Bedrock(ClientAdapter):
    name: Final = "botocore"
    provider: Final = "aws.bedrock"
    seams: Final = (
        Seam("botocore.client", "BaseClient._make_api_call"),
        Seam("aiobotocore.client", "AioBaseClient._make_api_call", is_async=True),
    )

    def request(self, call: Call) -> Request | None:
        service = call.instance.meta.service_model.service_name
        if service != "bedrock-runtime" or call.args[0] not in _OPERATIONS:
            return None
        model = text_of(call.args[1].get("modelId"))
        operation = "embeddings" if model and "embed" in model else "chat"
        url = field(call.instance, "meta.endpoint_url")
        return Request(operation, "aws.bedrock", model, host=host_in(url), port=port_in(url))

    def unread(self, call: Call) -> Request | None:
        # Everything that AWS does passes here; no other service has operations of these names.
        given = (*call.args, *call.kwargs.values())
        return (
            self.unread_request("chat") if any(each in _OPERATIONS for each in given if isinstance(each, str)) else None
        )

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        if request.model is not None and not call.args[1].get("modelId"):
            call.args[1]["modelId"] = request.model
        return request

    def sent_body(self, call: Call) -> Any:
        return call.args[1]

    def lower_output(self, call: Call, cap: int) -> bool:
        return lower_output_cap(call.args[1], cap)

    def was_sent(self, error: BaseException) -> bool:
        return type(error).__name__ in _SENT or super().was_sent(error)

    def watch(self, request: Request, result: Any, meter: Meter) -> Any:
        """Bill the call when the stream, or the body that only an event loop can read, has been read."""
        for name in ("stream", "body"):
            inner = result.get(name)
            if hasattr(inner, "_event_generator"):
                watch_events(inner, meter)
                return result
            if is_async_body(inner):
                watch_async_body(inner, meter, _usage_in_headers(result))
                return result
        return None

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        body = field(response, "body")
        if body is not None:  # a response of InvokeModel; what `fold` has made of a stream has none
            response = {**_usage_in_headers(response), **(_mapping(decoded(put_back(body))) or {})}
        return ParsedResponse(parts=_parts(request, response))

    def fold(self, state: Any, event: Any) -> Any:
        if isinstance(event, dict) and "headers" in event:  # a whole body that an event loop has read
            return {**event["headers"], **(_mapping(event["body"]) or {})}
        payload = _payload_of(event)
        if payload is None:
            return state
        state = state or {}
        if str(payload.get("type")).startswith("message_"):
            message = ANTHROPIC.fold(state.get("message"), payload)
            state = {**state, "message": message, "usage": message["usage"]} if message else state
            payload = {key: value for key, value in payload.items() if key != "usage"}
        found = {key: payload[key] for key in _REPORTING if payload.get(key) is not None}
        if payload.get("stop_reason"):  # Llama counts what it has generated so far
            found["generation_token_count"] = payload.get("generation_token_count")
        return {**state, **found}


def _usage_in_headers(result: Any) -> dict[str, Any]:
    headers: Any = field(result, "ResponseMetadata.HTTPHeaders") or {}
    counts = {name: headers[header] for header, name in _HEADERS.items() if header in headers}
    return {_METRICS: counts} if counts else {}


def _payload_of(event: Any) -> dict[str, Any] | None:
    """The JSON of an event, as it comes over the wire."""
    kind = event.headers.get(":event-type")
    if kind not in _TELLING:  # most events bring text: they are not decoded once more
        return None
    payload = _mapping(decoded(event.payload))
    if kind == "chunk" and payload is not None:
        return _mapping(decoded(base64.b64decode(payload.get("bytes", ""))))
    return payload


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _parts(request: Request, response: Any) -> tuple[Part, ...]:
    reported = field(response, "usage")
    if reported is None:
        reported = field(response, "metadata.usage")  # Nova's own stream
    if field(reported, "input_tokens") is not None:
        return tuple(ANTHROPIC.parse(request, {"usage": reported}).parts)
    if field(reported, "prompt_tokens") is not None:
        return openai_parts_of(request, {"usage": reported})
    usage = _converse_usage(reported) or _metrics(field(response, _METRICS)) or _counted(response)
    if usage is None:
        return ()
    if request.operation == "embeddings" and usage.output_tokens is None:
        usage = replace(usage, output_tokens=0)
    return (Part(usage, _terms(response)),)


def _converse_usage(reported: Any) -> Usage | None:
    usage = _converse(reported)
    details = items_of(field(reported, "cacheDetails"))
    if usage is None or not details:
        return usage
    hour = sum(count(each, "inputTokens") for each in details if field(each, "ttl") == "1h")
    return replace(usage, cache_write_1h_tokens=hour)


def _counted(body: Any) -> Usage | None:
    """What Titan and Llama count. Titan's plain response has a count for each of its results."""
    usage = _titan(body)
    if usage is None or usage.input_tokens is None:
        llama = _llama(body)
        return llama if llama is not None and llama.input_tokens is not None else None
    results = items_of(field(body, "results"))
    if usage.output_tokens is None and results:
        return replace(usage, output_tokens=sum(count(each, "tokenCount") for each in results))
    return usage


def _terms(response: Any) -> Terms:
    tier = field(response, "serviceTier.type")
    if field(response, "performanceConfig.latency") == "optimized":
        return (("latency", "optimized"),)
    return (("service_tier", tier),) if isinstance(tier, str) else LIST_PRICE


BEDROCK: Final = _Bedrock()
