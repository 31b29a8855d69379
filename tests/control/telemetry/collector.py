"""Collectors that take spans as the OpenTelemetry protocol has it (OTLP 1.x): over HTTP with protobuf, and over gRPC.

They refuse what a real one refuses: another path, another media type, a body that is no such message, a message whose
spans break the rules of the protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.control.driver import until
from tests.control.http_server import HttpServer, QuietHandler


class Inbox:
    """What came. `status` is answered with as long as it is not 200; nobody is answered before `released` is set."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.status = 200
        self.released = threading.Event()
        self.released.set()

    def take(self, request: ExportTraceServiceRequest, headers: dict[str, str]) -> None:
        for span in _spans(request):
            assert len(span.trace_id) == 16 and any(span.trace_id)
            assert len(span.span_id) == 8 and any(span.span_id)
            assert len(span.parent_span_id) in (0, 8)
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.name
        self.requests.append(request)
        self.headers.append(headers)

    def spans(self) -> list[Span]:
        return [span for request in self.requests for span in _spans(request)]

    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[-1].resource_spans[0].resource)

    def wait(self, count: int) -> list[Span]:
        """Return the spans once so many are there."""
        return until(lambda: self.spans() if len(self.spans()) >= count else None, f"{count} spans came")


class HttpCollector(Inbox):
    """Listens for OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__()
        inbox = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.asked += 1
                inbox.released.wait(60)
                status = inbox.status
                if self.path != "/v1/traces":
                    status = 404
                elif self.headers["Content-Type"] != "application/x-protobuf":
                    status = 415
                if status == 200:
                    try:
                        inbox.take(ExportTraceServiceRequest.FromString(body), dict(self.headers.items()))
                    except (DecodeError, AssertionError):
                        status = 400
                answer = ExportTraceServiceResponse().SerializeToString() if status == 200 else b""
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self._server = HttpServer(Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self.released.set()
        self._server.close()


class GrpcCollector(Inbox, trace_service_pb2_grpc.TraceServiceServicer):
    """Listens for OTLP over gRPC."""

    def __init__(self) -> None:
        super().__init__()
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.url = f"http://127.0.0.1:{port}"

    def Export(self, request: Any, context: Any) -> Any:
        self.asked += 1
        if self.status != 200:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        self.take(request, dict(context.invocation_metadata()))
        return ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(0).wait()


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans
