"""The `openai` client, and every provider that speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_harn_steps._providers import _stainless as stainless
from otel_harn_steps._providers._hosts import provider_at
from otel_harn_steps._providers._openai_usage import part_of
from otel_harn_steps._reading import Reading, Request
from otel_harn_steps._usage import field

_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/responses": "chat",
    "/responses/compact": "chat",
}
_COMPLETIONS: Final = ("Completions.create", "Completions.parse", "Completions.stream")
_RESPONSES: Final = ("Responses.create", "Responses.parse", "Responses.stream")


class _OpenAI:
    name: Final = "openai"
    seams: Final = stainless.seams(
        "openai",
        {
            "chat.completions.completions": _COMPLETIONS,
            "completions": ("Completions.create",),
            "embeddings": ("Embeddings.create",),
            "responses.responses": _RESPONSES,
        },
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        options = stainless.options_of(args, kwargs)
        operation = _OPERATIONS.get(stainless.path_of(options))
        if operation is None or options.method != "post":
            return None
        # A private endpoint or a proxy in front of Azure is Azure still, by its client.
        default = "azure.ai.openai" if "Azure" in type(instance).__name__ else "openai"
        provider = provider_at(instance.base_url.host, default)
        return Request(operation, provider, stainless.model_of(stainless.body_of(options)))

    def prepare(self, request: Request, args: Sequence[Any], kwargs: Mapping[str, Any], *, ask_usage: bool) -> None:
        options = stainless.options_of(args, kwargs)
        body = stainless.body_of(options)
        if request.model is not None and not body.get("model"):
            stainless.change_body(options, model=request.model)
        if ask_usage and kwargs.get("stream") and _may_be_asked(options, body):
            request.asks_usage = True
            stainless.change_body(options, stream_options={**(body.get("stream_options") or {}), "include_usage": True})

    def withdraw(self, request: Request, error: BaseException, args: Sequence[Any]) -> bool:
        if getattr(error, "status_code", None) not in (400, 422) or "stream_options" not in str(error):
            return False
        options = stainless.options_of(args, {})
        asked = dict(stainless.body_of(options).get("stream_options") or {})
        asked.pop("include_usage", None)
        stainless.change_body(options, stream_options=asked)
        if not asked:
            options.json_data = {key: value for key, value in options.json_data.items() if key != "stream_options"}
        request.asks_usage = False
        return True

    def was_sent(self, error: BaseException) -> bool:
        return stainless.was_sent(error)

    def read(self, request: Request, answer: Any) -> Reading:
        model, response_id = field(answer, "model"), field(answer, "id")
        usage = field(answer, "usage")
        part = part_of(request.operation, usage, answer)
        return Reading(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            () if part is None else (part,),
            # OpenRouter says what it charges. Elsewhere the field means other things.
            field(usage, "cost") if request.provider == "openrouter" else None,
        )

    def fold(self, state: Any, event: Any) -> Any:
        # The Responses API sends the whole answer so far in some events, the chat API usage in one of its chunks.
        answer = field(event, "response")
        if answer is None:
            answer = event
        if field(answer, "usage") is not None or state is None:
            return answer
        return state

    def hides(self, event: Any) -> bool:
        told = field(event, "usage")
        if told is None:
            _unset(event)  # "usage": null is there only because usage was asked for
            return False
        if not field(event, "choices"):
            return True
        event.usage = None
        _unset(event)
        return False


def _may_be_asked(options: Any, body: Mapping[str, Any]) -> bool:
    """Whether a chat stream leaves open if it tells its usage, and the app reads events: raw bytes can hide nothing."""
    if stainless.path_of(options) not in ("/chat/completions", "/completions"):
        return False
    given = body.get("stream_options")
    if given is not None and not (isinstance(given, Mapping) and "include_usage" not in given):
        return False
    headers = options.headers
    return not (isinstance(headers, Mapping) and any(key.lower() == "x-stainless-raw-response" for key in headers))


def _unset(event: Any) -> None:
    fields_set = getattr(event, "__pydantic_fields_set__", None)
    if fields_set is not None:
        fields_set.discard("usage")


OPENAI: Final = _OpenAI()
