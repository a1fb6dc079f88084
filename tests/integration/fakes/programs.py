"""A fake provider as a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_STARTS_WITHIN_S = 60.0
_LOOKS_EVERY_S = 0.1


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str | Path], ready: str) -> Iterator[None]:
    """The program, from when it answers at the address `ready` until it is ended."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(ready, process)
            yield
        finally:
            process.terminate()


def _wait_for(ready: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        try:
            with urlopen(ready, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(_LOOKS_EVERY_S)
    raise TimeoutError(f"{process.args} does not answer at {ready}")
