"""Stands in for providers' own hosts, over TLS: for programs that take another way where their base URL is set.

It is a proxy on loopback that ends the TLS of those hosts itself, with a certificate of its own authority. A program
reaches it by `HTTPS_PROXY` and `SSL_CERT_FILE`, as behind a company's proxy. All other hosts are refused, and noted.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from otel_harn_steps.testing import Answer, Received
from tests.integration.coexistence.venvs import python_of

HOSTS = ("api.openai.com", "api.anthropic.com", "openrouter.ai")
ENVIRONMENTS = Path(__file__).with_name("environments")


class Hosts:
    """The hosts, at work inside its `with` block; what they answer is set by `answer`."""

    def __init__(self, folder: Path) -> None:
        python = python_of("trustme", ENVIRONMENTS)
        command = [python, "-m", "trustme", "--quiet", "--dir", folder, "--identities", *HOSTS]
        subprocess.run(command, check=True, timeout=60)
        self._authority = folder / "client.pem"
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.tls.load_cert_chain(folder / "server.pem", folder / "server.key")

    def begin(self, answer: Callable[[Received], Answer]) -> None:
        """From now on answer so, and forget who was refused."""
        self._server.answer = answer
        self._server.refused = []

    @property
    def refused(self) -> Sequence[str]:
        """The other hosts that were asked for."""
        return self._server.refused

    @property
    def environment(self) -> Mapping[str, str]:
        """Where programs find them."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._server.server_address[1]}",
            "SSL_CERT_FILE": str(self._authority),
            "REQUESTS_CA_BUNDLE": str(self._authority),
        }

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), name="hosts", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    answer: Callable[[Received], Answer]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.refused: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # a program that is gone
            super().handle()

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server closes what was below TLS

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        if host not in HOSTS:
            self.server.refused.append(host)
            self.send_error(403)
            return
        self.send_response_only(200)
        self.end_headers()
        self.rfile.close()
        self.connection: socket.socket = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.answer(Received(self.command, self.path, headers, body)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
        """Say nothing."""

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.streamed:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(sum(map(len, answer.chunks))))
        self.end_headers()
        for chunk in answer.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if answer.streamed else chunk)
        if answer.streamed:
            self.wfile.write(b"0\r\n\r\n")
