"""The real programs as fixtures. A missing one skips its tests; where OTEL_HARN_STEPS_REQUIRE_BACKENDS=1, it fails them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.backends.programs import ROOT

REQUIRED = os.environ.get("OTEL_HARN_STEPS_REQUIRE_BACKENDS") == "1"


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
