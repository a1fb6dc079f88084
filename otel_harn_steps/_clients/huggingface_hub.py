"""The `huggingface_hub` inference client: Hugging Face, the providers behind its router, and servers of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ByMethod, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._clients._shared.openai_usage import parts_of
from otel_harn_steps._cost.usage import Usage, field, token_count

_CLIENTS: Final = (
    ("huggingface_hub.inference._client", "InferenceClient", "call"),
    ("huggingface_hub.inference._generated._async_client", "AsyncInferenceClient", "async call"),
)
_OPERATIONS: Final = {
    "chat_completion": "chat",
    "text_generation": "text_completion",
    "feature_extraction": "embeddings",
    "_inner_post": "",  # every task passes here; those above have been seen by then
}
_SEEN: Final = frozenset({"conversational", "text-generation", "feature-extraction"})
# The client's words for "whoever serves it" and for Hugging Face itself.
_NOBODY_ELSE: Final = frozenset({"auto", "hf-inference"})


class _HuggingFace(ByMethod):
    name: Final = "huggingface_hub"
    seams: Final = tuple(
        Seam(module, f"{owner}.{method}", kind, operation=operation)  # type: ignore[arg-type]
        for module, owner, kind in _CLIENTS
        for method, operation in _OPERATIONS.items()
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        served_by = getattr(instance, "provider", None)
        provider = "huggingface" if not served_by or served_by in _NOBODY_ELSE else f"huggingface_{served_by}"
        if self.operation:
            return Request(self.operation, provider, model_in(kwargs) or _model_of(instance))
        parameters = args[0] if args else kwargs.get("request_parameters")
        task = field(parameters, "task")
        if task in _SEEN or not isinstance(task, str):
            return None
        model = field(parameters, "model")
        return Request(task.replace("-", "_"), provider, model if isinstance(model, str) else None)

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        """Nothing: a client without a model asks the Hub which is recommended for the task."""

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        model, response_id = field(answer, "model"), field(answer, "id")
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            parts_of(request, answer) or _generated(field(answer, "details")),
        )

    def fold(self, state: Any, event: Any) -> Any:
        tells = field(event, "usage") is not None or field(event, "details") is not None
        return event if tells or state is None else state


def _model_of(client: Any) -> str | None:
    model = model_in(vars(client))  # of a client for one server, its address
    return None if model is None or model.startswith(("http://", "https://")) else model


def _generated(details: Any) -> tuple[Part, ...]:
    """What a text generation server tells of itself, if it was asked for details."""
    read, written = token_count(field(details, "input_length")), token_count(field(details, "generated_tokens"))
    prefill = field(details, "prefill")
    if read is None and isinstance(prefill, list) and prefill:
        read = len(prefill)
    return () if read is None and written is None else (Part(Usage(read, written)),)


HUGGINGFACE_HUB: Final = _HuggingFace()
