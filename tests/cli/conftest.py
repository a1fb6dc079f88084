"""Apps in folders of their own, run in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic")

from otel_harn_steps._guard import RAISE_FAULTS

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 60


@dataclass(frozen=True)
class App:
    """A folder with an app, and ways to run it. Nothing is installed there, and nothing is inherited but the Python."""

    folder: Path
    environment: dict[str, str]

    def write(self, name: str, text: str) -> Path:
        """Write a file of the app."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in the folder."""
        environment = self.environment | options.pop("env", {})
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, **({"stdout": -1, "stderr": -1} | options)
        )

    def call(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*command, **options) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def python(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Python without us."""
        return self.call(sys.executable, *arguments, **options)

    def run(self, *command: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[str]:
        """`otel-harn-steps run [options] -- command`."""
        return self.call(*self.run_command(*command, options=options), **more)

    def run_command(self, *command: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The words of `run`. A command that begins with "python" is run by this Python."""
        program = tuple(sys.executable if word == "python" and not n else word for n, word in enumerate(command))
        return (sys.executable, "-m", "otel_harn_steps.cli", "run", *options, "--", *program)

    def records(self, name: str = "records.jsonl") -> list[dict[str, Any]]:
        """The records in a file. Fails on a torn line."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def result(self, name: str = "run.json") -> dict[str, Any]:
        """What `--json` has written."""
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def app(tmp_path: Path) -> App:
    wanted = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
    kept = {name: os.environ[name] for name in wanted if name in os.environ}
    scripts = str(Path(sys.executable).parent)
    folder = tmp_path / "app"
    folder.mkdir()
    return App(
        folder,
        kept
        | {
            "PATH": scripts + os.pathsep + kept.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            RAISE_FAULTS: "1",
            "OTEL_HARN_STEPS_RECORDS": str(tmp_path / "kept"),
        },
    )


@pytest.fixture
def installed(app: App, tmp_path: Path) -> App:
    """The app, with our entry points to be found as if the package were installed, in case that it is not."""
    if any(each.name == "harn_steps" for each in metadata.entry_points(group="opentelemetry_instrumentor")):
        return app
    info = tmp_path / "site" / "otel_harn_steps-0.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otel-harn-steps\nVersion: 0.0.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_instrumentor]\nharn_steps = otel_harn_steps.cli._instrumentor:HarnStepsInstrumentor\n"
    )
    path = os.pathsep.join((app.environment["PYTHONPATH"], str(info.parent)))
    return App(app.folder, app.environment | {"PYTHONPATH": path})


@dataclass
class Server:
    """A loopback server that keeps what it gets."""

    address: str
    received: list[tuple[str, bytes]]


def _serve(answer: bytes, content_type: str) -> Iterator[Server]:
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Server(f"http://127.0.0.1:{server.server_port}", received)
    server.shutdown()
    thread.join()
    server.server_close()


ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
}  # fmt: skip


@pytest.fixture
def provider() -> Iterator[Server]:
    """Answers for OpenAI: 100 tokens in, 20 out."""
    yield from _serve(json.dumps(ANSWER).encode(), "application/json")


@pytest.fixture
def collector() -> Iterator[Server]:
    """Takes what an OTLP exporter sends."""
    yield from _serve(b"", "application/x-protobuf")


@pytest.fixture
def ask(app: App, provider: Server) -> Callable[..., None]:
    """Writes `agent.py`, which asks a model, and puts the stand-in's address into the environment."""

    def ask() -> None:
        app.environment.update(OPENAI_BASE_URL=provider.address, OPENAI_API_KEY="none", ANTHROPIC_API_KEY="none")
        app.write(
            "agent.py",
            """
            import openai

            def plan(question):
                client = openai.OpenAI()
                answer = client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
                )
                return answer.choices[0].message.content
            """,
        )

    return ask
