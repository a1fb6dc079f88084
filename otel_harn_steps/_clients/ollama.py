"""The `ollama` client. Its server counts tokens, and leaves out those of a prompt that it has in its cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import field, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared.hosts import host_in, port_in

_OPERATIONS: Final = {
    "/api/chat": "chat",
    "/api/generate": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}
_METHODS: Final = ("chat", "generate", "embed", "embeddings")
_usage: Final = usage_table(input_tokens="prompt_eval_count", output_tokens="eval_count")


class _Ollama(ClientAdapter):
    name: Final = "ollama"
    seams: Final = (
        Seam("ollama._client", "Client._request", deferred="stream"),
        Seam("ollama._client", "AsyncClient._request", is_async=True, deferred="stream"),
        Seam("ollama._client", "Client._request_raw", "body"),
        Seam("ollama._client", "AsyncClient._request_raw", "body", is_async=True),
        *(Seam("ollama._client", f"{kind}.{each}", "fill") for kind in ("Client", "AsyncClient") for each in _METHODS),
    )

    def request(self, call: Call) -> Request | None:
        # (response class, HTTP method, path)
        operation = _OPERATIONS.get(call.args[2]) if len(call.args) > 2 else None
        if operation is None:
            return None
        url = field(call.instance, "_client.base_url")
        model = model_in(call.kwargs.get("json") or {})
        return Request(operation, "ollama", model, host=host_in(url), port=port_in(url))

    def unread(self, call: Call) -> Request | None:
        given = (each for each in (*call.args, *call.kwargs.values()) if isinstance(each, str))
        operation = next((_OPERATIONS[each] for each in given if each in _OPERATIONS), None)
        return None if operation is None else self.unread_request(operation)

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request  # the client does not come here without a model

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        usage = _usage(response)
        if usage is not None and request.operation == "embeddings":
            usage = replace(usage, output_tokens=0)
        return ParsedResponse(text_of(field(response, "model")), parts=() if usage is None else (Part(usage),))


OLLAMA: Final = _Ollama()
