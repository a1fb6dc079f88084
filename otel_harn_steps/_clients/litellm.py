"""`litellm`: where it makes the request itself. Over a patched client, that client's layer bills.

Its usage is in OpenAI's form for every provider, with cached tokens in the input. Its prices are not used: models that
it does not know cost $0 there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import NOT_A_CALL, Call, ClientAdapter, ParsedResponse, Part, Request, Seam
from otel_harn_steps._calls.fields import field, fields_of, text_of
from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.transport_errors import was_sent
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._litellm_streams import StreamedSoFar, watched_stream
from otel_harn_steps._clients._shared.hosts import host_in
from otel_harn_steps._clients._shared.openai_usage import parts_of, reported_usd
from otel_harn_steps._clients.anthropic import anthropic_terms
from otel_harn_steps._guard import guard

_OPERATIONS: Final = {
    "completion": "chat",
    "text_completion": "text_completion",
    "responses": "chat",
    "embedding": "embeddings",
    "rerank": "rerank",
    "image_generation": "image_generation",
    "transcription": "transcription",
    "speech": "speech",
    "moderation": "moderation",
}
_PROMPT_FIRST: Final = frozenset({"image_generation", "moderation", "responses", "text_completion"})
_NEEDED: Final = frozenset({"completion", "text_completion", "embedding"})
# As `gen_ai.provider.name` has them, where litellm has other names.
_PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "xai": "x_ai",
}


# Where litellm puts what OpenAI's protocol has no place for.
_extra: Final = usage_table(
    input_tokens=("prompt_tokens", "input_tokens"),
    output_tokens=("completion_tokens", "output_tokens"),
    cache_read_tokens="cache_read_input_tokens",
    cache_write_tokens=("cache_creation_input_tokens", "prompt_tokens_details.cache_creation_tokens"),
    cache_write_1h_tokens="prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
    web_searches=("server_tool_use.web_search_requests", "prompt_tokens_details.web_search_requests"),
)


class _LiteLLM(ClientAdapter):
    name: str = "litellm"
    provider: Final = "litellm"
    seams: Sequence[Seam] = ()
    positional: Sequence[str] = ()

    def __init__(self, function: str) -> None:
        self.name = f"litellm.{function}"
        self.positional = ("input", "model") if function in _PROMPT_FIRST else ("model", "messages")
        is_optional, operation = function not in _NEEDED, _OPERATIONS[function]
        self.seams = (
            Seam("litellm", function, is_optional=is_optional, operation=operation),
            Seam("litellm", f"a{function}", is_async=True, is_optional=is_optional, operation=operation),
        )

    def request(self, call: Call) -> Request | None:
        args, kwargs = call.args, call.kwargs
        if kwargs.get("mock_response") is not None:  # nothing is sent
            return None
        name = args[0] if args and isinstance(args[0], str) else kwargs.get("model")
        model, provider, host = _named(name, kwargs) if isinstance(name, str) and name else (None, "litellm", None)
        return Request(call.operation, provider, model, may_delegate=True, host=host)

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request if call.args else super().prepare(call, request, ask_usage=ask_usage)

    def sent_body(self, call: Call) -> Any:
        return call.kwargs if len(call.args) < 2 else {**call.kwargs, "messages": call.args[1]}

    def was_sent(self, error: BaseException) -> bool:
        # It raises errors of its own next to the transport's, and not from them.
        cause = error.__cause__ or error.__context__
        return was_sent(error) and (cause is None or was_sent(cause))

    def watch(self, request: Request, result: Any, meter: Meter) -> Any:
        """Its chat streams: the counts that it makes up where a provider reports none are not usage."""
        return watched_stream(result, meter) if hasattr(result, "chunks") and hasattr(result, "__next__") else None

    def fold(self, state: Any, event: Any) -> Any:
        if isinstance(event, StreamedSoFar):
            return event if state is None else state.then(event)
        response = field(event, "response")  # of the Responses API
        return response if field(response, "usage") is not None else state

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        if field(response, "_hidden_params.cache_hit") is True:  # litellm's own cache, which costs nothing
            return NOT_A_CALL
        return ParsedResponse(
            text_of(field(response, "model")),
            text_of(field(response, "id")),
            _parts(request, response),
            reported_usd(request.provider, response),
        )


def _named(name: str, kwargs: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """The model, its provider and its host, as litellm itself separates them."""
    with guard("reading a model's name", ours=False):
        # It is imported: this is one of its calls.
        api_base = kwargs.get("api_base") or kwargs.get("base_url")
        model, provider, _, found = sys.modules["litellm"].get_llm_provider(
            model=name, custom_llm_provider=kwargs.get("custom_llm_provider"), api_base=kwargs.get("api_base")
        )
        return model, _PROVIDERS.get(provider, provider), host_in(api_base or found)
    return name, "litellm", None


def _parts(request: Request, response: Any) -> tuple[Part, ...]:
    parts = parts_of(request, response)
    if not parts or not any((parts[0].usage.input_tokens, parts[0].usage.output_tokens)):
        return ()  # zeros stand where the provider reported nothing
    own, reported = parts[0].usage, field(response, "usage")
    extra = _extra(reported) or own
    usage = replace(
        own,
        cache_read_tokens=own.cache_read_tokens or extra.cache_read_tokens,
        cache_write_tokens=own.cache_write_tokens or extra.cache_write_tokens,
        cache_write_1h_tokens=extra.cache_write_1h_tokens,
        web_searches=own.web_searches or extra.web_searches,
    )
    if isinstance(response, StreamedSoFar) and response.is_start and _is_claude(request, response):
        usage = replace(usage, output_tokens=None)  # a placeholder, in the first event of Anthropic's protocol
    terms = anthropic_terms(fields_of(reported)) if request.provider == "anthropic" else parts[0].terms
    return (Part(usage, terms), *parts[1:])


def _is_claude(request: Request, response: StreamedSoFar) -> bool:
    return request.provider == "anthropic" or "claude" in str(response.model or request.model)


class _Tracing(_LiteLLM):
    """Its `otel` callback, and those that are made of it: they write what a call used to the current span."""

    def __init__(self) -> None:
        super().__init__("completion")
        self.name = "litellm.otel"
        tracing = "litellm.integrations.opentelemetry"
        self.seams = (Seam(tracing, "OpenTelemetry._get_span_context", "parent", is_optional=True),)


LITELLM: Final = (*map(_LiteLLM, _OPERATIONS), _Tracing())
