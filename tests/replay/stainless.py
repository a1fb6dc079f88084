"""Other clients of OpenAI's protocol, made by the same generator, over the same recorded cases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from otel_harn_steps.testing._modes import SYNC, AsyncMode, Mode
from tests.replay.cases import Case, cases
from tests.replay.clients import Clients, resource_of
from tests.replay.runs import Trip
from tests.replay.ways import ways_of

_TIMEOUT_S = 10.0


class Library(NamedTuple):
    """A generated client: `groq` has `Groq` and `AsyncGroq`, for the recorded cases of its provider."""

    name: str
    package: str
    client: str
    provider: str
    options: dict[str, Any]

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported here."""
        return find_spec(self.package.partition(".")[0]) is not None

    def make(self, prefix: str = "", **options: Any) -> Any:
        """A client; `prefix` is "" or "Async"."""
        return getattr(import_module(self.package), f"{prefix}{self.client}")(
            api_key="test", **{**self.options, **options}
        )


LIBRARIES = tuple(
    library
    for library in (
        Library("groq", "groq", "Groq", "groq", {}),
        Library("together", "together", "Together", "together", {}),
        # It sends a request of its own when it is made.
        Library("cerebras_cloud_sdk", "cerebras.cloud.sdk", "Cerebras", "cerebras", {"warm_tcp_connection": False}),
    )
    if library.is_installed
)
"""Those that are installed here."""


class StainlessClients(Clients):
    """The clients of one library in one mode, over one connection pool."""

    def __init__(self, mode: Mode, proxy: str, library: Library) -> None:
        super().__init__(mode, proxy)
        self._library = library
        self._prefix = "" if self._is_sync else "Async"
        self._http = self._pool(getattr(import_module(library.package), f"Default{self._prefix}HttpxClient"))

    def for_case(self, case: Case, base_url: str, *, max_retries: int = 0) -> Any:
        return self._library.make(
            self._prefix, base_url=base_url, http_client=self._http, timeout=_TIMEOUT_S, max_retries=max_retries
        )

    def close(self) -> None:
        self.mode.run(self._close(self._http))


@contextmanager
def clients_of(library: Library, proxy: str, mode: str) -> Iterator[StainlessClients]:
    """The clients of `library`, open for as long as the tests of it run."""
    running = SYNC if mode == "sync" else AsyncMode()
    clients = StainlessClients(running, proxy, library)
    yield clients
    clients.close()
    if isinstance(running, AsyncMode):
        running.close()


def trips_of(library: Library) -> list[Trip]:
    """Every way that the library has for its provider's cases."""
    client = library.make()
    return [
        Trip(case, way)
        for case in cases(providers=[library.provider])
        for way in ways_of(case)
        if way.needs(resource_of(client, case))
    ]
