"""The recorded cases: what a client asked and what the provider answered, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otel_harn_steps.testing import RecordedCase
from otel_harn_steps.testing._cases import body_in

CASES = Path(__file__).resolve().parent.parent / "cases"

OPENAI_PROTOCOL = frozenset(
    {
        "openai",
        "azure_openai",
        "bedrock_mantle",
        "cerebras",
        "deepseek",
        "groq",
        "huggingface",
        "local_openai_compat",
        "openrouter",
        "together",
    }
)
"""Providers whose recorded answers the `openai` client understands."""

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Case(RecordedCase):
    """One recorded exchange, and where it comes from. There is one `Case` object per id."""

    id: str
    provider: str
    endpoint: str
    host: str
    request_model: str | None
    response_model: str | None
    expected_usage: Mapping[str, Any] | None
    in_stream_error: bool
    hand_edited: bool
    oracle_usd: str | None

    @property
    def client(self) -> str:
        """The client library that speaks this case's protocol: `openai`, `anthropic` or, for the rest, the provider's name."""
        return "openai" if self.provider in OPENAI_PROTOCOL else self.provider


@cache
def all_cases() -> Mapping[str, Case]:
    """Every case of the index, by id."""
    lines = (CASES / "traffic" / "index.jsonl").read_text().splitlines()
    return {case.id: case for case in map(_load, map(json.loads, lines))}


def case(case_id: str) -> Case:
    """The case of this id. An unknown id is a `KeyError`."""
    return all_cases()[case_id]


def cases(
    *,
    client: str | None = None,
    providers: Iterable[str] | None = None,
    endpoints: Iterable[str] | None = None,
    stream: bool | None = None,
) -> list[Case]:
    """The cases that match everything given, in the order of the index."""
    in_providers = None if providers is None else frozenset(providers)
    in_endpoints = None if endpoints is None else frozenset(endpoints)
    return [
        case
        for case in all_cases().values()
        if (client is None or case.client == client)
        and (in_providers is None or case.provider in in_providers)
        and (in_endpoints is None or case.endpoint in in_endpoints)
        and (stream is None or case.stream == stream)
    ]


def _load(row: JsonObject) -> Case:
    recorded: JsonObject = json.loads((CASES / "traffic" / row["file"]).read_text())
    return Case(
        id=row["id"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        stream=row["stream"],
        host=urlsplit(recorded["uri"]).netloc,
        status=recorded["status"],
        content_type=row["content_type"] or ("text/event-stream" if row["stream"] else "application/json"),
        headers=recorded["headers"],
        request=recorded["request"] or {},
        body=body_in(recorded["response"]),
        name=row["id"],
        request_model=row["request_model"],
        response_model=row["response_model"],
        expected_usage=row["expected_usage"],
        in_stream_error=row["in_stream_error"],
        hand_edited=row["hand_edited_by_source"],
        oracle_usd=(row["oracle"] or {}).get("total_usd"),
    )
