"""What a client file is made of: for client libraries that are not known here, `instrument(providers=[...])`."""

from __future__ import annotations

from otel_harn_steps._calls.client import (
    NOT_A_CALL,
    Call,
    ClientAdapter,
    ParsedResponse,
    Part,
    Request,
    Seam,
    model_in,
)
from otel_harn_steps._calls.fields import field, text_of
from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, token_count

__all__ = [
    "LIST_PRICE",
    "NOT_A_CALL",
    "Call",
    "ClientAdapter",
    "ParsedResponse",
    "Part",
    "Request",
    "Seam",
    "Terms",
    "Usage",
    "field",
    "model_in",
    "text_of",
    "token_count",
    "usage_table",
]
