"""The `anthropic` client: Anthropic itself, and its models on Bedrock and Vertex."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Part, Request
from otel_harn_steps._calls.meter import NOT_A_CALL, Meter
from otel_harn_steps._calls.peers import client_traces_itself
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.jobs import Jobs
from otel_harn_steps._cost.usage import (
    Fields,
    Terms,
    Usage,
    count_at,
    count_in,
    field,
    fields_of,
    items_of,
    token_count,
)

_OPERATIONS: Final = {"/v1/messages": "chat", "/v1/complete": "text_completion", "/v1/messages/batches": "batch"}
_RESULTS: Final = re.compile(r"/v1/messages/batches/([^/]+)/results$")
_MESSAGES: Final = ("Messages.create", "Messages.stream", "Messages.parse")
_PLACES: Final = (
    "resources.messages.messages",
    "resources.beta.messages.messages",
    "lib.bedrock._beta_messages",  # copies, made when these are imported
    "lib.vertex._beta_messages",
)
# Requests within the call that its top-level numbers leave out (the client's own documentation of `iterations`).
_LEFT_OUT: Final = frozenset({"compaction", "advisor_message"})
_USAGE_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "server_tool_use",
    "service_tier",
    "speed",
    "inference_geo",
    "iterations",
)


@dataclass(slots=True)
class _Results(Request):
    """A request for what a batch has become."""

    batch_id: str = ""


class _Anthropic(ClientAdapter):
    name: Final = "anthropic"
    _batches: Final = Jobs()
    seams: Final = stainless.seams("anthropic", dict.fromkeys(_PLACES, _MESSAGES))

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        options = stainless.options_of(args, kwargs)
        path = stainless.path_of(options)
        results = _RESULTS.search(path) if options.method == "get" else None
        if results is not None:  # reading them is no call, and gets no span
            return _Results("batch", "anthropic", None, makes_own_span=True, batch_id=results[1])
        operation = _OPERATIONS.get(path)
        if operation is None or options.method != "post":
            return None
        kind = type(instance).__name__
        provider = "aws.bedrock" if "Bedrock" in kind else "gcp.vertex_ai" if "Vertex" in kind else "anthropic"
        model = stainless.model_of(stainless.body_of(options))
        return Request(operation, provider, model, makes_own_span=client_traces_itself(instance, options))

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        options = stainless.options_of(args, kwargs)
        if request.model is not None and request.operation != "batch" and not stainless.body_of(options).get("model"):
            stainless.change_body(options, model=request.model)

    def watched(self, request: Request, result: Any, meter: Meter) -> Any:
        """A batch that has been started. Its results tell what it used."""
        batch_id = field(result, "id")
        if request.operation != "batch" or isinstance(request, _Results) or not isinstance(batch_id, str):
            return None
        self._batches.started(batch_id, meter)
        return result

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        if isinstance(request, _Results):
            return self._read_results(request, answer)
        told = fields_of(answer)
        model, response_id, usage = told.get("model"), told.get("id"), told.get("usage")
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            () if usage is None else tuple(_parts(usage)),
        )

    def _read_results(self, request: _Results, messages: Any) -> ParsedResponse:
        if not isinstance(messages, list) or not self._batches.is_first_fetch(request.batch_id):
            return NOT_A_CALL
        parts: list[Part] = []
        for message in messages:
            model = field(message, "model")
            named = model if isinstance(model, str) else None
            parts += (replace(part, model=part.model or named) for part in _parts(field(message, "usage")))
        return ParsedResponse(parts[0].model if parts else None, request.batch_id, parts)

    def fold(self, state: Any, event: Any) -> Any:
        result = field(event, "result")
        if result is not None:  # of one request of a batch
            message = field(result, "message")
            return [*(state or ()), message] if field(message, "usage") is not None else state
        kind = field(event, "type")
        if kind == "message_start":
            message = field(event, "message")
            # The output count of a start is a placeholder: an early end leaves it unknown.
            usage = {**_known(field(message, "usage")), "output_tokens": None}
            return {"model": field(message, "model"), "id": field(message, "id"), "usage": usage}
        if kind == "message_delta" and state is not None:
            # Counts of a delta are cumulative, and they replace; what it leaves out stands.
            return {**state, "usage": {**state["usage"], **_known(field(event, "usage"))}}
        return state


def _known(usage: Any) -> dict[str, Any]:
    return {name: value for name in _USAGE_FIELDS if (value := field(usage, name)) is not None}


def _parts(source: Any) -> list[Part]:
    usage = fields_of(source)
    terms = _terms(usage)
    own = _usage(usage)
    if own.input_tokens is None and own.output_tokens is None:
        return []
    parts = [Part(own, terms)]
    for iteration in items_of(usage.get("iterations")):
        told = fields_of(iteration)
        if told.get("type") in _LEFT_OUT:
            model = told.get("model")
            parts.append(Part(_usage(told), terms, model if isinstance(model, str) else None))
    return parts


def _usage(usage: Fields) -> Usage:
    read, written = count_in(usage, "cache_read_input_tokens"), count_in(usage, "cache_creation_input_tokens")
    uncached = token_count(usage.get("input_tokens"))
    return Usage(
        None if uncached is None else uncached + read + written,
        token_count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=count_at(usage.get("cache_creation"), "ephemeral_1h_input_tokens"),
        reasoning_tokens=count_at(usage.get("output_tokens_details"), "thinking_tokens"),
        web_searches=count_at(usage.get("server_tool_use"), "web_search_requests"),
    )


def _terms(usage: Fields) -> Terms:
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
