"""The `google-genai` client, on the Gemini API and on Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import field, fields_of, items_of, text_of
from otel_harn_steps._calls.raw_bodies import decoded
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, token_count

# Each request passes one of these, also those that automatic function calling and continuation make by themselves.
_METHODS: Final = {
    "_generate_content": "chat",
    "_generate_content_stream": "chat",
    "_embed_content": "embeddings",
    "_generate_images": "image_generation",
    "_edit_image": "image_generation",
    "_upscale_image": "image_generation",
    "_generate_videos": "video_generation",
}
_NAMING_A_MODEL: Final = ("generate_content", "generate_content_stream", "embed_content")
# The Vertex API can be asked for numbers in place of names.
_AUDIO: Final = ("AUDIO", 4)
_IMAGE: Final = ("IMAGE", 2, "DOCUMENT", 5)
_AT_LIST_PRICE: Final = (None, 0, 1, "TRAFFIC_TYPE_UNSPECIFIED", "ON_DEMAND")
_MODELS: Final = "google.genai.models"
_HTTP: Final = "google.genai._api_client"


def _paths(*names: str) -> tuple[str, ...]:
    """The places of a count: snake case of the client's objects, camel case of the JSON that they are made of."""
    return tuple(each for name in names for each in (name, _camel(name)))


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.title() for each in rest)


# Each count that is zero is left out: `_tokens` says which of them are known all the same.
_usage: Final = usage_table(
    input_tokens=_paths("prompt_token_count"),
    output_tokens=_paths("candidates_token_count"),
    cache_read_tokens=_paths("cached_content_token_count"),
    reasoning_tokens=_paths("thoughts_token_count"),
    tool_input_tokens=_paths("tool_use_prompt_token_count"),
)


def _seams() -> Iterator[Seam]:
    for method, operation in _METHODS.items():
        # A generator; its async form awaits the response first.
        yield Seam(_MODELS, f"Models.{method}", deferred=method.endswith("_stream"), operation=operation)
        yield Seam(_MODELS, f"AsyncModels.{method}", is_async=True, operation=operation)
    for method in _NAMING_A_MODEL:
        yield Seam(_MODELS, f"Models.{method}", "fill")
        yield Seam(_MODELS, f"AsyncModels.{method}", "fill")
    yield Seam(_HTTP, "BaseApiClient.request", "body")
    yield Seam(_HTTP, "BaseApiClient.async_request", "body", is_async=True)
    yield Seam(_HTTP, "BaseApiClient._async_request", "body", is_async=True)  # a stream's, which is to be closed


class _GoogleGenAI(ClientAdapter):
    name: Final = "google-genai"
    provider: Final = "gcp.gemini"
    seams: Final = tuple(_seams())

    def request(self, call: Call) -> Request | None:
        terms = tier_terms(field(call.kwargs, "config.service_tier"))
        api = call.instance._api_client
        url = field(api, "_http_options.base_url")
        host, port = host_in(url), port_in(url)
        return Request(call.operation, _cloud(api), model_in(call.kwargs), terms=terms, host=host, port=port)

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        body = field(response, "sdk_http_response.body")
        if isinstance(body, str):  # the app asked for the HTTP response, and gets nothing else
            response = decoded(body.encode())
        model = text_of(_at(response, "model_version"))
        usage = _at(response, "usage_metadata")
        if usage is None and request.operation == "embeddings":
            return ParsedResponse(None, None, _embedded(_at(response, "embeddings")))
        parts = _parts(request, model or request.model, usage, response)
        return ParsedResponse(model, text_of(_at(response, "response_id")), parts)

    def fold(self, state: Any, event: Any) -> Any:
        stream = _Stream() if state is None else state
        stream.take(event)
        return stream


class _Stream:
    """What a stream has reported so far, in the places of a whole response."""

    def __init__(self) -> None:
        self.model_version = self.response_id = self.usage_metadata = None
        self.candidates: list[Any] = []
        self.is_finished = False
        self.earlier_output = self.earlier_thoughts = 0

    def take(self, event: Any) -> None:
        """Take in an event. Each reports the usage of all so far, and it may fall: the last one counts, whole."""
        for name in ("model_version", "response_id", "usage_metadata"):
            reported = _at(event, name)
            # Vertex AI sends some that report nothing.
            if reported is not None and (name != "usage_metadata" or self.usage_metadata is None or _counts(reported)):
                if name == "usage_metadata" and not _counts(reported, "candidates", "thoughts"):
                    self._begin_turn()
                setattr(self, name, reported)
        for candidate in items_of(_at(event, "candidates")):
            self.is_finished |= _at(candidate, "finish_reason") is not None
            if any(_at(candidate, f"{name}_metadata") is not None for name in ("grounding", "url_context")):
                self.candidates.append(candidate)

    def _begin_turn(self) -> None:
        """One of Google's own tools has answered: the count begins anew, and only the last event counts all turns."""
        self.earlier_output += _token_count(self.usage_metadata, "candidates")
        self.earlier_thoughts += _token_count(self.usage_metadata, "thoughts")


def _cloud(api_client: Any) -> str:
    return "gcp.vertex_ai" if getattr(api_client, "vertexai", False) else "gcp.gemini"


def _parts(request: Request, model: str | None, metadata: Any, response: Any) -> tuple[Part, ...]:
    usage = _usage(metadata)
    others = (token_count(_at(metadata, f"{name}_token_count")) for name in ("thoughts", "total"))
    if usage is None and all(other is None for other in others):
        return ()
    usage = usage or Usage(None, None, reasoning_tokens=token_count(_at(metadata, "thoughts_token_count")) or 0)
    thoughts, tools = usage.reasoning_tokens, usage.tool_input_tokens
    if request.operation == "embeddings":
        output = 0
    elif (
        usage.output_tokens is None
        and _at(metadata, "thoughts_token_count") is None
        and isinstance(response, _Stream)
        and not response.is_finished
    ):
        output = None
    else:  # a count that is zero is left out
        thoughts = thoughts or _thoughts_in_total(usage, metadata)
        output = (usage.output_tokens or 0) + thoughts
    if isinstance(response, _Stream) and not response.is_finished:
        thoughts += response.earlier_thoughts
        earlier = response.earlier_output + response.earlier_thoughts
        output = (output or 0) + earlier if earlier else output
    ins = [
        *items_of(_at(metadata, "prompt_tokens_details")),
        *items_of(_at(metadata, "tool_use_prompt_tokens_details")),
    ]
    outs, cached = items_of(_at(metadata, "candidates_tokens_details")), items_of(_at(metadata, "cache_tokens_details"))
    tokens = replace(
        usage,
        input_tokens=(usage.input_tokens or 0) + tools,
        output_tokens=output,
        reasoning_tokens=thoughts,
        input_audio_tokens=_of_modality(ins, *_AUDIO),
        output_audio_tokens=_of_modality(outs, *_AUDIO),
        cache_read_audio_tokens=_of_modality(cached, *_AUDIO),
        input_image_tokens=_of_modality(ins, *_IMAGE),
        output_image_tokens=_of_modality(outs, *_IMAGE),
        web_searches=_searches(model, items_of(_at(response, "candidates"))),
    )
    return (Part(tokens, _terms(metadata)),)


def _counts(metadata: Any, *names: str) -> bool:
    """Whether it reports anything but zeros, of these counts or of any."""
    return any(_token_count(metadata, name) for name in names or ("prompt", "candidates", "thoughts", "total"))


def _token_count(metadata: Any, name: str) -> int:
    return token_count(_at(metadata, f"{name}_token_count")) or 0


def _thoughts_in_total(usage: Usage, metadata: Any) -> int:
    """The thoughts that only the total counts: it is documented as prompt + candidates + tool use + thoughts."""
    total = token_count(_at(metadata, "total_token_count"))
    if total is None or usage.input_tokens is None:
        return 0
    return max(total - usage.input_tokens - usage.tool_input_tokens - (usage.output_tokens or 0), 0)


def _embedded(embeddings: Any) -> tuple[Part, ...]:
    """What Vertex AI counts for each text; the Gemini API does not."""
    counts = [token_count(_at(_at(each, "statistics"), "token_count")) for each in items_of(embeddings)]
    known = [count for count in counts if count is not None]
    return (Part(Usage(sum(known), 0)),) if known and len(known) == len(counts) else ()


def _searches(model: str | None, candidates: list[Any]) -> int:
    """How many searches are charged: since Gemini 3 each query, before that each prompt that is answered with any."""
    grounding = [_at(each, "grounding_metadata") for each in candidates]
    queries = {query for each in grounding for query in items_of(_at(each, "web_search_queries")) if text_of(query)}
    if queries or _is_per_query(model):
        return charged_searches(model, len(queries))
    # Pages without a query are from a search all the same, but where the app named them itself: that has no fee.
    if any(_at(each, "url_context_metadata") is not None for each in candidates):
        return 0
    return int(any(_at(page, "web") for each in grounding for page in items_of(_at(each, "grounding_chunks"))))


def charged_searches(model: str | None, queries: int) -> int:
    """How many of so many queries have a fee."""
    return queries if _is_per_query(model) else min(queries, 1)


def _is_per_query(model: str | None) -> bool:
    generation = re.search(r"gemini-(\d+)", model or "")
    return generation is not None and int(generation[1]) >= 3


def _terms(usage: Any) -> Terms:
    traffic = _at(usage, "traffic_type")
    if traffic in _AT_LIST_PRICE:
        return tier_terms(_at(usage, "service_tier"))
    return (("service_tier", (text_of(traffic) or str(traffic)).removeprefix("ON_DEMAND_").lower()),)


def tier_terms(name: Any) -> Terms:
    """The terms of a service tier by its name, if it has one."""
    tier = text_of(name)
    return (("service_tier", tier.lower()),) if tier else LIST_PRICE


def _of_modality(details: Iterable[Any], *modalities: object) -> int:
    counted = (each for each in details if _at(each, "modality") in modalities)
    return sum(token_count(_at(each, "token_count")) or 0 for each in counted)


def _at(source: Any, name: str) -> Any:
    """`source.name` of the client's objects, `source["camelCaseName"]` of the JSON that they are made of."""
    fields = fields_of(source)
    found = fields.get(name)
    return fields.get(_camel(name)) if found is None and type(source) is dict else found


GOOGLE_GENAI: Final = _GoogleGenAI()
