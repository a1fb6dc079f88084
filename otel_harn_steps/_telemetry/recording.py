"""Whether a span records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_ASKING = guard("asking a step's span whether it records", ours=False)


def is_recording(span: Span) -> bool:
    """Whether a span records. One of somebody else's that fails to say so may."""
    try:
        return span.is_recording()
    except Exception:
        with _ASKING:
            raise
    return True
