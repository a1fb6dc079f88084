"""The requests to models that no patched client made, as `unseen_calls()` shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from otel_harn_steps._guard import guard
from otel_harn_steps._process import in_forked_child

_logger = logging.getLogger("otel_harn_steps")
_on_unseen: Callable[[str, str], None] | None = None


@dataclass(frozen=True, slots=True)
class UnseenCalls:
    """Requests to models that no patched client made. `unseen_calls()` returns them.

    Attributes:
        host: where they went: "api.openai.com".
        path: the end of the path, without names and ids: "/chat/completions".
        library: the HTTP library that sent them: "httpx".
        count: how many. A retry or a redirect of the app's own counts again.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    host: str
    path: str
    library: str
    count: int


class _Counts:
    """How many requests were unseen in this process."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew. With a new lock, for another thread may have held the old one at a fork."""
        self._lock = Lock()
        self._counts: dict[tuple[str, str, str], int] = {}
        self._warned: set[tuple[str, str]] = set()

    def add(self, host: str, path: str, library: str) -> bool:
        """Count one. Whether it is the first of this host and library."""
        with self._lock:
            key = host, path, library
            self._counts[key] = self._counts.get(key, 0) + 1
            is_first = (host, library) not in self._warned
            self._warned.add((host, library))
            return is_first

    def all(self) -> list[UnseenCalls]:
        """The most frequent first."""
        with self._lock:
            counts = list(self._counts.items())
        return sorted((UnseenCalls(*key, count) for key, count in counts), key=lambda each: -each.count)


_counts = _Counts()
in_forked_child(_counts.clear)


def unseen_calls() -> list[UnseenCalls]:
    """The requests to known model hosts that no patched client made in this process, the most frequent first.

    They are in no step, budget or record, unless `record_llm_usage()` bills them. None are counted before
    `instrument(unseen_calls=True)`, which is the default under `otel-harn-steps run`. The first request of each HTTP
    library to each host is also logged at WARNING.

    Seen are `httpx`, `httpx2`, `aiohttp`, `requests` and `urllib3`. Not seen: websockets, gRPC, `urllib.request`.
    """
    return _counts.all()


def forget_unseen_calls() -> None:
    """Count from zero, and warn of everything again."""
    _counts.clear()


def watch_unseen(on_unseen: Callable[[str, str], None] | None) -> None:
    """Call `on_unseen(host, library)` with the host and the HTTP library of each request. None: no more."""
    global _on_unseen  # noqa: PLW0603 -- one watcher, for all of the process
    _on_unseen = on_unseen


def count_unseen(host: str, path: str, library: str) -> None:
    """Count a request. The first of a host and library is named in a WARNING."""
    if _counts.add(host, path, library):
        _logger.warning(
            "a call to a model at %s was sent by %s and not by a patched client: it is in no step, budget or record, "
            "unless record_llm_usage() bills it; unseen_calls() counts such calls",
            host,
            library,
        )
    from otel_harn_steps._telemetry import metrics  # noqa: PLC0415 -- at the first of them

    metrics.count_unseen(host)
    if _on_unseen is not None:
        with guard("passing an unseen call on"):
            _on_unseen(host, library)
