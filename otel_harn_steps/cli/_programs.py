"""Other programs: started on loopback, waited for, and stopped again, whatever happens meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

_T = TypeVar("_T")

_BETWEEN_LOOKS_S: Final = 0.05
_ENDS_WITHIN_S: Final = 30
_LOG_LINES: Final = 30


class NotInTime(Exception):  # noqa: N818 -- reads as what it says: raise NotInTime("...")
    """What was waited for did not happen. The message says what it was."""


def wait_for(what: str, condition: Callable[[], _T], within_s: float = 60) -> _T:
    """The first true result of `condition`.

    Raises:
        NotInTime: there was none. It says what was waited for, and the last result.
    """
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise NotInTime(f"waited {within_s} s in vain for {what}; the last answer was {result!r}")
        time.sleep(_BETWEEN_LOOKS_S)


def free_port() -> int:
    """A loopback port without a listener."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> str | None:
    """The text at a loopback address, with `body` as the answer to a POST; None while there is no good answer."""
    request = urllib.request.Request(url, body, dict(headers or {}))  # noqa: S310 -- our own addresses
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
            text: str = response.read().decode()
            return text
    except OSError:
        return None


class Program:
    """A program that runs, with its log. As a context manager it is stopped at the end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        health: str,
        log: Path,
        environment: Mapping[str, str],
        directory: Path,
        starts_within_s: float = 60,
    ) -> None:
        self.log = log
        self._command, self._health, self._environment, self._directory = command, health, environment, directory
        self._starts_within_s = starts_within_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is healthy.

        Raises:
            NotInTime: it is not, or has ended. The message has the end of its log.
            OSError: it cannot be run.
        """
        # Nothing of the machine's own settings reaches it: no proxy, no key.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._directory), **self._environment}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- what the caller asks for
                self._command, env=environment, cwd=self._directory, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_for(f"{self._command[0]} to be healthy", self._is_up, self._starts_within_s)
        except NotInTime as error:
            self.stop()
            raise NotInTime("\n".join([str(error), *self.log_text().splitlines()[-_LOG_LINES:]])) from None

    def _is_up(self) -> bool:
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise NotInTime(f"{self._command[0]} ended with {code}")
        return fetch(self._health) is not None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(subprocess.Popen.kill)

    def _end(self, end: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is None:
            return
        end(self._process)
        try:
            self._process.wait(timeout=_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log_text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


class Collector(Program):
    """The Collector with the configuration in `config`. The settings are those that the configuration's head names."""

    def __init__(self, binary: Path, config: Path, directory: Path, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.grpc, http, health, metrics, own = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.http, self.metrics_url, self.self_metrics_url = (
            f"http://{http}",
            f"http://{metrics}/metrics",
            f"http://{own}/metrics",
        )
        super().__init__(
            [str(binary), f"--config={config}"],
            health=f"http://{health}",
            log=directory / f"{config.stem}.log",
            directory=directory,
            environment={
                "OTLP_GRPC_ENDPOINT": self.grpc,
                "OTLP_HTTP_ENDPOINT": http,
                "HEALTH_ENDPOINT": health,
                "METRICS_ENDPOINT": metrics,
                "SELF_METRICS_PORT": own.rpartition(":")[2],
                "QUEUE_DIR": str(directory / "queue"),
                **settings,
            },
        )
