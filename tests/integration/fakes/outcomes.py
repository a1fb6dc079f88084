"""What came of a call, in words that two processes can be compared by: without what differs from request to request."""

from __future__ import annotations

import re
from typing import Any

_VARYING = [
    (re.compile(r"\b(call|chatcmpl|cmpl|fc|fp|gen|item|msg|req|resp|rs|toolu)[-_][A-Za-z0-9_-]{6,}"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b"), "UUID"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "HEX"),
    (re.compile(r"\b0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?"), "TIME"),
    (re.compile(r"datetime\.datetime\([^)]*\)+"), "TIME"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT"), "TIME"),
    (re.compile(r"\b1[78]\d{8}(\.\d+)?\b"), "TIME"),
    (re.compile(r"('?(?:request-id|x-request-id|x-ratelimit-[a-z-]+|process-time)'?: )'[^']*'"), r"\1..."),
]
_COMPARED = ("status_code", "code", "type", "param", "message", "body", "details", "status")


def of_answer(value: Any) -> list[str]:
    """An answer, or an event of a stream: what class the app sees, and what is in it."""
    kind = value.__class__
    return [f"{kind.__module__}.{kind.__qualname__}", scrubbed(value)]


def of_error(error: BaseException) -> dict[str, Any]:
    """An exception: its class, its message, what it carries, and what it came from."""
    kind = type(error)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "message": scrubbed(error, str),
        "carries": sorted(vars(error)),
        "attributes": {name: scrubbed(getattr(error, name)) for name in _COMPARED if hasattr(error, name)},
        "cause": None if error.__cause__ is None else type(error.__cause__).__qualname__,
        "context": None if error.__context__ is None else type(error.__context__).__qualname__,
        "notes": getattr(error, "__notes__", []),
    }


def scrubbed(value: Any, text: Any = repr) -> str:
    """`value` as text, without ids, times and addresses."""
    said: str = text(value)
    for varying, placeholder in _VARYING:
        said = varying.sub(placeholder, said)
    return said
