"""The `cohere` client, both versions. What is billed is not what was processed, and no answer names a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ByMethod, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._cost.usage import LIST_PRICE, Usage, field, token_count

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


def _seams(module: str, owner: str, methods: Sequence[str]) -> Iterator[Seam]:
    # The clients' public methods are bound when a client is made, so one from before patching would be missed there.
    for method in methods:
        operation = _OPERATIONS[method]
        if method.endswith("_stream"):  # in both modes a context manager, made at once, that sends when it is entered
            yield Seam(module, f"{owner}.{method}", "late call", operation=operation)
            yield Seam(module, f"Async{owner}.{method}", "late call", operation=operation)
        else:
            yield Seam(module, f"{owner}.{method}", "call", operation=operation)
            yield Seam(module, f"Async{owner}.{method}", "async call", operation=operation)


class _Cohere(ByMethod):
    name: Final = "cohere"
    seams: Final = (
        *_seams("cohere.v2.raw_client", "RawV2Client", _V2),
        *_seams("cohere.raw_base_client", "RawBaseCohere", tuple(_OPERATIONS)),
        # Sends batches from threads that know nothing of the step.
        Seam("cohere.client", "Client.embed", "call", operation="embeddings"),
        Seam("cohere.core.http_client", "HttpClient.request", "body"),
        Seam("cohere.core.http_client", "AsyncHttpClient.request", "async body"),
        *(
            Seam("cohere.v2.client", f"{kind}.{method}", "fill")
            for kind in ("V2Client", "AsyncV2Client")
            for method in _V2
        ),
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        return Request(self.operation, "cohere", model_in(kwargs))

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        data = field(answer, "data")  # of an HTTP response object; the answer itself has no such field
        told = answer if data is None else data
        response_id, usage = field(told, "id"), field(told, "usage")
        return ParsedResponse(
            None,
            response_id if isinstance(response_id, str) else None,
            tuple(_parts(request.operation, field(told, "meta") if usage is None else usage)),
            response=data,
        )

    def fold(self, state: Any, event: Any) -> Any:
        # The last event holds the answer (version 1), or what it has cost (version 2).
        for name in ("response", "delta"):
            end = field(event, name)
            if field(end, "meta") is not None or field(end, "usage") is not None:
                return end
        return state


def _parts(operation: str, meta: Any) -> list[Part]:
    billed = field(meta, "billed_units")
    if billed is None:
        return []
    others = tuple((unit, "billed") for unit in _OTHER_UNITS if token_count(field(billed, unit)))
    read, written = token_count(field(billed, "input_tokens")), token_count(field(billed, "output_tokens"))
    if operation == "embeddings" or (others and written is None):
        written = 0
    if others and read is None:
        read = 0
    # Cached tokens are not among the billed ones.
    return [] if read is None and written is None else [Part(Usage(read, written), others or LIST_PRICE)]


COHERE: Final = _Cohere()
