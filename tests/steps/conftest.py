"""A provider whose calls are billed, and what the ledger says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.trace import TracerProvider

import otel_harn_steps as harn
from otel_harn_steps._steps.shared_budget import SharedBudget
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider
from tests.steps.sinks import Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def tracer_provider() -> TracerProvider | None:
    """None: steps have no spans of an SDK."""
    return None


@pytest.fixture
def llm(replay: ReplayServer, ledger: Ledger, tracer_provider: TracerProvider | None) -> Iterator[Provider]:
    harn.reset_steps()
    with instrumented(sinks=[ledger], prices=PRICES, tracer_provider=tracer_provider), provider(replay) as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where processes share a budget."""
    return tmp_path / "budget.sqlite"


@pytest.fixture
def budget(path: Path) -> Iterator[SharedBudget]:
    """What they share."""
    budget = SharedBudget(path)
    yield budget
    budget.close()
