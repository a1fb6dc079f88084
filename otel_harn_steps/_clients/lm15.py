"""`lm15`, which dspy brings along and calls by default: an HTTP engine of its own, in the protocols of the providers.

What it makes of an answer leaves out a part of the usage (what Anthropic's streams begin with, tiers, searches). So its
calls are read where the answer is still the provider's: `_send` returns whole ones, `parse_sse` the events of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Request, Seam, model_in
from otel_harn_steps._calls.meter import Meter, current_meter
from otel_harn_steps._calls.raw_bodies import decoded
from otel_harn_steps._clients._shared.hosts import port_in
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._clients.google_genai import GOOGLE_GENAI
from otel_harn_steps._clients.openai import OPENAI, operation_at
from otel_harn_steps._cost.estimate import lower_output_cap
from otel_harn_steps._cost.hosts import provider_at
from otel_harn_steps._cost.values import value

_PACKAGES: Final = ("lm15", "dspy._vendor.lm15")
# As `gen_ai.provider.name` has them, where lm15 has other names. Each may have one for each of its protocols.
_PROVIDERS: Final = {
    "aws": "anthropic",  # Anthropic's own platform there
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "moonshotai": "moonshot_ai",
    "openai": "openai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
# By the end of the path, where a protocol is not OpenAI's.
_OPERATIONS: Final = {
    "/messages": "chat",
    ":rawPredict": "chat",  # Claude on Google Cloud
    ":streamRawPredict": "chat",
    ":generateContent": "chat",
    ":streamGenerateContent": "chat",
    ":embedContent": "embeddings",
    ":batchEmbedContents": "embeddings",
}
# What only one protocol says: the types of Anthropic's messages and events, and the names of Google's fields.
_ANTHROPIC_TYPES: Final = ("message", "content_block", "ping")
# A header with the hash of the body.
_SIGNED: Final = "x-amz-content-sha256"
_GOOGLE_NAMES: Final = frozenset({"candidates", "usageMetadata", "embedding", "embeddings"})


class RejectedError(Exception):
    """The provider answered with an HTTP status of 400 or more. lm15 raises an error of its own for that, later."""


class _LM15(ClientAdapter):
    name: Final = "lm15"
    seams: Final = tuple(
        seam
        for package in _PACKAGES
        for module, kind, sse, is_async in (
            ("base", "BaseProviderLM", "parse_sse", False),
            ("async_base", "AsyncBaseProviderLM", "aparse_sse", True),
        )
        for seam in (
            Seam(f"{package}.providers.{module}", f"{kind}._send", is_async=is_async),
            Seam(f"{package}.providers.{module}", f"{kind}._stream_raw", deferred=True),
            Seam(f"{package}.providers.{module}", sse, deferred=True),
        )
    )

    def request(self, call: Call) -> Request | None:
        if call.instance is None:  # the events of a stream whose request is on its way
            meter = current_meter()
            return replace(meter._request, may_delegate=False) if meter is not None and meter.is_of(self) else None
        sent = _sent(call)
        if sent is None or sent.method != "POST":
            return None
        url = urlsplit(sent.url)
        operation = _operation_at(url.path)
        if operation is None:
            return None
        lm15_name = getattr(call.instance, "provider", "lm15")
        provider = provider_at(url.hostname or "", _PROVIDERS.get(lm15_name.partition("-")[0], lm15_name))
        model = _model_of(url.path, sent.body)
        return Request(operation, provider, model, may_delegate=True, host=url.hostname, port=port_in(sent.url))

    def unread(self, call: Call) -> Request | None:
        # A seam of its own for the events of a stream, whose request has been counted.
        posts = any(getattr(each, "method", None) == "POST" for each in _arguments(call))
        return self.unread_request() if posts else None

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request  # there is no request without a model, and streams are asked for their usage

    def sent_body(self, call: Call) -> Any:
        if call.instance is None:
            meter = current_meter()
            return {} if meter is None or not meter.is_of(self) else self.sent_body(meter._call)
        sent = _sent(call)
        return {} if sent is None else {"body": sent.body}

    def lower_output(self, call: Call, cap: int) -> bool:
        sent = _sent(call)
        if sent is None or any(name.lower() == _SIGNED for name, _ in sent.headers):
            return False
        body = {"body": sent.body}
        is_lowered = lower_output_cap(body, cap)
        sent.body = body["body"]
        return is_lowered

    def watch(self, request: Request, result: Any, meter: Meter) -> Any:
        if getattr(result, "status", 200) < 400:
            return None
        meter.failed(RejectedError(result.status))
        return result

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        if isinstance(response, _Stream):
            return response.protocol.parse(request, response.state)
        body = decoded(response.body)
        return _protocol_of(body).parse(request, body)

    def content(self, event: Any) -> Any:
        return decoded(event.data.encode()) if isinstance(event.data, str) else None

    def fold(self, state: Any, event: Any) -> Any:
        payload = self.content(event)
        if not isinstance(payload, dict):
            return state
        before = _Stream(_protocol_of(payload), None) if state is None else state
        return _Stream(before.protocol, before.protocol.fold(before.state, payload))


@value
class _Stream:
    """What the events of a stream have reported, as their protocol keeps it."""

    protocol: ClientAdapter
    state: Any


def _arguments(call: Call) -> Iterator[Any]:
    yield from call.args
    yield from call.kwargs.values()


def _sent(call: Call) -> Any:
    """The HTTP request of a call. None: its events alone."""
    return next((each for each in _arguments(call) if hasattr(each, "url") and hasattr(each, "method")), None)


def _operation_at(path: str) -> str | None:
    return next((what for end, what in _OPERATIONS.items() if path.endswith(end)), None) or operation_at(path)


def _model_of(path: str, body: bytes) -> str | None:
    *_, before, resource = ("", *path.split("/"))
    if before == "models":  # Google's: publishers/google/models/gemini-2.5-flash:generateContent
        return resource.partition(":")[0]
    sent = decoded(body)
    return model_in(sent) if isinstance(sent, dict) else None


def _protocol_of(payload: Any) -> ClientAdapter:
    if not isinstance(payload, dict):
        return OPENAI
    if payload.keys() & _GOOGLE_NAMES:
        return GOOGLE_GENAI
    kind = payload.get("type")
    return ANTHROPIC if isinstance(kind, str) and kind.startswith(_ANTHROPIC_TYPES) else OPENAI


LM15: Final = _LM15()
