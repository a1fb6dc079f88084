"""The OpenTelemetry SDK, as its environment variables say, in a process that has none yet."""

from __future__ import annotations

import atexit
import os
import socket
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import trace

from otel_harn_steps._telemetry.exporting import EXPORT_S, call_within, flush_on_sigterm, providers

_LISTENER_S: Final = 5.0
"""How long the program's end may take where an exporter's address accepts connections."""
_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
_PORTS: Final = {"http": 80, "https": 443}


def set_up_sdk() -> None:
    """Set up tracing, metrics and logs with the exporters that the environment names, unless that has been done."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    # What `opentelemetry-instrument` uses: every OTEL_* variable means here what it means there.
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator  # noqa: PLC0415 -- only where it is wanted

    configurator: Any = _OTelSDKConfigurator  # untyped
    configurator().configure()
    made = providers()
    # The SDK shuts them down one after the other, and each tries for its exporter's whole timeout.
    for provider in made:
        atexit.unregister(provider.shutdown)
    atexit.register(_shut_down, made)
    flush_on_sigterm()


def _shut_down(made: list[Any]) -> None:
    call_within(EXPORT_S, [provider.shutdown for provider in made], _limit_s)


def _limit_s() -> float:
    return _LISTENER_S if _is_anybody_there() else EXPORT_S


def _is_anybody_there() -> bool:
    """Whether an address that the environment names accepts connections. One that nobody names is this machine's."""
    named = {os.environ.get(name) or "" for name in _ENDPOINTS} - {""}
    return any(map(_accepts, named or ("http://localhost:4317", "http://localhost:4318")))


def _accepts(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        address = parts.hostname or "localhost", parts.port or _PORTS.get(parts.scheme, 4317)
        with socket.create_connection(address, timeout=EXPORT_S / 4):
            return True
    except (OSError, ValueError):
        return False
