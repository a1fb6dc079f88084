"""The adapter of a client that tests make up: every call is one to a model, and answers with a token each way."""

from __future__ import annotations

from typing import Any

from otel_harn_steps.providers import Call, ClientAdapter, ParsedResponse, Part, Request, Usage


class Acme(ClientAdapter):
    def request(self, call: Call) -> Request:
        return Request("chat", "acme", "m")

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        return ParsedResponse("m", parts=(Part(Usage(1, 1)),))
