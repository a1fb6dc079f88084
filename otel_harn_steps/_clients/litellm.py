"""`litellm`: where it makes the request itself. Over a patched client, that client's layer bills.

Its usage is in OpenAI's form for every provider, with cached tokens in the input. Its prices are not used: models that
it does not know cost $0 there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Part, Request, Seam
from otel_harn_steps._calls.meter import NOT_A_CALL, Meter
from otel_harn_steps._calls.transport_errors import was_sent
from otel_harn_steps._clients._litellm_streams import Told, watched_stream
from otel_harn_steps._clients._shared.openai_usage import parts_of, reported_usd
from otel_harn_steps._clients.anthropic import _terms as anthropic_terms
from otel_harn_steps._cost.usage import Usage, count_at, field, fields_of
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


class _LiteLLM(ClientAdapter):
    name: str = "litellm"
    seams: Sequence[Seam] = ()

    def __init__(self, function: str) -> None:
        self.name = f"litellm.{function}"
        self._operation = _OPERATIONS[function]
        optional = function not in _NEEDED
        self.seams = (
            Seam("litellm", function, "call", optional),
            Seam("litellm", f"a{function}", "async call", optional),
        )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        if kwargs.get("mock_response") is not None:  # nothing is sent
            return None
        name = args[0] if args and isinstance(args[0], str) else kwargs.get("model")
        model, provider = _named(name, kwargs) if isinstance(name, str) and name else (None, "litellm")
        return Request(self._operation, provider, model, may_delegate=True)

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        if not args and not kwargs.get("model") and request.model is not None:
            kwargs["model"] = request.model

    def was_sent(self, error: BaseException) -> bool:
        # It raises errors of its own beside the transport's, and not from them.
        cause = error.__cause__ or error.__context__
        return was_sent(error) and (cause is None or was_sent(cause))

    def watched(self, request: Request, result: Any, meter: Meter) -> Any:
        """Its chat streams: the counts that it makes up where a provider tells none are not usage."""
        return watched_stream(result, meter) if hasattr(result, "chunks") and hasattr(result, "__next__") else None

    def fold(self, state: Any, event: Any) -> Any:
        if isinstance(event, Told):
            return event
        answer = field(event, "response")  # of the Responses API
        return answer if field(answer, "usage") is not None else state

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        model, response_id = field(answer, "model"), field(answer, "id")
        hidden = field(answer, "_hidden_params")
        if field(hidden, "cache_hit") is True:  # litellm's own cache: nobody charges for that
            return NOT_A_CALL
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            _parts(request, answer),
            reported_usd(request.provider, answer),
        )


def _named(name: str, kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The model and its provider, as litellm itself tells them apart."""
    with guard("reading a model's name", ours=False):
        # It is imported: this is one of its calls.
        model, provider, *_ = sys.modules["litellm"].get_llm_provider(
            model=name, custom_llm_provider=kwargs.get("custom_llm_provider"), api_base=kwargs.get("api_base")
        )
        return model, _PROVIDERS.get(provider, provider)
    return name, "litellm"


def _parts(request: Request, answer: Any) -> tuple[Part, ...]:
    parts = parts_of(request, answer)
    usage = field(answer, "usage")
    if not parts or not any((parts[0].usage.input_tokens, parts[0].usage.output_tokens)):
        return ()  # zeros stand where the provider told nothing
    details = field(usage, "prompt_tokens_details")
    written = count_at(usage, "cache_creation_input_tokens") or count_at(details, "cache_creation_tokens")
    searched = count_at(field(usage, "server_tool_use"), "web_search_requests") or count_at(
        details, "web_search_requests"
    )
    own = parts[0].usage
    told = Usage(
        own.input_tokens,
        own.output_tokens,
        cache_read_tokens=own.cache_read_tokens or count_at(usage, "cache_read_input_tokens"),
        cache_write_tokens=own.cache_write_tokens or written,
        cache_write_1h_tokens=count_at(field(details, "cache_creation_token_details"), "ephemeral_1h_input_tokens"),
        reasoning_tokens=own.reasoning_tokens,
        input_audio_tokens=own.input_audio_tokens,
        output_audio_tokens=own.output_audio_tokens,
        cache_read_audio_tokens=own.cache_read_audio_tokens,
        input_image_tokens=own.input_image_tokens,
        output_image_tokens=own.output_image_tokens,
        web_searches=own.web_searches or searched,
        output_citation_tokens=own.output_citation_tokens,
    )
    terms = anthropic_terms(fields_of(usage)) if request.provider == "anthropic" else parts[0].terms
    return (Part(told, terms), *parts[1:])


LITELLM: Final = tuple(map(_LiteLLM, _OPERATIONS))
