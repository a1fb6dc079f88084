"""The `cohere` client, both versions. What is billed is not what was processed, and no answer names a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import count, field, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._cost.usage import LIST_PRICE, Usage

_OPERATIONS: Final = {
    "chat": "chat",
    "chat_stream": "chat",
    "generate": "text_completion",
    "generate_stream": "text_completion",
    "summarize": "text_completion",
    "embed": "embeddings",
    "rerank": "rerank",
    "classify": "classification",
}
_V2: Final = ("chat", "chat_stream", "embed", "rerank")
# Billed by other units than tokens.
_OTHER_UNITS: Final = ("search_units", "classifications", "images", "image_tokens", "pages")


_tokens: Final = usage_table(input_tokens="input_tokens", output_tokens="output_tokens")


def _seams(module: str, owner: str, methods: Sequence[str]) -> Iterator[Seam]:
    # The clients' public methods are bound when a client is made, so one from before patching would be missed there.
    for method in methods:
        operation = _OPERATIONS[method]
        # In both modes a context manager, made at once, that sends when it is entered.
        deferred = method.endswith("_stream")
        yield Seam(module, f"{owner}.{method}", deferred=deferred, operation=operation)
        yield Seam(module, f"Async{owner}.{method}", is_async=not deferred, deferred=deferred, operation=operation)


class _Cohere(ClientAdapter):
    name: Final = "cohere"
    seams: Final = (
        *_seams("cohere.v2.raw_client", "RawV2Client", _V2),
        *_seams("cohere.raw_base_client", "RawBaseCohere", tuple(_OPERATIONS)),
        # Sends batches from threads that know nothing of the step.
        Seam("cohere.client", "Client.embed", operation="embeddings"),
        Seam("cohere.core.http_client", "HttpClient.request", "body"),
        Seam("cohere.core.http_client", "AsyncHttpClient.request", "body", is_async=True),
        *(
            Seam("cohere.v2.client", f"{kind}.{method}", "fill")
            for kind in ("V2Client", "AsyncV2Client")
            for method in _V2
        ),
    )

    def request(self, call: Call) -> Request | None:
        url = field(call.instance, "_client_wrapper._base_url")
        return Request(call.operation, "cohere", model_in(call.kwargs), host=host_in(url), port=port_in(url))

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        data = field(response, "data")  # of an HTTP response object; the response itself has no such field
        content = response if data is None else data
        usage = field(content, "usage")
        parts = _parts(request.operation, field(content, "meta") if usage is None else usage)
        return ParsedResponse(None, text_of(field(content, "id")), parts, response=data)

    def fold(self, state: Any, event: Any) -> Any:
        # The last event holds the response (version 1), or what it has cost (version 2).
        for name in ("response", "delta"):
            end = field(event, name)
            if field(end, "meta") is not None or field(end, "usage") is not None:
                return end
        return state


def _parts(operation: str, meta: Any) -> tuple[Part, ...]:
    billed, processed = field(meta, "billed_units"), _tokens(field(meta, "tokens"))
    if billed is None:  # of a deployment that bills by the hour
        return () if processed is None else (Part(replace(processed, cache_read_tokens=_cached(meta, processed))),)
    usage = _tokens(billed) or Usage(None, None)
    if usage.input_tokens is not None and processed is not None:
        usage = replace(usage, cache_read_tokens=_cached(meta, processed, usage.input_tokens))
    others = tuple((unit, "billed") for unit in _OTHER_UNITS if count(billed, unit))
    if operation == "embeddings" or (others and usage.output_tokens is None):
        usage = replace(usage, output_tokens=0)
    if others and usage.input_tokens is None:
        usage = replace(usage, input_tokens=0)
    is_reported = usage.input_tokens is not None or usage.output_tokens is not None
    return (Part(usage, others or LIST_PRICE),) if is_reported else ()


def _cached(meta: Any, processed: Usage, billed: int | None = None) -> int:
    """How many input tokens came from the cache; with `billed`, how many of those that are billed.

    Cohere counts them among all that the model has processed, and bills nobody for what it adds to a prompt itself.
    What does not fit into that part was the user's.
    """
    cached, total = count(meta, "cached_tokens"), processed.input_tokens or 0
    return min(cached, total) if billed is None else min(max(cached - max(total - billed, 0), 0), billed)


COHERE: Final = _Cohere()
