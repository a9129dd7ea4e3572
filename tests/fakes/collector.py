"""A collector of OTLP over HTTP: a real server that decodes what it is sent.

Its spans are the oracle of what was really exported; protobuf's own classes decode them.
"""

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan


@dataclass(frozen=True)
class Span:
    """One span as it came; ids in hex, a root's parent is empty."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    begins: int
    ends: int
    status: int
    attributes: dict[str, Any] = field(hash=False)
    resource: dict[str, Any] = field(hash=False)


class Collector:
    """Answers every export with `status`, after `wait` if that is set."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.hold: threading.Event | None = None

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.path, headers, body))
        if self.hold is not None:
            self.hold.wait(30)
        if self.status == 200:
            raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.spans += decode(raw)
        handler.send_response(self.status)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def wait_for(self, is_there: Callable[[], bool], timeout: float = 5) -> None:
        ends = time.monotonic() + timeout
        while not is_there():
            assert time.monotonic() < ends, self.spans
            time.sleep(0.01)


def decode(raw: bytes) -> list[Span]:
    message = ExportTraceServiceRequest()
    message.ParseFromString(raw)
    found = []
    for group in message.resource_spans:
        resource = values(group.resource.attributes)
        for scope in group.scope_spans:
            found += [span_of(span, resource) for span in scope.spans]
    return found


def span_of(span: ProtoSpan, resource: dict[str, Any]) -> Span:
    return Span(
        span.name,
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code,
        values(span.attributes),
        resource,
    )


def values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
