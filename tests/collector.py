"""A real collector for OpenTelemetry: OTLP over HTTP, protobuf, on a free loopback port; what it was sent can be asked.

Whoever waits is woken by what comes.
"""

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeVar

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

T = TypeVar("T")
PATIENCE = 20.0  # seconds


class Collector:
    """`with Collector() as collector: ... collector.url ...`. While `status` is not 200 it takes nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.refused = 0
        self.headers: list[Mapping[str, str]] = []
        self._traces: list[ExportTraceServiceRequest] = []
        self._metrics: list[ExportMetricsServiceRequest] = []
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    @property
    def resources(self) -> list[dict[str, Any]]:
        """What each batch says of who sent it."""
        with self._news:
            batches = [*(one for batch in self._traces for one in batch.resource_spans)]
            return [said(batch.resource.attributes) for batch in batches]

    @property
    def spans(self) -> list[Span]:
        with self._news:
            return [
                span
                for batch in self._traces
                for resource in batch.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    @property
    def points(self) -> dict[str, list[tuple[dict[str, Any], int, float]]]:
        """Of each metric, as it was told last: attributes, how many, and their sum; its unit stands behind its name."""
        with self._news:
            found: dict[str, list[tuple[dict[str, Any], int, float]]] = {}
            for metric in self._last():
                points = metric.histogram.data_points
                found[f"{metric.name} {metric.unit}"] = [(said(p.attributes), p.count, p.sum) for p in points]
            return found

    def _last(self) -> Iterator[Any]:
        for resource in self._metrics[-1].resource_metrics if self._metrics else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics

    def wait(self, fits: Callable[["Collector"], T | None]) -> T:
        """What `fits` finds, as soon as it finds something."""
        found: list[T] = []

        def settled() -> bool:
            value = fits(self)
            if value:
                found.append(value)
            return bool(found)

        with self._news:
            assert self._news.wait_for(settled, PATIENCE), "it did not come"
        return found[0]

    def take(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        """A batch has come; the status it is answered with."""
        with self._news:
            self.headers.append(headers)
            if self.status != 200:
                self.refused += 1
            elif path == "/v1/traces":
                self._traces.append(ExportTraceServiceRequest.FromString(body))
            elif path == "/v1/metrics":
                self._metrics.append(ExportMetricsServiceRequest.FromString(body))
            self._news.notify_all()
            return self.status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status = collector.take(self.path, body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def said(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {one.key: _plain(one.value) for one in attributes if isinstance(one, KeyValue)}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
