"""The log event of a share of a budget that is spent."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import SeverityNumber, get_logger
from opentelemetry.context import get_current

from otel_harn_steps import _settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.tracer import is_suppressed
from otel_harn_steps._version import __version__


def emit_threshold(attributes: dict[str, Any]) -> None:
    """Emit it in the context of the call that reached the share, unless telemetry is suppressed there."""
    if not is_suppressed(get_current()):
        get_logger(names.SCOPE, __version__, _settings.in_force.logger_provider, names.SCHEMA_URL).emit(
            event_name=names.THRESHOLD_EVENT,
            severity_number=SeverityNumber.INFO,
            severity_text=SeverityNumber.INFO.name,
            attributes={names.of_threshold(name): value for name, value in attributes.items()},
        )
