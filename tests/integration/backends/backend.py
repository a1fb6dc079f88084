"""Stand-ins for a backend: they take OTLP over gRPC or HTTP and keep every byte that they get."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_harn_steps.cli._stand_in import LoopbackServer
from tests.integration.backends.programs import free_port


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `body` is what `Content-Encoding` hid; `wire` is what came over the wire."""

    path: str
    headers: dict[str, str]
    wire: bytes
    body: bytes


class Backend:
    """What both kinds have in common: what they received."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def bytes(self) -> bytes:
        """Everything that came, unpacked."""
        return b"\n".join(each.body for each in list(self.received))

    def spans(self) -> list[Span]:
        """All spans that came, in the order in which they came."""
        return [span for _, span in self.spans_with_resource()]

    def span_ids(self) -> list[bytes]:
        """The ids of all spans that came, sorted. What the Collector has sent twice is there twice."""
        return sorted(span.span_id for span in self.spans())

    def spans_with_resource(self) -> list[tuple[dict[str, Any], Span]]:
        """All spans, each with the attributes of its resource."""
        found = []
        for each in list(self.received):
            if each.path.endswith(("v1/traces", "TraceService/Export")):
                for group in ExportTraceServiceRequest.FromString(each.body).resource_spans:
                    resource = values(group.resource.attributes)
                    found += [(resource, span) for scope in group.scope_spans for span in scope.spans]
        return found

    def metric_names(self) -> set[str]:
        """The names of all metrics that came."""
        return {
            metric.name
            for each in list(self.received)
            if each.path.endswith(("v1/metrics", "MetricsService/Export"))
            for group in ExportMetricsServiceRequest.FromString(each.body).resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }


def values(attributes: Any) -> dict[str, Any]:
    """OTLP attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class GrpcBackend(Backend):
    """OTLP over gRPC. It can go away and come back at the same address."""

    def __init__(self) -> None:
        super().__init__()
        self.address = f"127.0.0.1:{free_port()}"
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Take requests."""
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        server.add_generic_rpc_handlers((_AnyService(self.received),))
        assert server.add_insecure_port(self.address)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _AnyService(grpc.GenericRpcHandler):
    def __init__(self, received: list[Received]) -> None:
        self._received = received

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path = handler_call_details.method
        headers = {key: str(value) for key, value in handler_call_details.invocation_metadata}

        def take(body: bytes, _: grpc.ServicerContext) -> bytes:
            self._received.append(Received(path, headers, body, body))
            return b""  # an empty Export...ServiceResponse: all was accepted

        return grpc.unary_unary_rpc_method_handler(take)


class HttpBackend(Backend, LoopbackServer):
    """OTLP over HTTP, as Honeycomb takes it."""

    def __init__(self) -> None:
        Backend.__init__(self)
        self.refuse_with: int | None = None
        received, backend = self.received, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                wire = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(wire) if self.headers.get("Content-Encoding") == "gzip" else wire
                received.append(
                    Received(self.path, {key.lower(): value for key, value in self.headers.items()}, wire, body)
                )
                self.send_response(backend.refuse_with or 200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        LoopbackServer.__init__(self, Handler)


def traces(spans: list[Span]) -> Iterator[list[Span]]:
    """Spans, grouped by their trace."""
    grouped: dict[bytes, list[Span]] = {}
    for span in spans:
        grouped.setdefault(span.trace_id, []).append(span)
    return iter(grouped.values())
