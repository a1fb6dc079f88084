"""What a request allows and a response has, estimated from what was sent and of what arrived.

For budgets only: an estimate is never shown as a measurement. How far it may be off is measured over recorded traffic;
the tables are in `docs/prices.md`.
"""

from __future__ import annotations

from otel_harn_steps._cost.estimate.caps import lower_output_cap, output_cap
from otel_harn_steps._cost.estimate.requests import ATTACHMENT_TOKENS, RequestSize, request_size, request_tokens
from otel_harn_steps._cost.estimate.responses import Generated, generated, generated_text, output_tokens
from otel_harn_steps._cost.estimate.values import size_of

__all__ = [
    "ATTACHMENT_TOKENS",
    "Generated",
    "RequestSize",
    "generated",
    "generated_text",
    "lower_output_cap",
    "output_cap",
    "output_tokens",
    "request_size",
    "request_tokens",
    "size_of",
]
