"""The entry point for `opentelemetry-instrument`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # no __all__

from otel_harn_steps.config._automatic import start_by_file
from otel_harn_steps.config._starting import stop


class HarnStepsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base class is untyped
    """What OpenTelemetry's tools load. It does what the configuration file says; without one it is `instrument()`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: clients are patched if and when they are imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        known = ("tracer_provider", "meter_provider", "logger_provider")
        start_by_file(**{name: kwargs[name] for name in known if name in kwargs})

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 -- the signature of the base class
        stop()
