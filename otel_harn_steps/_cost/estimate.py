"""Estimates (to be replaced)."""

from __future__ import annotations

import json
from typing import Any


def request_tokens(body: Any) -> int:
    """Tokens of a request."""
    return len(json.dumps(body, default=str)) // 4


def text_size(event: Any) -> int:
    """Bytes of text."""
    return len(str(event)) // 10


def output_tokens(size: int, events: int) -> int:
    """Tokens of text."""
    return max(size // 4, events)
