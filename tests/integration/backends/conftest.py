"""The real programs, a Collector that is stopped, and the marker of these tests."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.backends.binaries import (
    REQUIRED,
    collector_binary,
    jaeger_binary,
    phoenix_binary,
    prometheus_binary,
    tool,
    victoriametrics_binary,
)
from tests.integration.backends.programs import Collector

__all__ = ["collector_binary", "jaeger_binary", "phoenix_binary", "prometheus_binary", "tool", "victoriametrics_binary"]

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "backends: runs a real Collector, Jaeger, Prometheus, VictoriaMetrics or Phoenix on loopback"
    )
    if REQUIRED:
        # The modules skip themselves without it, see `importorskip` at their top.
        importlib.import_module("opentelemetry.exporter.otlp.proto.grpc")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if HERE in item.path.parents and "tool" in item.fixturenames:  # what finds the real programs
            item.add_marker("backends")


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What a test enters here is stopped at its end, the last started first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_collector(collector_binary: Path, tmp_path: Path, running: ExitStack) -> Callable[..., Collector]:
    """Start a Collector with the configuration of that name and the settings given; it is stopped at the test's end."""
    count = iter(range(100))

    def start(name: str, **settings: str) -> Collector:
        return running.enter_context(
            Collector(collector_binary, name, tmp_path / f"collector-{next(count)}", **settings)
        )

    return start
