"""What the tests of every step source ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import otel_harn_steps
from otel_harn_steps import CompletedStep
from otel_harn_steps.testing import ReplayServer
from tests.frameworks.stand_in import Provider


@pytest.fixture(scope="session")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


@pytest.fixture
def provider(server: ReplayServer, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider of the test's own, to which clients go by themselves."""
    provider = Provider(server)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    # The one address that all of these take where they make their clients themselves. None of them takes another way
    # for it but LangChain, which asks no usage of streams at an address that is not OpenAI's, however it is given.
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    return provider


@pytest.fixture
def steps() -> Iterator[Callable[[], list[CompletedStep]]]:
    """`instrument()` with every framework; called, the steps that have ended since."""
    otel_harn_steps.reset_steps()
    otel_harn_steps.instrument(frameworks="auto")
    yield otel_harn_steps.drain_completed_steps
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()


@pytest.fixture
def declare() -> Callable[..., None]:
    """Declares a budget, a boundary, a model for the framework's step of a name."""

    def declare(name: str, **metadata: object) -> None:
        otel_harn_steps.register_step_from_dict(name, metadata)

    return declare


@pytest.fixture
def silent_crewai(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CrewAI writes to its home, and calls home, unless switched off."""
    for name in ("CREWAI_DISABLE_TELEMETRY", "CREWAI_DISABLE_TRACKING", "OTEL_SDK_DISABLED"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("CREWAI_TRACING_ENABLED", "false")
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
