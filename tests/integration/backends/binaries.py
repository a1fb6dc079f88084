"""The real programs as fixtures. A missing one skips its tests; where OTEL_HARN_STEPS_REQUIRE_BACKENDS=1, it fails them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

REQUIRED = os.environ.get("OTEL_HARN_STEPS_REQUIRE_BACKENDS") == "1"


@pytest.fixture(scope="session")
def tool() -> Iterator[ModuleType]:
    """The module `tools/backends.py`."""
    with script("backends") as module:
        yield module


def program(tool: ModuleType, name: str) -> Path:
    """The program of that name."""
    found = tool.find(name)
    if isinstance(found, Path):
        return found
    if REQUIRED:
        pytest.fail(found.reason, pytrace=False)
    pytest.skip(found.reason)


@pytest.fixture(scope="session")
def collector_binary(tool: ModuleType) -> Path:
    return program(tool, "collector")


@pytest.fixture(scope="session")
def jaeger_binary(tool: ModuleType) -> Path:
    return program(tool, "jaeger")


@pytest.fixture(scope="session")
def prometheus_binary(tool: ModuleType) -> Path:
    return program(tool, "prometheus")


@pytest.fixture(scope="session")
def victoriametrics_binary(tool: ModuleType) -> Path:
    return program(tool, "victoriametrics")


@pytest.fixture(scope="session")
def phoenix_binary(tool: ModuleType) -> Path:
    return program(tool, "phoenix")
