"""Baggage in the context, as a server's instrumentation puts it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import baggage
from opentelemetry.context import attach, detach


@contextmanager
def carrying(**values: object) -> Iterator[None]:
    """Carry this baggage in the block."""
    context = None
    for name, value in values.items():
        context = baggage.set_baggage(name, value, context)
    token = attach(context) if context is not None else None
    yield
    if token is not None:
        detach(token)
