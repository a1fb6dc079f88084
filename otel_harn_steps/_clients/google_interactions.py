"""The Interactions API of the `google-genai` client: each request of those that a continued interaction is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.fields import count, field, items_of, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.hosts import host_in, port_in
from otel_harn_steps._clients._shared.plain_events import lacks
from otel_harn_steps._clients.google_genai import charged_searches, tier_terms
from otel_harn_steps._cost.hosts import provider_at

_INTERACTIONS: Final = re.compile(r"/interactions(?P<one>/[^/]+)?$")
_OF_MODULE: Final = "google.genai._gaos.interactions"
_usage: Final = usage_table(
    input_tokens="total_input_tokens",
    output_tokens="total_output_tokens",
    cache_read_tokens="total_cached_tokens",
    reasoning_tokens="total_thought_tokens",
    tool_input_tokens="total_tool_use_tokens",
    outside_input=("tool_input_tokens",),
    outside_output=("reasoning_tokens",),
)


class _Interactions(ClientAdapter):
    name: Final = "google-genai interactions"
    provider: Final = "gcp.gemini"
    seams: Final = (
        Seam(_OF_MODULE, "Interactions.create", operation="chat"),
        Seam(_OF_MODULE, "AsyncInteractions.create", is_async=True, operation="chat"),
        Seam(_OF_MODULE, "Interactions.get"),
        Seam(_OF_MODULE, "AsyncInteractions.get", is_async=True),
        Seam("google.genai._gaos.basesdk", "BaseSDK.do_request", "body"),
        Seam("google.genai._gaos.basesdk", "AsyncBaseSDK.do_request_async", "body", is_async=True),
        # Version 1, where another generator made this part.
        Seam("google.genai._interactions._base_client", "SyncAPIClient.request"),
        Seam("google.genai._interactions._base_client", "AsyncAPIClient.request", is_async=True),
    )

    def request(self, call: Call) -> Request | None:
        instance = call.instance
        if hasattr(instance, "base_url"):
            options = stainless.options_of(call)
            found = _INTERACTIONS.search(stainless.path_of(options))
            if found is None or options.method != ("get" if found["one"] else "post"):
                return None
            is_fetch = found["one"] is not None
            url, model = instance.base_url, model_in(stainless.body_of(options))
        else:
            is_fetch = not call.operation
            url = field(instance, "sdk_configuration.server_url")
            model = model_in(call.kwargs) or text_of(field(call.kwargs, "request.body.model"))
        host = host_in(url)
        provider = provider_at(host or "", "gcp.gemini")
        if is_fetch:  # looking is no call, and gets no span
            return Request("chat", provider, None, makes_own_span=True, job="fetch", host=host)
        return Request("chat", provider, model, host=host, port=port_in(url))

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request  # an interaction without a model is one with an agent

    def sent_body(self, call: Call) -> Any:
        return stainless.sent_body(stainless.options_of(call)) if hasattr(call.instance, "base_url") else call.kwargs

    def started_job(self, request: Request, result: Any) -> str | None:
        return text_of(field(result, "id")) if text_of(field(result, "status")) == "in_progress" else None

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        model, response_id = text_of(field(response, "model")), text_of(field(response, "id"))
        reported = field(response, "usage")
        usage = _usage(reported)
        if usage is None:
            return ParsedResponse(model, response_id)
        grounding = items_of(field(reported, "grounding_tool_count"))
        searches = sum(count(each, "count") for each in grounding if text_of(field(each, "type")) == "google_search")
        tokens = replace(
            usage,
            input_audio_tokens=_spoken(reported, "input_tokens_by_modality"),
            output_audio_tokens=_spoken(reported, "output_tokens_by_modality"),
            cache_read_audio_tokens=_spoken(reported, "cached_tokens_by_modality"),
            web_searches=charged_searches(model or request.model, searches),
        )
        part = Part(tokens, tier_terms(field(response, "service_tier")))
        return ParsedResponse(model, response_id, (part,), job_id=response_id if request.job == "fetch" else None)

    def fold(self, state: Any, event: Any) -> Any:
        # Of a job that has been started, the whole result.
        interaction = field(event, "interaction") or (event if field(event, "status") is not None else None)
        reports = field(interaction, "usage.total_input_tokens") is not None
        return interaction if reports or not field(state, "model") else state

    def plain(self, request: Request, state: Any) -> Callable[[Any], bool] | None:
        return _reports_nothing if field(state, "model") else None


_reports_nothing: Final = lacks("interaction", "status")  # where `fold` looks


def _spoken(usage: Any, name: str) -> int:
    audio = (each for each in items_of(field(usage, name)) if text_of(field(each, "modality")) == "audio")
    return sum(count(each, "tokens") for each in audio)


GOOGLE_INTERACTIONS: Final = _Interactions()
