"""The `openai` client, and every provider that speaks its protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Request, Seam, model_in
from otel_harn_steps._calls.fields import field, fields_of
from otel_harn_steps._calls.peers import has_span_later, may_have_span_later
from otel_harn_steps._clients._shared import stainless
from otel_harn_steps._clients._shared.openai_usage import SAYS_USD, parts_in, reported_usd, streamed, usage_of
from otel_harn_steps._clients._shared.plain_events import lacks
from otel_harn_steps._cost.hosts import is_regional, provider_at
from otel_harn_steps._cost.usage import LIST_PRICE, Terms

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
# These report the usage of a stream without being asked (recorded traffic of each); what they would send if they were
# asked is not ours to change.
_REPORT_UNASKED: Final = frozenset({"groq", "huggingface", "mistral_ai", "together"})
_JOB: Final = re.compile(r"/(responses|batches|threads/[^/]+/runs)/[^/]+$")
_STARTED: Final = ("batch", "thread.run")
_JOBS: Final = {"responses": "chat", "batches": "batch"}
# An assistant, which has a model of its own.
_RESUMES: Final = "/submit_tool_outputs"
_RUN: Final = re.compile(rf"/threads/(?:[^/]+/)?runs$|/runs/[^/]+{_RESUMES}$")
_TERMS: Final[Mapping[str, Terms]] = {"batch": (("processing", "batch"),), "decision": (("api", "decisions"),)}
_REGIONAL: Final[Terms] = (("processing_region", "regional"),)


@lru_cache(maxsize=256)
def operation_at(path: str) -> str | None:
    """What a request to `path` does. None where it runs no model."""
    for segments in (3, 2, 1):  # the longest first: "/completions" ends "/chat/completions" too
        parts = path.rsplit("/", segments)
        if len(parts) > segments:
            operation = _OPERATIONS.get("/" + "/".join(parts[1:]))
            if operation is not None:
                return operation
    return "invoke_agent" if _RUN.search(path) else None


class _Asked(NamedTuple):
    """What a request asks for, as far as its address says; `path` is that of one whose span may be made later."""

    operation: str
    provider: str
    terms: Terms
    job: Literal["", "fetch", "resume"]
    path: str | None


@lru_cache(maxsize=256)
def _asked(method: str, url: str, host: str, default: str) -> _Asked | None:
    """What a request to `url` asks of `host`. None: it is not one to a model."""
    path = stainless.path_in(url)
    provider, region = provider_at(host, default), _REGIONAL if is_regional(host) else LIST_PRICE
    if method == "get":  # a look at a job, which is no call and gets no span
        looked_at = _JOB.search(path)
        operation = None if looked_at is None else _JOBS.get(looked_at[1], "invoke_agent")
    else:
        operation = operation_at(path) if method == "post" else None
    if operation is None:
        return None
    terms = _TERMS.get(operation, LIST_PRICE) + region
    if method == "get":
        return _Asked(operation, provider, terms, "fetch", None)
    job: Literal["", "resume"] = "resume" if path.endswith(_RESUMES) else ""
    return _Asked(operation, provider, terms, job, path if may_have_span_later(path) else None)


class OpenAIProtocol(ClientAdapter):
    """A client that Stainless generates, for a provider that speaks OpenAI's protocol.

    Args:
        name: the client library's name.
        fills: methods in which the app names a model, by module.
        package: as in `import PACKAGE`; default: `name`.
        provider: who bills at an address that is not known; default: `name`.
    """

    name: str = ""
    provider: str = ""
    seams: Sequence[Seam] = ()

    def __init__(
        self, name: str, fills: Mapping[str, Sequence[str]], *, package: str | None = None, provider: str | None = None
    ) -> None:
        self.name = name
        self.seams = stainless.seams(package or name, fills)
        self.provider = provider or name

    def request(self, call: Call) -> Request | None:
        options = stainless.options_of(call)
        # A private endpoint or a proxy in front of Azure is Azure still, by its client.
        default = "azure.ai.openai" if "Azure" in type(call.instance).__name__ else self.provider
        host, port = stainless.address_of(call)
        asked = _asked(options.method, str(options.url), host, default)
        if asked is None:
            return None
        operation, provider, terms, job, path = asked
        if job == "fetch":
            return Request(operation, provider, None, makes_own_span=True, terms=terms, job=job, host=host)
        return Request(
            operation,
            provider,
            model_in(stainless.body_of(options)),
            makes_own_span=path is not None and has_span_later(path),
            terms=terms,
            job=job,
            host=host,
            port=port,
        )

    def unread(self, call: Call) -> Request | None:
        operation = stainless.unread_operation(call, operation_at)
        return None if operation is None else self.unread_request(operation)

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        if request.operation in _NEED_A_MODEL:
            stainless.fill_in_model(call, request)
        if not ask_usage or not call.kwargs.get("stream") or request.provider in _REPORT_UNASKED:
            return request
        options = stainless.options_of(call)
        body = stainless.body_of(options)
        if not _may_be_asked(options, body):
            return request
        stainless.change_body(options, stream_options={**(body.get("stream_options") or {}), "include_usage": True})
        return replace(request, asks_usage=True)

    def sent_body(self, call: Call) -> Any:
        return stainless.sent_body(stainless.options_of(call))

    def lower_output(self, call: Call, cap: int) -> bool:
        return stainless.lower_output(call, cap)

    def undo_usage_request(self, call: Call, request: Request, error: BaseException) -> Request | None:
        if getattr(error, "status_code", None) not in (400, 422) or "stream_options" not in str(error):
            return None
        options = stainless.options_of(call)
        asked = dict(stainless.body_of(options).get("stream_options") or {})
        asked.pop("include_usage", None)
        stainless.change_body(options, stream_options=asked)
        if not asked:
            options.json_data = {key: value for key, value in options.json_data.items() if key != "stream_options"}
        return replace(request, asks_usage=False)

    def started_job(self, request: Request, result: Any) -> str | None:
        fields = fields_of(result)
        if fields.get("object") not in _STARTED and fields.get("background") is not True:
            return None
        job_id = fields.get("id")
        return job_id if isinstance(job_id, str) and usage_of(result) is None else None

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        fields = fields_of(response)
        model, response_id = fields.get("model"), fields.get("id")
        is_background = fields.get("background") is True
        response_id = response_id if isinstance(response_id, str) else None
        return ParsedResponse(
            model if isinstance(model, str) else None,
            response_id,
            parts_in(request, fields, is_verbatim=True),
            reported_usd(request.provider, response) if request.provider in SAYS_USD else None,
            None,
            response_id if is_background or request.job == "fetch" else None,
            # A batch may be long past: of those, only what was started here.
            is_background,
        )

    def fold(self, state: Any, event: Any) -> Any:
        # The Responses API sends the whole response so far in some events, the chat API usage in one of its chunks.
        fields = fields_of(event)
        response = fields.get("response")
        if response is None:
            run = fields.get("data")  # an assistant's; those of its steps are parts of it
            response = event if run is None or field(run, "object") != "thread.run" else run
        return streamed(state, response)

    def plain(self, request: Request, state: Any) -> Callable[[Any], bool] | None:
        if not field(state, "model") and usage_of(state) is None:
            return None
        return _asked_in_vain if request.asks_usage else _reports_nothing

    def restore(self, event: Any) -> Any:
        if field(event, "usage") is None:
            _unset(event)  # "usage": null is there only because usage was asked for
            return event
        # The reply to the request for usage is a last chunk without choices. Usage elsewhere would have come unasked.
        return event if field(event, "choices") else None


# Where `fold` looks.
_TELLING: Final = ("usage", "response", "data", "x_groq")
_reports_nothing: Final = lacks(*_TELLING)
_asked_in_vain: Final = lacks(*_TELLING, hides=True)


def _may_be_asked(options: Any, body: Mapping[str, Any]) -> bool:
    """Whether it is a chat stream that leaves open whether it reports its usage."""
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
