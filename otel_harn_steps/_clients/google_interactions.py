"""The Interactions API of the `google-genai` client: each request of those that a continued interaction is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from otel_harn_steps._calls.client import ByMethod, ParsedResponse, Part, Request, Seam, model_in
from otel_harn_steps._calls.meter import NOT_A_CALL, Meter
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.hosts import provider_at
from otel_harn_steps._clients._shared.jobs import Jobs
from otel_harn_steps._clients.google_genai import charged_searches, text_of, tier_terms
from otel_harn_steps._cost.usage import Usage, count_at, field, items_of, token_count

_INTERACTIONS: Final = re.compile(r"/interactions(?P<one>/[^/]+)?$")
_OF_MODULE: Final = "google.genai._gaos.interactions"


@dataclass(slots=True)
class _Fetch(Request):
    """A request for what work in the background has become."""


class _Interactions(ByMethod):
    name: Final = "google-genai interactions"
    _jobs: Final = Jobs()
    seams: Final = (
        Seam(_OF_MODULE, "Interactions.create", "call", operation="chat"),
        Seam(_OF_MODULE, "AsyncInteractions.create", "async call", operation="chat"),
        Seam(_OF_MODULE, "Interactions.get", "call"),
        Seam(_OF_MODULE, "AsyncInteractions.get", "async call"),
        Seam("google.genai._gaos.basesdk", "BaseSDK.do_request", "body"),
        Seam("google.genai._gaos.basesdk", "AsyncBaseSDK.do_request_async", "async body"),
        # Version 1, where another generator made this part.
        Seam("google.genai._interactions._base_client", "SyncAPIClient.request", "call"),
        Seam("google.genai._interactions._base_client", "AsyncAPIClient.request", "async call"),
    )

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        if hasattr(instance, "base_url"):
            options = stainless.options_of(args, kwargs)
            found = _INTERACTIONS.search(stainless.path_of(options))
            if found is None or options.method != ("get" if found["one"] else "post"):
                return None
            is_fetch = found["one"] is not None
            host, model = instance.base_url.host, model_in(stainless.body_of(options))
        else:
            is_fetch = not self.operation
            host = urlsplit(str(field(field(instance, "sdk_configuration"), "server_url"))).hostname
            model = model_in(kwargs) or text_of(field(field(kwargs.get("request"), "body"), "model"))
        provider = provider_at(host or "", "gcp.gemini")
        if is_fetch:  # looking is no call, and gets no span
            return _Fetch("chat", provider, None, makes_own_span=True)
        return Request("chat", provider, model)

    def watched(self, request: Request, result: Any, meter: Meter) -> Any:
        """Work that has been started in the background. It tells its usage where it is fetched."""
        job_id = text_of(field(result, "id"))
        if isinstance(request, _Fetch) or job_id is None or text_of(field(result, "status")) != "in_progress":
            return None
        meter.observe({"interaction": result})  # it names the model
        self._jobs.started(job_id, meter)
        return result

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        """Nothing: an interaction without a model is one with an agent."""

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        model, response_id = text_of(field(answer, "model")), text_of(field(answer, "id"))
        usage = field(answer, "usage")
        read, written = (token_count(field(usage, f"total_{each}_tokens")) for each in ("input", "output"))
        is_told = read is not None or written is not None
        if isinstance(request, _Fetch) and not (is_told and response_id and self._is_new_result(response_id)):
            return NOT_A_CALL
        if not is_told:
            return ParsedResponse(model, response_id)
        thoughts, tools = count_at(usage, "total_thought_tokens"), count_at(usage, "total_tool_use_tokens")
        grounding = items_of(field(usage, "grounding_tool_count"))
        searches = sum(count_at(each, "count") for each in grounding if text_of(field(each, "type")) == "google_search")
        tokens = Usage(
            None if read is None else read + tools,
            None if written is None else written + thoughts,
            cache_read_tokens=count_at(usage, "total_cached_tokens"),
            reasoning_tokens=thoughts,
            input_audio_tokens=_spoken(usage, "input_tokens_by_modality"),
            output_audio_tokens=_spoken(usage, "output_tokens_by_modality"),
            cache_read_audio_tokens=_spoken(usage, "cached_tokens_by_modality"),
            tool_input_tokens=tools,
            web_searches=charged_searches(model or request.model, searches),
        )
        return ParsedResponse(model, response_id, (Part(tokens, tier_terms(field(answer, "service_tier"))),))

    def _is_new_result(self, job_id: str) -> bool:
        """Whether it was started here, and is fetched for the first time."""
        return self._jobs.is_known(job_id) and self._jobs.is_first_fetch(job_id)

    def fold(self, state: Any, event: Any) -> Any:
        interaction = field(event, "interaction")
        tells = field(field(interaction, "usage"), "total_input_tokens") is not None
        return interaction if tells or not field(state, "model") else state


def _spoken(usage: Any, name: str) -> int:
    audio = (each for each in items_of(field(usage, name)) if text_of(field(each, "modality")) == "audio")
    return sum(count_at(each, "tokens") for each in audio)


GOOGLE_INTERACTIONS: Final = _Interactions()
