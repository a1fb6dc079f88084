"""What a provider file is made of: for client libraries that are not known here, `instrument(providers=[...])`."""

from __future__ import annotations

from otel_harn_steps._calls.client import (
    ByMethod,
    ClientAdapter,
    ParsedResponse,
    Part,
    Request,
    Seam,
    SeamKind,
    model_in,
)
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage, field, token_count

__all__ = [
    "LIST_PRICE",
    "ByMethod",
    "ClientAdapter",
    "ParsedResponse",
    "Part",
    "Request",
    "Seam",
    "SeamKind",
    "Terms",
    "Usage",
    "field",
    "model_in",
    "token_count",
]
