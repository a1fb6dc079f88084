"""What every test can ask for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import ModuleType

import pytest

from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._steps.active import any_step_is_open
from otel_harn_steps.testing import ReplayServer, raise_own_faults
from otel_harn_steps.testing._modes import SYNC, AsyncMode
from tests.instrumented import Instrumented, Spans
from tests.instrumented import instrumented as _instrumented
from tests.replay.clients import Clients
from tests.replay.native import Native
from tests.replay.outcomes import Twice
from tests.replay.subset import LEFT_OUT, OPTION, representative


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, action="store_true", help="every case in every way, where a representative part is the default"
    )
    parser.addoption(LEFT_OUT, action="store_true", help="what the representative part leaves out, and nothing else")


def pytest_configure() -> None:
    try:
        from hypothesis import settings
    except ImportError:  # the environments of older clients have none
        return
    settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
    settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption(OPTION):
        kept, left_out = representative(items)
        if config.getoption(LEFT_OUT):
            kept, left_out = left_out, kept
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)


raise_own_faults(True)  # in this process; those that tests start have it in their environment


@pytest.fixture(autouse=True)
def no_step_left_open() -> Iterator[None]:
    """A step that a test leaves open would be found by the tests after it."""
    yield
    if any_step_is_open():
        gc.collect()
        finish_freed()
        assert not any_step_is_open(), "the test left a step open"


@pytest.fixture(autouse=True, scope="session")
def records_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The commands that tests start keep nothing among the records of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_HARN_STEPS_RECORDS", str(tmp_path_factory.mktemp("records")))
        yield


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
