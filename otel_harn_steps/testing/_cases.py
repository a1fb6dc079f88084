"""One recorded exchange with a provider, and what it must cost in tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_harn_steps._telemetry.record import CompletedStep


@dataclass(frozen=True, slots=True)
class Bill:
    """What a step's record says about its calls."""

    llm_calls: int = 0
    unmetered_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def of_record(cls, record: CompletedStep) -> Bill:
        """The bill of a `CompletedStep`."""
        return cls(**{name: getattr(record, name) for name in cls.__slots__})

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


NO_CALL = Bill()
UNMETERED_CALL = Bill(llm_calls=1, unmetered_calls=1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RecordedCase:
    """One recorded exchange.

    Attributes:
        body: the answer as it went over the wire.
        request: the arguments that the client's method is called with.
        usage: what the answer says was used, by the names of `Bill`: input includes cached tokens, output includes
            reasoning, what is left out is 0. A side that is not reported is None. None: nothing is reported.
        model: the model that the answer names.
        name: names the case in failures.
    """

    body: bytes
    request: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    stream: bool = False
    usage: Mapping[str, int | None] | None = None
    model: str | None = None
    name: str = "case"

    def json(self) -> dict[str, Any]:
        """The body of a plain answer."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def bill(self) -> Bill:
        """The bill of one call that got this answer and read all of it. A rejected request is no call."""
        if self.status >= 400:
            return NO_CALL
        if self.usage is None:
            return UNMETERED_CALL
        is_partly_told = None in (self.usage.get("input_tokens", 0), self.usage.get("output_tokens", 0))
        counts = {name: count or 0 for name, count in self.usage.items()}
        return Bill(llm_calls=1, unmetered_calls=int(is_partly_told), **counts)


def load_case(path: str | Path) -> RecordedCase:
    """A case from a JSON file.

    The file holds `request`, `response` (`{"text": ...}`, or `{"base64": ...}` where it is no text), and where they are
    not the defaults of `RecordedCase`: `status`, `headers` (with `content-type`), `stream`, `usage`, `model`.
    """
    file = Path(path)
    case: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    headers = {name.lower(): value for name, value in (case.get("headers") or {}).items()}
    stream = case.get("stream", "text/event-stream" in headers.get("content-type", ""))
    return RecordedCase(
        body=body_in(case["response"]),
        request=case.get("request") or {},
        status=case.get("status", 200),
        headers=headers,
        content_type=headers.get("content-type") or ("text/event-stream" if stream else "application/json"),
        stream=stream,
        usage=case.get("usage"),
        model=case.get("model"),
        name=case.get("id") or file.stem,
    )


def body_in(response: Mapping[str, str]) -> bytes:
    """The bytes of a recorded response: `text`, or `base64`."""
    return base64.b64decode(response["base64"]) if "base64" in response else response["text"].encode()
