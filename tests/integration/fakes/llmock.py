"""`llmock`: ten providers' protocols, and faults on demand, as a process in an environment of its own.

Its pytest plugin would set `OPENAI_BASE_URL` for every test, which is why it is not installed next to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.integration.coexistence.venvs import python_of
from tests.integration.fakes.programs import free_port, running

ENVIRONMENTS = Path(__file__).with_name("environments")


class LLMock:
    """A running llmock, seen from this process or from another one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def behave(self, behaviors: Sequence[Mapping[str, Any]]) -> None:
        """Forget everything; then do this, from the next request on."""
        self._ask("POST", "reset", {})
        if behaviors:
            self._ask("POST", "scenario", {"behaviors": behaviors})

    def sent(self) -> list[tuple[str, int]]:
        """Path and status of each request since `behave`."""
        return [(request["path"], request["status"]) for request in self._ask("GET", "requests")["requests"]]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/_llmock/{path}", data, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=10) as response:
            return json.loads(response.read())


@contextmanager
def llmock() -> Iterator[LLMock]:
    """An llmock of one's own."""
    program = python_of("llmock", ENVIRONMENTS).with_name("llmock")
    url = f"http://127.0.0.1:{(port := free_port())}"
    with running([program, "serve", "--port", str(port), "--log-level", "warning"], f"{url}/health"):
        yield LLMock(url)
