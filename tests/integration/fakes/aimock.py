"""`@copilotkit/aimock`: answers by fixtures, each with the usage that it says, and keeps a journal of what was asked.

It is installed once, into ~/.cache/otel-harn-steps. Where there is no Node, that comes from PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.integration.coexistence.venvs import CACHE, python_of
from tests.integration.fakes.programs import free_port, running

VERSION = "1.43.0"
ENVIRONMENTS = Path(__file__).with_name("environments")
_HOME = CACHE.parent / f"aimock-{VERSION}"
_PROGRAM = _HOME / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"


class AIMock:
    """A running aimock, seen from this process or from another one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def journal(self) -> list[dict[str, Any]]:
        """The requests since `forget`, with the fixture that answered each."""
        entries: list[dict[str, Any]] = self._ask("GET", "journal")
        return entries

    def forget(self) -> None:
        """Empty the journal and begin every sequence of answers again."""
        self._ask("POST", "reset/journal")

    def behave(self, behaviors: Sequence[Mapping[str, Any]]) -> None:
        """Forget everything; then break requests at the rates that the one behavior has, or break nothing."""
        self._ask("DELETE", "chaos")
        for rates in behaviors:
            self._ask("POST", "chaos", rates)
        self.forget()

    def sent(self) -> list[tuple[str, int]]:
        """Path and status of each request since `behave`."""
        return [(entry["path"], entry["response"]["status"]) for entry in self.journal()]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/__aimock/{path}", data, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=10) as response:
            said = response.read()
        return json.loads(said) if said else None


@contextmanager
def aimock(fixtures: Path) -> Iterator[AIMock]:
    """An aimock of one's own, with the fixtures of a file or a folder."""
    node = _installed()
    url = f"http://127.0.0.1:{(port := free_port())}"
    with running([node, _PROGRAM, "-p", str(port), "-f", fixtures], f"{url}/__aimock/health"):
        yield AIMock(url)


def _installed() -> Path:
    """Node, with aimock installed."""
    node, npm = (_tool(name) for name in ("node", "npm"))
    if not _PROGRAM.exists():
        _HOME.mkdir(parents=True, exist_ok=True)
        package = f"@copilotkit/aimock@{VERSION}"
        path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", _HOME, package],
            check=True,
            env={**os.environ, "PATH": path},
        )
    return node


def _tool(name: str) -> Path:
    found = shutil.which(name)
    return python_of("node", ENVIRONMENTS).with_name(name) if found is None else Path(found)
