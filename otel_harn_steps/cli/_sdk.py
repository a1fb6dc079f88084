"""The OpenTelemetry SDK, as its environment variables say, in a process that has none yet."""

from __future__ import annotations

import sys
from typing import Any

import wrapt
from opentelemetry import trace


def set_up_sdk() -> None:
    """Set up tracing, metrics and logs with the exporters that the environment names, unless that has been done."""
    wrapt.register_post_import_hook(_flush_in_forked_workers, "multiprocessing.util")
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    # What `opentelemetry-instrument` uses: every OTEL_* variable means here what it means there.
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator  # noqa: PLC0415 -- only where it is wanted

    configurator: Any = _OTelSDKConfigurator  # untyped
    configurator().configure()


def _flush_in_forked_workers(util: Any) -> None:
    # A worker that multiprocessing has forked ends by `os._exit`, and what is kept for the next export would be lost.
    util.register_after_fork(_flush, lambda flush: util.Finalize(None, flush, exitpriority=0))


def _flush() -> None:
    metrics: Any = sys.modules.get("opentelemetry.metrics")
    logs: Any = sys.modules.get("opentelemetry._logs")
    for provider in (
        trace.get_tracer_provider(),
        metrics and metrics.get_meter_provider(),
        logs and logs.get_logger_provider(),
    ):
        flush = getattr(provider, "force_flush", None)
        if flush is not None:
            flush()
