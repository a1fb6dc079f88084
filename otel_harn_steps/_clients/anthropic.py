"""The `anthropic` client: Anthropic itself, and its models on Bedrock and Vertex."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, model_in
from otel_harn_steps._calls.fields import Fields, field, fields_of, items_of, text_of
from otel_harn_steps._calls.peers import client_traces_itself
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.openai_usage import SAYS_USD, reported_usd
from otel_harn_steps._clients._shared.plain_events import lacks
from otel_harn_steps._cost.hosts import provider_at
from otel_harn_steps._cost.usage import Terms, Usage, token_count
from otel_harn_steps._cost.values import value

_OPERATIONS: Final = {"/v1/messages": "chat", "/v1/complete": "text_completion", "/v1/messages/batches": "batch"}
_RESULTS: Final = re.compile(r"/v1/messages/batches/([^/]+)/results$")
_MESSAGES: Final = ("Messages.create", "Messages.stream", "Messages.parse")
_PLACES: Final = (
    "resources.messages.messages",
    "resources.beta.messages.messages",
    "lib.bedrock._beta_messages",  # copies, made when these are imported
    "lib.vertex._beta_messages",
)
# These clouds sell Anthropic's own platform too, at its prices.
_CLOUDS: Final = frozenset({"aws.bedrock", "azure.ai.openai", "gcp.vertex_ai"})
# Requests within the call that its top-level numbers leave out (the client's own documentation of `iterations`).
_LEFT_OUT: Final = frozenset({"compaction", "advisor_message"})
_INPUT_FIELDS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_USAGE_FIELDS: Final = (
    *_INPUT_FIELDS,
    "output_tokens",
    "cache_creation",
    "output_tokens_details",
    "server_tool_use",
    "service_tier",
    "speed",
    "inference_geo",
    "iterations",
    # OpenRouter's
    "cost",
    "cost_details",
    "is_byok",
)
_usage: Final = usage_table(
    input_tokens="input_tokens",
    output_tokens="output_tokens",
    cache_read_tokens="cache_read_input_tokens",
    cache_write_tokens="cache_creation_input_tokens",
    cache_write_1h_tokens="cache_creation.ephemeral_1h_input_tokens",
    reasoning_tokens="output_tokens_details.thinking_tokens",
    web_searches="server_tool_use.web_search_requests",
    outside_input=("cache_read_tokens", "cache_write_tokens"),
)


@value
class _Results(Request):
    """A request for the results of a batch."""

    batch_id: str = ""


class _Anthropic(ClientAdapter):
    name: Final = "anthropic"
    seams: Final = stainless.seams("anthropic", dict.fromkeys(_PLACES, _MESSAGES))

    def request(self, call: Call) -> Request | None:
        options = stainless.options_of(call)
        path = stainless.path_of(options)
        results = _RESULTS.search(path) if options.method == "get" else None
        if results is not None:  # reading them is no call, and gets no span
            return _Results("batch", "anthropic", None, makes_own_span=True, job="fetch", batch_id=results[1])
        operation = _OPERATIONS.get(path)
        if operation is None or options.method != "post":
            return None
        kind, (host, port) = type(call.instance).__name__, stainless.address_of(call)
        return Request(
            operation,
            "aws.bedrock" if "Bedrock" in kind else "gcp.vertex_ai" if "Vertex" in kind else _provider_at(host),
            model_in(stainless.body_of(options)),
            makes_own_span=client_traces_itself(call.instance, options),
            host=host,
            port=port,
        )

    def unread(self, call: Call) -> Request | None:
        operation = stainless.unread_operation(call, _OPERATIONS.get)
        return None if operation is None else self.unread_request(operation)

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        if request.operation != "batch":
            stainless.fill_in_model(call, request)
        return request

    def sent_body(self, call: Call) -> Any:
        return stainless.sent_body(stainless.options_of(call))

    def lower_output(self, call: Call, cap: int) -> bool:
        return stainless.lower_output(call, cap)

    def started_job(self, request: Request, result: Any) -> str | None:
        batch_id = field(result, "id") if request.operation == "batch" else None
        return batch_id if isinstance(batch_id, str) else None

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        if isinstance(request, _Results):
            return _batch(request, response)
        fields = fields_of(response)
        model, response_id, usage = fields.get("model"), fields.get("id"), fields.get("usage")
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            () if usage is None else tuple(_parts(usage)),
            reported_usd(request.provider, response) if request.provider in SAYS_USD else None,
        )

    def fold(self, state: Any, event: Any) -> Any:
        fields = fields_of(event)
        kind = fields.get("type")
        if kind == "message_start":
            message = fields.get("message")
            # The output count of a start is a placeholder: an early end leaves it unknown.
            usage = {**_known(field(message, "usage")), "output_tokens": None}
            return {"model": field(message, "model"), "id": field(message, "id"), "usage": usage}
        if kind == "message_delta" and state is not None:
            return {**state, "usage": _with_delta(state["usage"], _known(fields.get("usage")))}
        if kind is None and fields.get("result") is not None:  # of one request of a batch
            message = field(event, "result.message")
            return [*(state or ()), message] if field(message, "usage") is not None else state
        return state

    def plain(self, request: Request, state: Any) -> Callable[[Any], bool] | None:
        return None if isinstance(state, list) else _reports_nothing


# Where `fold` looks: of a start, of a delta, of one request of a batch.
_reports_nothing: Final = lacks("usage", "message", "result")


@lru_cache(maxsize=256)
def _provider_at(host: str) -> str:
    provider = provider_at(host, "anthropic")
    return "anthropic" if provider in _CLOUDS and "bedrock" not in host else provider


def _batch(request: _Results, messages: Any) -> ParsedResponse:
    parts: list[Part] = []
    for message in items_of(messages):
        model = text_of(field(message, "model"))
        parts += (replace(part, model=part.model or model) for part in _parts(field(message, "usage")))
    model = parts[0].model if parts else None
    return ParsedResponse(model, request.batch_id, parts, job_id=request.batch_id, is_job_of_any_process=True)


def _known(usage: Any) -> dict[str, Any]:
    fields = fields_of(usage)
    return {name: value for name in _USAGE_FIELDS if (value := fields.get(name)) is not None}


def _with_delta(start: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """The usage after a delta: its counts are cumulative, and they replace; what it leaves out stands.

    Compatible servers send an input of 0 with it. Input that the start has counted does not become less.
    """
    if _input_of(delta) < _input_of(start):
        delta = {name: value for name, value in delta.items() if value or name not in _INPUT_FIELDS}
    return {**start, **delta}


def _input_of(usage: dict[str, Any]) -> int:
    return sum(token_count(usage.get(name)) or 0 for name in _INPUT_FIELDS)


def _read(reported: Any) -> Usage | None:
    usage = _usage(reported)
    if usage is None or usage.cache_write_tokens:
        return usage
    # Written tokens by how long they are kept, where their sum is missing.
    for_5m = fields_of(fields_of(reported).get("cache_creation")).get("ephemeral_5m_input_tokens")
    written = usage.cache_write_1h_tokens + (token_count(for_5m) or 0 if for_5m else 0)
    if not written:
        return usage
    total = None if usage.input_tokens is None else usage.input_tokens + written
    return replace(usage, input_tokens=total, cache_write_tokens=written)


def _parts(reported: Any) -> list[Part]:
    own = _read(reported)
    if own is None:
        return []
    fields = fields_of(reported)
    terms = anthropic_terms(fields)
    parts = [Part(own, terms)]
    for iteration in items_of(fields.get("iterations")):
        if field(iteration, "type") in _LEFT_OUT:
            usage = _read(iteration)
            if usage is not None:
                parts.append(Part(usage, terms, text_of(field(iteration, "model"))))
    return parts


def anthropic_terms(usage: Fields) -> Terms:
    """What else decides the price: region, batch, tier, speed."""
    terms: list[tuple[str, str]] = []
    if usage.get("inference_geo") == "us":
        terms.append(("inference_geo", "us"))
    tier = usage.get("service_tier")
    if tier == "batch":
        terms.append(("processing", "batch"))
    elif isinstance(tier, str):
        terms.append(("service_tier", tier))
    if usage.get("speed") == "fast":
        terms.append(("speed", "fast"))
    return tuple(terms)


ANTHROPIC: Final = _Anthropic()
