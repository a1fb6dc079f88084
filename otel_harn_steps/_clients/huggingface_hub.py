"""The `huggingface_hub` inference client: Hugging Face, the providers behind its router, and your own servers."""

from __future__ import annotations

from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import field, items_of, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._clients._shared.openai_usage import parts_of, streamed
from otel_harn_steps._cost.usage import Usage

_CLIENTS: Final = (
    ("huggingface_hub.inference._client", "InferenceClient", False),
    ("huggingface_hub.inference._generated._async_client", "AsyncInferenceClient", True),
)
_OPERATIONS: Final = {
    "chat_completion": "chat",
    "text_generation": "text_completion",
    "feature_extraction": "embeddings",
    "_inner_post": "",  # every task passes here; those above have been seen by then
}
_SEEN: Final = frozenset({"conversational", "text-generation", "feature-extraction"})
# The client's words for "any provider" and for Hugging Face itself.
_NOBODY_ELSE: Final = frozenset({"auto", "hf-inference"})


_generated: Final = usage_table(input_tokens="input_length", output_tokens="generated_tokens")


class _HuggingFace(ClientAdapter):
    name: Final = "huggingface_hub"
    provider: Final = "huggingface"
    seams: Final = tuple(
        Seam(module, f"{owner}.{method}", is_async=is_async, operation=operation)
        for module, owner, is_async in _CLIENTS
        for method, operation in _OPERATIONS.items()
    )

    positional: Final = ("messages",)

    def request(self, call: Call) -> Request | None:
        served_by = getattr(call.instance, "provider", None)
        provider = "huggingface" if not served_by or served_by in _NOBODY_ELSE else f"huggingface_{served_by}"
        if call.operation:
            own = model_in(vars(call.instance))
            host = host_in(own) if _is_address(own) else None
            model = model_in(call.kwargs) or (own if host is None else None)
            port = None if host is None else port_in(own)
            return Request(call.operation, provider, model, host=host, port=port)
        parameters = call.args[0] if call.args else call.kwargs.get("request_parameters")
        task = field(parameters, "task")
        if task in _SEEN or not isinstance(task, str):
            return None
        return Request(task.replace("-", "_"), provider, text_of(field(parameters, "model")))

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request  # a client without a model asks the Hub which is recommended for the task

    def sent_body(self, call: Call) -> Any:
        if not call.args:
            return call.kwargs
        return {**call.kwargs, "messages" if call.operation else "request_parameters": call.args[0]}

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        parts = parts_of(request, response) or _parts(field(response, "details"))
        return ParsedResponse(text_of(field(response, "model")), text_of(field(response, "id")), parts)

    def fold(self, state: Any, event: Any) -> Any:
        return event if field(event, "details") is not None else streamed(state, event)


def _is_address(model: str | None) -> bool:
    """Whether the "model" of a client is the address of the one server that it is for."""
    return model is not None and model.startswith(("http://", "https://"))


def _parts(details: Any) -> tuple[Part, ...]:
    """What a text generation server reports, if it was asked for details."""
    usage = _generated(details)
    prefill = items_of(field(details, "prefill"))
    if prefill and (usage is None or usage.input_tokens is None):
        usage = Usage(len(prefill), None if usage is None else usage.output_tokens)
    return () if usage is None else (Part(usage),)


HUGGINGFACE_HUB: Final = _HuggingFace()
