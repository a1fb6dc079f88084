"""Back to the beginning, for tests."""

from __future__ import annotations

from otel_harn_steps._active import forget_warnings
from otel_harn_steps._delivery import log
from otel_harn_steps._registry import forget_registered_steps


def reset_steps() -> None:
    """Forget registered steps, records and warnings given. For tests; steps that are running go on."""
    forget_registered_steps()
    forget_warnings()
    log.drain()
    log.dropped = 0
