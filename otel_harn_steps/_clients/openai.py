"""The `openai` client, and every provider that speaks its protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter, ParsedResponse, Request, Seam
from otel_harn_steps._calls.meter import NOT_A_CALL, Meter
from otel_harn_steps._calls.peers import has_span_later
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.hosts import is_regional, provider_at
from otel_harn_steps._clients._shared.jobs import Jobs
from otel_harn_steps._clients._shared.openai_usage import parts_of, reported_usd, usage_of
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, field, fields_of

# By the end of the path: clients differ in what is before it. Nothing else that they post runs a model.
_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/responses/compact": "chat",
    "/decisions": "decision",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/rerank": "rerank",
    "/moderations": "moderation",
    "/images/generations": "image_generation",
    "/images/edits": "image_generation",
    "/images/variations": "image_generation",
    "/videos": "video_generation",
    "/videos/edits": "video_generation",
    "/videos/extensions": "video_generation",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcription",
    "/audio/translations": "transcription",
    "/batches": "batch",
}
# The others have a default of their own.
_NEED_A_MODEL: Final = frozenset({"chat", "decision", "text_completion", "embeddings"})
_ASKABLE: Final = "/completions"
# These tell the usage of a stream without being asked (recorded traffic of each); what they would send if they were
# asked is not ours to change.
_TELL_UNASKED: Final = frozenset({"groq", "huggingface", "mistral_ai", "together"})
_JOB: Final = re.compile(r"/(responses|batches|threads/[^/]+/runs)/[^/]+$")
_STARTED: Final = ("batch", "thread.run")
_JOBS: Final = {"responses": "chat", "batches": "batch"}
# An assistant, which has a model of its own.
_GOES_ON: Final = "/submit_tool_outputs"
_RUN: Final = re.compile(rf"/threads/(?:[^/]+/)?runs$|/runs/[^/]+{_GOES_ON}$")
_TERMS: Final[Mapping[str, Terms]] = {"batch": (("processing", "batch"),), "decision": (("api", "decisions"),)}
_REGIONAL: Final[Terms] = (("processing_region", "regional"),)


@lru_cache(maxsize=256)
def _operation_at(path: str) -> str | None:
    """What a request to `path` does. None where it runs no model."""
    for segments in (3, 2, 1):  # the longest first: "/completions" ends "/chat/completions" too
        parts = path.rsplit("/", segments)
        if len(parts) > segments:
            operation = _OPERATIONS.get("/" + "/".join(parts[1:]))
            if operation is not None:
                return operation
    return "invoke_agent" if _RUN.search(path) else None


@dataclass(slots=True)
class _Fetch(Request):
    """A request for what a job has become."""


@dataclass(slots=True)
class _GoesOn(Request):
    """A run goes on, with what its tools have found. Its usage is that of the whole run."""


class OpenAIProtocol(ClientAdapter):
    """A client that Stainless generates, for a provider that speaks OpenAI's protocol.

    Args:
        name: the client library's name.
        fills: methods in which the app names a model, by module.
    """

    name: str = ""
    seams: Sequence[Seam] = ()

    def __init__(self, name: str, fills: Mapping[str, Sequence[str]]) -> None:
        self.name = name
        self.seams = stainless.seams(name, fills)
        self._jobs = Jobs()

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        options = stainless.options_of(args, kwargs)
        if options.method == "get":
            return self._fetch(instance, options)
        path = stainless.path_of(options)
        operation = _operation_at(path)
        if operation is None or options.method != "post":
            return None
        # A private endpoint or a proxy in front of Azure is Azure still, by its client.
        default = "azure.ai.openai" if "Azure" in type(instance).__name__ else self.name
        host = instance.base_url.host
        kind = _GoesOn if path.endswith(_GOES_ON) else Request
        return kind(
            operation,
            provider_at(host, default),
            stainless.model_of(stainless.body_of(options)),
            makes_own_span=has_span_later(stainless.path_of(options)),
            terms=_TERMS.get(operation, LIST_PRICE) + (_REGIONAL if is_regional(host) else LIST_PRICE),
        )

    def _fetch(self, instance: Any, options: Any) -> Request | None:
        """A look at a job: a response in the background, a batch, a run of an assistant."""
        found = _JOB.search(stainless.path_of(options))
        if found is None:
            return None
        operation = _JOBS.get(found[1], "invoke_agent")
        host = instance.base_url.host
        terms = _TERMS.get(operation, LIST_PRICE) + (_REGIONAL if is_regional(host) else LIST_PRICE)
        # Looking is no call, and gets no span.
        return _Fetch(operation, provider_at(host, self.name), None, makes_own_span=True, terms=terms)

    def watched(self, request: Request, result: Any, meter: Meter) -> Any:
        """A job that has been started. It tells its usage when it is fetched."""
        told = fields_of(result)
        is_job = told.get("object") in _STARTED or told.get("background") is True
        if not is_job or isinstance(request, _Fetch):
            return None
        job_id = told.get("id")
        if not isinstance(job_id, str) or usage_of(result) is not None:
            return None
        if isinstance(request, _GoesOn) and self._jobs.is_known(job_id):
            meter.abandoned()
            return result
        meter.observe(result)  # it names the model
        self._jobs.started(job_id, meter)
        return result

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        options = stainless.options_of(args, kwargs)
        body = stainless.body_of(options)
        if request.model is not None and request.operation in _NEED_A_MODEL and not body.get("model"):
            stainless.change_body(options, model=request.model)
        if (
            ask_usage
            and kwargs.get("stream")
            and request.provider not in _TELL_UNASKED
            and _may_be_asked(options, body)
        ):
            request.asks_usage = True
            stainless.change_body(options, stream_options={**(body.get("stream_options") or {}), "include_usage": True})

    def undo_usage_request(self, request: Request, error: BaseException, args: Sequence[Any]) -> bool:
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

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        told = fields_of(answer)
        model, response_id = told.get("model"), told.get("id")
        if isinstance(request, _Fetch):
            if not self._is_new_result(answer, response_id):
                return NOT_A_CALL
        elif told.get("background") is True and isinstance(response_id, str) and usage_of(answer) is not None:
            self._jobs.is_first_fetch(response_id)  # its stream has told it: looking at it later tells nothing new
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id if isinstance(response_id, str) else None,
            parts_of(request, answer),
            reported_usd(request.provider, answer),
        )

    def _is_new_result(self, answer: Any, job_id: Any) -> bool:
        """Whether it tells what a job used, for the first time. A batch may be long past: only those started here."""
        if usage_of(answer) is None or not isinstance(job_id, str):
            return False
        is_background = field(answer, "background") is True
        return (is_background or self._jobs.is_known(job_id)) and self._jobs.is_first_fetch(job_id)

    def fold(self, state: Any, event: Any) -> Any:
        # The Responses API sends the whole answer so far in some events, the chat API usage in one of its chunks.
        answer = field(event, "response")
        if answer is None:
            run = field(event, "data")  # an assistant's; those of its steps are parts of it
            answer = event if field(run, "object") != "thread.run" else run
        if usage_of(answer) is not None or not field(state, "model"):
            return answer
        return state

    def hides(self, event: Any) -> bool:
        if field(event, "usage") is None:
            _unset(event)  # "usage": null is there only because usage was asked for
            return False
        # The answer to the asking is a last chunk without choices. Usage anywhere else would have come unasked.
        return not field(event, "choices")


def _may_be_asked(options: Any, body: Mapping[str, Any]) -> bool:
    """Whether it is a chat stream that leaves open if it tells its usage."""
    if not stainless.path_of(options).endswith(_ASKABLE):
        return False
    given = body.get("stream_options")
    return given is None or (isinstance(given, Mapping) and "include_usage" not in given)


def _unset(event: Any) -> None:
    fields_set = getattr(event, "__pydantic_fields_set__", None)
    if fields_set is not None:
        fields_set.discard("usage")


OPENAI: Final = OpenAIProtocol(
    "openai",
    {
        "resources.chat.completions.completions": ("Completions.create", "Completions.parse", "Completions.stream"),
        "resources.completions": ("Completions.create",),
        "resources.embeddings": ("Embeddings.create",),
        "resources.responses.responses": ("Responses.create", "Responses.parse", "Responses.stream"),
    },
)
