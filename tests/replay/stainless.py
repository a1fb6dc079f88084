"""Other clients of OpenAI's protocol, made by the same generator, over the same recorded cases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from otel_harn_steps.testing._modes import SYNC, AsyncMode, Mode
from tests.replay.cases import Case, cases
from tests.replay.clients import Clients, resource_of
from tests.replay.runs import Trip
from tests.replay.ways import ways_of

_TIMEOUT_S = 10.0


class StainlessClients(Clients):
    """The clients of one library (`groq`: `Groq` and `AsyncGroq`) in one mode, over one connection pool."""

    def __init__(self, mode: Mode, proxy: str, library: ModuleType) -> None:
        super().__init__(mode, proxy)
        prefix = "" if self._is_sync else "Async"
        self._make = getattr(library, f"{prefix}{library.__name__.title()}")
        self._http = self._pool(getattr(library, f"Default{prefix}HttpxClient"))

    def for_case(self, case: Case, base_url: str, *, max_retries: int = 0) -> Any:
        return self._make(
            api_key="test", base_url=base_url, http_client=self._http, timeout=_TIMEOUT_S, max_retries=max_retries
        )

    def close(self) -> None:
        self.mode.run(self._close(self._http))


@contextmanager
def clients_of(library: ModuleType, proxy: str, mode: str) -> Iterator[StainlessClients]:
    """The clients of `library`, open for as long as the tests of it run."""
    running = SYNC if mode == "sync" else AsyncMode()
    clients = StainlessClients(running, proxy, library)
    yield clients
    clients.close()
    if isinstance(running, AsyncMode):
        running.close()


def trips_of(library: ModuleType) -> list[Trip]:
    """Every way that the library has for its provider's cases."""
    client = getattr(library, library.__name__.title())(api_key="test")
    return [
        Trip(case, way)
        for case in cases(providers=[library.__name__])
        for way in ways_of(case)
        if way.needs(resource_of(client, case))
    ]
