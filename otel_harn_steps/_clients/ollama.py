"""The `ollama` client. Its server counts tokens, and leaves out those of a prompt that it has in its cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._cost.usage import Usage, field, token_count

_OPERATIONS: Final = {
    "/api/chat": "chat",
    "/api/generate": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}
_METHODS: Final = ("chat", "generate", "embed", "embeddings")


class _Ollama(ClientAdapter):
    name: Final = "ollama"
    seams: Final = (
        Seam("ollama._client", "Client._request", "late stream"),
        Seam("ollama._client", "AsyncClient._request", "late async stream"),
        Seam("ollama._client", "Client._request_raw", "body"),
        Seam("ollama._client", "AsyncClient._request_raw", "async body"),
        *(Seam("ollama._client", f"{kind}.{each}", "fill") for kind in ("Client", "AsyncClient") for each in _METHODS),
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        operation = _OPERATIONS.get(args[2]) if len(args) > 2 else None  # (response class, HTTP method, path)
        return None if operation is None else Request(operation, "ollama", model_in(kwargs.get("json") or {}))

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        """Nothing: the client does not come here without a model."""

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        model = field(answer, "model")
        read, written = token_count(field(answer, "prompt_eval_count")), token_count(field(answer, "eval_count"))
        if request.operation == "embeddings" and read is not None:
            written = 0
        known = read is not None or written is not None
        return ParsedResponse(
            model if isinstance(model, str) else None, parts=(Part(Usage(read, written)),) if known else ()
        )


OLLAMA: Final = _Ollama()
