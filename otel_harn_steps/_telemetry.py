"""The tracer of the settings in force, and whether telemetry is wanted here at all."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import Tracer

from otel_harn_steps import _names as names
from otel_harn_steps._settings import settings
from otel_harn_steps._version import __version__

_tracers: dict[int, Tracer] = {}


def tracer() -> Tracer:
    """The tracer that makes step and call spans."""
    provider = settings().tracer_provider
    made = _tracers.get(id(provider))
    if made is None:
        made = trace.get_tracer(names.SCOPE, __version__, provider)
        _tracers.clear()
        _tracers[id(provider)] = made
    return made


def is_suppressed(context: Context) -> bool:
    """Whether `suppress_instrumentation()` is in force. Asked as `opentelemetry.instrumentation.utils` does it,
    which is not imported here because it costs more than all of this package.
    """
    return bool(context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get("suppress_instrumentation"))
