"""A loopback HTTP/1.1 server with the answers that a test gives it, whatever the client asks.

It is the clients' forward proxy: they believe that they talk to the provider's own host, whose name says which provider
is meant.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Event, Lock, Semaphore, Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_harn_steps.testing._answers import Answer, Received, Script

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

_PATIENCE_S = 10.0
_HELD_S = 10.0  # a client may take seconds on a busy machine to make its types, at its first event
_STOPS_WITHIN_S = 0.02


class Exchange:
    """One test's private corner of the server: its own path, its answers in order, the requests it received.

    The last answer is repeated for every further request. `left` is set when a client has gone from one that is held.
    """

    def __init__(self, token: str, script: tuple[Answer | Script, ...]) -> None:
        self.token = token
        self.requests: list[Received] = []
        self._script = script
        self._allowed = Semaphore(0)
        self.left = Event()
        self._lock = Lock()

    def url_at(self, host: str) -> str:
        """The address of this exchange, as if it were a provider's."""
        return f"http://{host}/{self.token}"

    def allow(self, chunks: int = 1) -> None:
        """Let a paced answer send this many more chunks."""
        self._allowed.release(chunks)

    def was_left(self) -> bool:
        """Whether a client has closed its connection before it had the whole of an answer that is held."""
        return self.left.wait(_HELD_S)

    def answer(self, received: Received) -> Answer:
        with self._lock:
            said = self._script[min(len(self.requests), len(self._script) - 1)]
            self.requests.append(received)
        return said if isinstance(said, Answer) else said(received)

    def wait_for_allowance(self) -> None:
        if not self._allowed.acquire(timeout=_PATIENCE_S):
            raise ConnectionAbortedError("no test allowed the next chunk")


class ReplayServer:
    """One server for all tests of a session; each `serve` opens a new `Exchange` under its own path."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._tokens = count(1)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.exchanges = self._exchanges
        self._thread = Thread(target=self._server.serve_forever, args=(_STOPS_WITHIN_S,), name="replay", daemon=True)

    @property
    def address(self) -> str:
        """What clients must use as their proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, *script: Answer | Script) -> Exchange:
        token = f"x{next(self._tokens)}"
        exchange = Exchange(token, script)
        self._exchanges[token] = exchange
        return exchange

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    exchanges: dict[str, Exchange]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        # A client may leave at any point, and with a reset: closing a stream early is one of the things tests do.
        with suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        exchange = self.server.exchanges[urlsplit(self.path).path.split("/")[1]]
        received = Received(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body
        )
        self._send(exchange.answer(received), exchange)

    do_GET = do_POST  # noqa: N815 -- http.server names methods so

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 -- the base class has it
        """Always the same, for clients that show an app the headers of its answer."""
        return "Thu, 01 Jan 2026 00:00:00 GMT"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
        """Say nothing: the tests look at `Exchange.requests`."""

    def _send(self, answer: Answer, exchange: Exchange) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.streamed:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(sum(map(len, answer.chunks))))
        self.end_headers()
        if answer.held:
            self._hold(answer, exchange)
            return
        self._send_chunks(answer, answer.chunks[: answer.cut_after], exchange)
        if answer.cut_after is not None:
            self._cut()
        elif answer.streamed:
            self.wfile.write(b"0\r\n\r\n")

    def _send_chunks(self, answer: Answer, chunks: Sequence[bytes], exchange: Exchange) -> None:
        for chunk in chunks:
            if answer.paced:
                exchange.wait_for_allowance()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if answer.streamed else chunk)

    def _hold(self, answer: Answer, exchange: Exchange) -> None:
        self.close_connection = True
        try:
            self._send_chunks(answer, answer.chunks[:-1], exchange)
            self.connection.settimeout(_HELD_S)
            is_left = self.connection.recv(1) == b""
        except TimeoutError:
            is_left = False
        except ConnectionError:
            is_left = True
        if is_left:
            exchange.left.set()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
