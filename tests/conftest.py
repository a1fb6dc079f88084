"""What every test can ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from otel_harn_steps.testing import raise_own_faults
from tests.replay.clients import Clients
from tests.replay.modes import SYNC, AsyncMode
from tests.replay.native import Native
from tests.replay.outcomes import Twice
from tests.replay.server import ReplayServer


@dataclass(frozen=True, slots=True)
class Spans:
    """An SDK of the test's own, and what it exported."""

    provider: TracerProvider = field(default_factory=lambda: TracerProvider(shutdown_on_exit=False))
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def finished(self, name_starts: str = "") -> tuple[ReadableSpan, ...]:
        """The spans that have ended, of this name."""
        return tuple(span for span in self.exporter.get_finished_spans() if span.name.startswith(name_starts))


class Instrumented(Protocol):
    """Opens a stretch of code in which `otel_harn_steps` is at work, with the given settings."""

    def __call__(self, **settings: Any) -> AbstractContextManager[ModuleType]: ...


raise_own_faults(True)  # in this process; those that tests start have it in their environment


@pytest.fixture
def own_faults_dropped() -> Iterator[None]:
    """Our own faults are logged and dropped, as they are for users."""
    before = raise_own_faults(False)
    yield
    raise_own_faults(before)


@pytest.fixture(scope="session")
def replay() -> Iterator[ReplayServer]:
    """The loopback server that answers for the providers."""
    with ReplayServer() as server:
        yield server


@pytest.fixture(scope="session")
def sync_clients(replay: ReplayServer) -> Iterator[Clients]:
    clients = Clients(SYNC, replay.address)
    yield clients
    clients.close()


@pytest.fixture(scope="session")
def async_clients(replay: ReplayServer) -> Iterator[Clients]:
    mode = AsyncMode()
    clients = Clients(mode, replay.address)
    yield clients
    clients.close()
    mode.close()


@pytest.fixture(scope="session", params=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Clients:
    """The clients of either mode: a test that asks for them runs once for each."""
    chosen: Clients = request.getfixturevalue(f"{request.param}_clients")
    return chosen


@pytest.fixture(scope="session")
def twice(clients: Clients, replay: ReplayServer, instrumented: Instrumented) -> Twice:
    """Makes a call bare and inside a step, to compare."""
    return Twice(clients, replay, instrumented)


@pytest.fixture(scope="session")
def native(clients: Clients, replay: ReplayServer, instrumented: Instrumented) -> Native:
    """Makes the calls of clients with protocols of their own, bare and inside a step."""
    return Native(clients.mode, replay, instrumented)


@pytest.fixture
def spans() -> Spans:
    """An SDK TracerProvider with an exporter that keeps what it gets."""
    return Spans()


@pytest.fixture(scope="session")
def instrumented() -> Instrumented:
    """`with instrumented(...) as otel_harn_steps:` for tests that also run without."""
    return _instrumented


@pytest.fixture
def steps(spans: Spans) -> Iterator[ModuleType]:
    """`otel_harn_steps`, at work for the whole test; its spans go to `spans`."""
    with _instrumented(tracer_provider=spans.provider) as package:
        yield package


@contextmanager
def _instrumented(**settings: Any) -> Iterator[ModuleType]:
    otel_harn_steps.instrument(**settings)
    try:
        yield otel_harn_steps
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
