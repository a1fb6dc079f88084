"""The tracer of the settings in force, and whether telemetry is wanted here at all."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import Tracer

from otel_harn_steps import _settings
from otel_harn_steps._settings import Settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._version import __version__

_made: tuple[Settings, Tracer] | None = None


def tracer() -> Tracer:
    """The tracer that makes step and call spans."""
    global _made  # noqa: PLW0603 -- one tracer for the settings in force, made again when they change
    now = _settings.in_force
    if _made is None or _made[0] is not now:
        _made = now, trace.get_tracer(names.SCOPE, __version__, now.tracer_provider, names.SCHEMA_URL)
    return _made[1]


def is_suppressed(context: Context) -> bool:
    """Whether `suppress_instrumentation()` is in force. Asked as `opentelemetry.instrumentation.utils` does it,
    which is not imported here because it costs more than all of this package.
    """
    return bool(context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get("suppress_instrumentation"))
