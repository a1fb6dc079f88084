"""The entry point for `opentelemetry-instrument`."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # no __all__

from otel_harn_steps.config._automatic import start_by_file
from otel_harn_steps.config._finding import RUN_FOLDER
from otel_harn_steps.config._starting import stop

_PROVIDERS: Final = ("tracer_provider", "meter_provider", "logger_provider")


class HarnStepsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base class is untyped
    """The class that OpenTelemetry's tools load.

    Below `otel-harn-steps run` it joins the run. Elsewhere it follows the configuration file, if there is one.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: clients are patched if and when they are imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        providers = {name: kwargs[name] for name in _PROVIDERS if name in kwargs}
        if os.environ.get(RUN_FOLDER):
            from otel_harn_steps.cli._child import join  # noqa: PLC0415 -- only below `otel-harn-steps run`

            join(**providers)
        else:
            start_by_file(**providers)

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 -- the signature of the base class
        stop()
