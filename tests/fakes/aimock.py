"""`@copilotkit/aimock`: answers by fixtures, each with the usage that it says, and keeps a journal of what was asked.

It is installed once, into ~/.cache/otel-harn-steps, and needs Node 20.15 or newer with npm.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.coexistence.venvs import CACHE
from tests.fakes.programs import free_port, running, unavailable

VERSION = "1.43.0"
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

    def chaos(self, **rates: float) -> None:
        """Break requests at these rates from now on."""
        self._ask("POST", "chaos", rates)

    def calm(self) -> None:
        """Break nothing."""
        self._ask("DELETE", "chaos")

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/__aimock/{path}", data, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=10) as response:
            said = response.read()
        return json.loads(said) if said else None


@contextmanager
def aimock(fixtures: Path) -> Iterator[AIMock]:
    """An aimock of one's own, with the fixtures of a file or a folder."""
    node = installed()
    url = f"http://127.0.0.1:{(port := free_port())}"
    with running([node, _PROGRAM, "-p", str(port), "-f", fixtures], f"{url}/__aimock/health"):
        yield AIMock(url)


def installed() -> str:
    """Node, with aimock installed. Without Node or npm the test is skipped, or fails where fakes are required."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        unavailable("aimock needs Node 20.15 or newer, with npm")
    if not _PROGRAM.exists():
        _HOME.mkdir(parents=True, exist_ok=True)
        package = f"@copilotkit/aimock@{VERSION}"
        subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", _HOME, package], check=True)
    return node
