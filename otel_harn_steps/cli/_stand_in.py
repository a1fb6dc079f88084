"""A stand-in for a backend: takes OTLP as JSON, from a Collector that makes it of whatever a backend takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

BACKEND: Final = """
receivers:
  otlp: {protocols: {grpc: {endpoint: "${env:OTLP_GRPC_ENDPOINT}"}, http: {endpoint: "${env:OTLP_HTTP_ENDPOINT}"}}}
exporters:
  otlp_http: {endpoint: "${env:STAND_IN}", encoding: json, compression: none}
extensions:
  health_check: {endpoint: "${env:HEALTH_ENDPOINT}"}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
    metrics: {receivers: [otlp], exporters: [otlp_http]}
    logs: {receivers: [otlp], exporters: [otlp_http]}
"""


class LoopbackServer:
    """An HTTP server on a free port of this machine. As a context manager it takes requests until the end."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Take requests."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


class StandIn(LoopbackServer):
    """What has arrived."""

    def __init__(self) -> None:
        bodies = self._bodies = list[str]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(Handler)

    def text(self) -> str:
        """All that has arrived, as it came."""
        return "\n".join(list(self._bodies))

    def spans(self) -> list[dict[str, Any]]:
        """The attributes of each span that has arrived."""
        return [_values(each.get("attributes", [])) for each in self._all("resourceSpans", "scopeSpans", "spans")]

    def span_ids(self) -> set[str]:
        """The ids of all spans that have arrived, hex."""
        return {each["spanId"] for each in self._all("resourceSpans", "scopeSpans", "spans")}

    def metrics(self) -> set[str]:
        """The names of the metrics that have arrived."""
        return {each["name"] for each in self._all("resourceMetrics", "scopeMetrics", "metrics")}

    def _all(self, resources: str, scopes: str, what: str) -> Iterator[dict[str, Any]]:
        for body in list(self._bodies):
            for resource in json.loads(body).get(resources, ()):
                for scope in resource[scopes]:
                    yield from scope[what]


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in attributes}
