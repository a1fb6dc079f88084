"""A stand-in for the OpenAI and Anthropic APIs on this machine, replaying recorded traffic.

A request is answered by its path, its model and whether it asks for a stream.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RECORDED = Path(__file__).with_name("recorded")


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer."""

    status: int
    content_type: str
    body: bytes

    def chunks(self, *, include_usage: bool) -> list[bytes]:
        """The body in the pieces that it is sent in: one per event of a stream.

        A chat stream reports its usage only when asked to, here as at the provider.
        """
        if "event-stream" not in self.content_type:
            return [self.body]
        events = [event + b"\n\n" for event in self.body.split(b"\n\n") if event.strip()]
        return events if include_usage else [event for event in events if not _is_chat_usage(event)]


def _is_chat_usage(event: bytes) -> bool:
    """Whether an event is the chunk of a chat stream that holds the usage and nothing else."""
    return b'"chat.completion.chunk"' in event and b'"choices":[]' in event and b'"usage":{' in event


Key = tuple[str, str, bool]


def _key(path: str, request: Mapping[str, Any]) -> Key:
    return urlsplit(path).path, str(request.get("model")), bool(request.get("stream"))


def load(folder: Path = RECORDED) -> dict[Key, Recording]:
    """The recordings of a folder, by what they answer."""
    recordings = {}
    for file in sorted(folder.glob("*.json")):
        case = json.loads(file.read_text(encoding="utf-8"))
        key = _key(case["uri"], case["request"])
        content_type = "text/event-stream; charset=utf-8" if key[2] else "application/json"
        recordings[key] = Recording(case["status"], content_type, case["response"]["text"].encode())
    return recordings


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recordings: Mapping[Key, Recording]

    def do_POST(self) -> None:
        """Answer with the recording that fits, or say what was asked for."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = _key(self.path, request)
        found = self.recordings.get(key)
        if found is None:
            message = f"nothing is recorded for {key[0]} with model {key[1]}{' as a stream' if key[2] else ''}"
            body = json.dumps({"error": {"message": message}}).encode()
            found = Recording(HTTPStatus.NOT_FOUND, "application/json", body)
        include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self.send_response(found.status)
        self.send_header("content-type", found.content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in [*found.chunks(include_usage=include_usage), b""]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def log_message(self, *_: object) -> None:
        """Keep the terminal for the demo."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *request: Any) -> None:
        """Say what went wrong, unless a client has hung up: that is its right."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)


@contextmanager
def stand_in() -> Iterator[str]:
    """Serve the recordings on 127.0.0.1 while the block runs, and give the server's URL."""
    handler = type("Handler", (_Handler,), {"recordings": load()})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
