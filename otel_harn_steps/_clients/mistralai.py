"""The `mistralai` client: Mistral itself, and its models on Azure and Google Cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import field, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._clients._shared.openai_usage import merged_usage
from otel_harn_steps._clients._shared.plain_events import lacks
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, token_count

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


_usage: Final = usage_table(
    input_tokens="prompt_tokens",
    output_tokens="completion_tokens",
    # Some models report `num_cached_tokens` too, which is not documented to be cheaper.
    cache_read_tokens=("prompt_token_details.cached_tokens", "prompt_tokens_details.cached_tokens"),
    tool_input_tokens="connector_tokens",
    outside_input=("tool_input_tokens",),
)


def _seams(package: str) -> tuple[Seam, ...]:
    calls = []
    for place, (operation, *methods) in _METHODS.items():
        module, owner = place.split(".")
        for method in methods:
            calls += [
                Seam(
                    f"{package}.{module}",
                    f"{owner}.{method}{'_async' * is_async}",
                    is_async=is_async,
                    is_optional=package in _ON_CLOUDS,
                    operation=operation,
                )
                for is_async in (False, True)
            ]
    return (
        *calls,
        Seam(f"{package}.basesdk", "BaseSDK.do_request", "body"),
        Seam(f"{package}.basesdk", "BaseSDK.do_request_async", "body", is_async=True),
    )


class _MistralAI(ClientAdapter):
    name: Final = "mistralai"
    provider: Final = "mistral_ai"
    seams: Final = tuple(seam for package in _PACKAGES for seam in _seams(package))

    def request(self, call: Call) -> Request | None:
        package = type(call.instance).__module__.rpartition(".")[0]
        url = field(call.instance, "sdk_configuration.server_url")  # "" stands for the provider's own
        provider = _ON_CLOUDS.get(package, "mistral_ai")
        return Request(call.operation, provider, model_in(call.kwargs), host=host_in(url), port=port_in(url))

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        # An agent and a conversation that goes on have their own model.
        if {"agent_id", "conversation_id"} & call.kwargs.keys():
            return request
        return super().prepare(call, request, ask_usage=ask_usage)

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        reported = field(response, "usage")
        usage = _usage(reported)
        if usage is not None and request.operation == "embeddings":
            usage = replace(usage, output_tokens=0)
        parts = () if usage is None else (Part(usage, _terms(reported)),)
        return ParsedResponse(text_of(field(response, "model")), text_of(field(response, "id")), parts)

    def fold(self, state: Any, event: Any) -> Any:
        data = field(event, "data")
        found = {name: value for name in ("model", "id", "usage") if (value := field(data, name)) is not None}
        if state is not None and "usage" in found:
            found["usage"] = merged_usage(state.get("usage"), found["usage"])
        return {**(state or {}), **found}

    def plain(self, request: Request, state: Any) -> Callable[[Any], bool] | None:
        return _reports_nothing if state.get("model") and state.get("id") else None


def _reports_nothing(event: Any) -> bool:
    return _has_no_usage(getattr(event, "data", None))


_has_no_usage: Final = lacks("usage")  # model and id are the same in each event


def _terms(usage: Any) -> Terms:
    """What else is charged. Connectors and seconds of audio have prices that tokens do not include."""
    charged = [(name, "charged") for name in ("connectors", "prompt_audio_seconds") if _is_charged(field(usage, name))]
    tier = field(usage, "service_tier")
    return (*charged, ("service_tier", tier)) if isinstance(tier, str) else tuple(charged) or LIST_PRICE


def _is_charged(value: object) -> bool:
    return bool(value) if isinstance(value, Mapping) else bool(token_count(value))


MISTRALAI: Final = _MistralAI()
