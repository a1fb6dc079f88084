"""The real programs. A missing one skips its tests; where OTEL_HARN_STEPS_REQUIRE_BACKENDS=1, it fails them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.backends.programs import ROOT, Collector

HERE = Path(__file__).parent
REQUIRED = os.environ.get("OTEL_HARN_STEPS_REQUIRE_BACKENDS") == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends: runs a real Collector, Jaeger, Prometheus or Phoenix on loopback")
    if REQUIRED:
        # The modules skip themselves without it, see `importorskip` at their top.
        importlib.import_module("opentelemetry.exporter.otlp.proto.grpc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("backends")


@pytest.fixture(scope="session")
def tool() -> ModuleType:
    """The module `tools/backends.py`."""
    spec = importlib.util.spec_from_file_location("backends_tool", ROOT / "tools" / "backends.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _binary(tool: ModuleType, name: str) -> Path:
    found = tool.find(name)
    if isinstance(found, Path):
        return found
    if REQUIRED:
        pytest.fail(found.reason, pytrace=False)
    pytest.skip(found.reason)


@pytest.fixture(scope="session")
def collector_binary(tool: ModuleType) -> Path:
    return _binary(tool, "collector")


@pytest.fixture(scope="session")
def jaeger_binary(tool: ModuleType) -> Path:
    return _binary(tool, "jaeger")


@pytest.fixture(scope="session")
def prometheus_binary(tool: ModuleType) -> Path:
    return _binary(tool, "prometheus")


@pytest.fixture(scope="session")
def phoenix_binary(tool: ModuleType) -> Path:
    return _binary(tool, "phoenix")


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
