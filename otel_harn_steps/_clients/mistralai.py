"""The `mistralai` client: Mistral itself, and its models on Azure and Google Cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ByMethod, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, count_at, field, token_count

# By module and class: the operation, and the methods of which each has a sync and an async form.
_METHODS: Final = {
    "chat.Chat": ("chat", "complete", "stream"),
    "agents.Agents": ("invoke_agent", "complete", "stream"),
    "fim.Fim": ("text_completion", "complete", "stream"),
    "embeddings.Embeddings": ("embeddings", "create"),
    "conversations.Conversations": (
        "chat", "start", "append", "restart", "start_stream", "append_stream", "restart_stream",
    ),
    "ocr.Ocr": ("ocr", "process"),
    "transcriptions.Transcriptions": ("transcription", "complete", "stream"),
    "classifiers.Classifiers": ("moderation", "moderate", "moderate_chat", "classify", "classify_chat"),
}  # fmt: skip
# Today's package, those for the models on other clouds, and what version 1 was.
_PACKAGES: Final = ("mistralai.client", "mistralai.azure.client", "mistralai.gcp.client", "mistralai")
_ON_CLOUDS: Final = {"mistralai.azure.client": "azure.ai.inference", "mistralai.gcp.client": "gcp.vertex_ai"}


def _seams(package: str) -> tuple[Seam, ...]:
    calls = []
    for place, (operation, *methods) in _METHODS.items():
        module, owner = place.split(".")
        for method in methods:
            target, optional = f"{owner}.{method}", package in _ON_CLOUDS
            calls += [
                Seam(f"{package}.{module}", target, "call", optional, operation),
                Seam(f"{package}.{module}", f"{target}_async", "async call", optional, operation),
            ]
    return (
        *calls,
        Seam(f"{package}.basesdk", "BaseSDK.do_request", "body"),
        Seam(f"{package}.basesdk", "BaseSDK.do_request_async", "async body"),
    )


class _MistralAI(ByMethod):
    name: Final = "mistralai"
    seams: Final = tuple(seam for package in _PACKAGES for seam in _seams(package))

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        package = type(instance).__module__.rpartition(".")[0]
        return Request(self.operation, _ON_CLOUDS.get(package, "mistral_ai"), model_in(kwargs))

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        # An agent and a conversation that goes on have their own model.
        if not {"agent_id", "conversation_id"} & kwargs.keys():
            super().prepare(request, args, kwargs, ask_usage=ask_usage)

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        usage, model, response_id = field(answer, "usage"), field(answer, "model"), field(answer, "id")
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            tuple(_parts(request.operation, usage)),
        )

    def fold(self, state: Any, event: Any) -> Any:
        data = field(event, "data")
        told = {name: value for name in ("model", "id", "usage") if (value := field(data, name)) is not None}
        return {**(state or {}), **told}


def _parts(operation: str, usage: Any) -> list[Part]:
    read, written = token_count(field(usage, "prompt_tokens")), token_count(field(usage, "completion_tokens"))
    if read is None and written is None:
        return []
    connectors = count_at(usage, "connector_tokens")
    if operation == "embeddings":
        written = 0
    tokens = Usage(
        None if read is None else read + connectors,
        written,
        cache_read_tokens=_cached(usage),
        tool_input_tokens=connectors,
    )
    return [Part(tokens, _terms(usage))]


def _cached(usage: Any) -> int:
    # Some models tell `num_cached_tokens` too, which is not documented to be cheaper.
    details = field(usage, "prompt_tokens_details")
    return count_at(field(usage, "prompt_token_details") if details is None else details, "cached_tokens")


def _terms(usage: Any) -> Terms:
    """What else is charged. Connectors and seconds of audio have prices that tokens do not tell."""
    beside = [(name, "charged") for name in ("connectors", "prompt_audio_seconds") if _is_charged(field(usage, name))]
    tier = field(usage, "service_tier")
    return (*beside, ("service_tier", tier)) if isinstance(tier, str) else tuple(beside) or LIST_PRICE


def _is_charged(value: object) -> bool:
    return bool(value) if isinstance(value, Mapping) else bool(token_count(value))


MISTRALAI: Final = _MistralAI()
