"""Starts the real programs on free loopback ports, and stops them. Waiting is always for a condition, with a deadline."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGS = ROOT / "collector-config"


def wait_for(what: str, condition: Callable[[], T], within_s: float = 60) -> T:
    """The first true result of `condition`.

    Raises:
        AssertionError: there was none in time. It says what was waited for, and the last result.
    """
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s} s in vain for {what}; the last answer was {result!r}")
        time.sleep(0.05)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> str | None:
    """The text at a loopback address, with `body` as the answer to a POST; None while nobody answers it well."""
    request = urllib.request.Request(url, body, dict(headers or {}))
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
            text: str = response.read().decode()
            return text
    except OSError:
        return None


class Program:
    """A program that runs, with its log. As a context manager it is stopped at the end, whatever happens."""

    def __init__(
        self,
        command: list[str],
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
        """Start it and wait until it is healthy."""
        # Nothing of the machine's own settings reaches it: no proxy, no key.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._directory), **self._environment}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, cwd=self._directory, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_for(f"{self._command[0]} to be healthy", self._is_up, self._starts_within_s)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log_text()[-4000:]}") from None

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}")
        return fetch(self._health) is not None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log_text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Collector(Program):
    """The real Collector with one of our configurations. Its environment is the settings that the configuration's header names."""

    def __init__(self, binary: Path, name: str, directory: Path, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        grpc, http, health, metrics, own = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.grpc, self.http, self.metrics_url, self.self_metrics_url = (
            grpc,
            f"http://{http}",
            f"http://{metrics}/metrics",
            f"http://{own}/metrics",
        )
        super().__init__(
            [str(binary), f"--config={CONFIGS / name}.yaml"],
            health=f"http://{health}",
            log=directory / f"{name}.log",
            directory=directory,
            environment={
                "OTLP_GRPC_ENDPOINT": grpc,
                "OTLP_HTTP_ENDPOINT": http,
                "HEALTH_ENDPOINT": health,
                "METRICS_ENDPOINT": metrics,
                "SELF_METRICS_PORT": own.rpartition(":")[2],
                "QUEUE_DIR": str(directory / "queue"),
                **settings,
            },
        )


class Jaeger(Program):
    """The real Jaeger v2 with our configuration."""

    def __init__(self, binary: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        http, grpc, self.otlp, otlp_http, health = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.query = f"http://{http}"
        super().__init__(
            [str(binary), f"--config={CONFIGS / 'jaeger.yaml'}"],
            health=f"http://{health}/status",
            log=directory / "jaeger.log",
            directory=directory,
            environment={
                "JAEGER_HTTP_ENDPOINT": http,
                "JAEGER_GRPC_ENDPOINT": grpc,
                "JAEGER_OTLP_GRPC_ENDPOINT": self.otlp,
                "JAEGER_OTLP_HTTP_ENDPOINT": otlp_http,
                "JAEGER_HEALTH_ENDPOINT": health,
            },
        )

    def stop(self) -> None:
        """End it at once: asked to end, it takes ten seconds, and it has nothing to save."""
        self.kill()


class Prometheus(Program):
    """The real Prometheus with our configuration, scraping the Collector at `target`, and `apps`, every second."""

    def __init__(self, binary: Path, directory: Path, target: str, apps: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        web = f"127.0.0.1:{free_port()}"
        self.url = f"http://{web}"
        config = (CONFIGS / "prometheus.yaml").read_text()
        assert "127.0.0.1:9464" in config
        config = config.replace("127.0.0.1:9464", target).replace("scrape_interval: 15s", "scrape_interval: 1s")
        if apps:
            # The lines that users uncomment.
            config = re.sub(r"^  # ", "  ", config, flags=re.MULTILINE).replace(
                '"127.0.0.1:9465"', json.dumps(list(apps))[1:-1]
            )
        (directory / "prometheus.yaml").write_text(config.replace("[rules.yml]", f"[{CONFIGS / 'rules.yml'}]"))
        super().__init__(
            [
                str(binary),
                "--config.file=prometheus.yaml",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={web}",
            ],
            health=f"{self.url}/-/ready",
            log=directory / "prometheus.log",
            directory=directory,
            environment={},
        )


class Phoenix(Program):
    """The real Phoenix, with its database in `directory`. It sends nothing anywhere."""

    def __init__(self, binary: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        http, grpc = free_port(), free_port()
        self.url, self.otlp = f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}"
        super().__init__(
            [str(binary), "serve"],
            health=f"{self.url}/healthz",
            log=directory / "phoenix.log",
            directory=directory,
            starts_within_s=240,
            environment={
                "PHOENIX_WORKING_DIR": str(directory),
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(http),
                "PHOENIX_GRPC_PORT": str(grpc),
                "PHOENIX_TELEMETRY_ENABLED": "false",
                "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            },
        )
