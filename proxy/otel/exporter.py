"""Brings spans and measurements to the collector, over OTLP/HTTP, from a thread of its own.

No request waits for it: who is told of a request lays it aside, and that is all. What the collector does not take in
time is lost; how much, is counted and said once. The ids of the request's span are those that vendors have seen in
`traceparent`.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy import __version__
from proxy.otel import conventions
from proxy.otel.conventions import INSTRUMENTS, OPERATION, ROUTE, Value
from proxy.providers import Provider
from proxy.telemetry import Attempt, Record

_BATCH = 256  # requests whose spans are sent at once
_EVERY_SECONDS = 1.0
_NANO = 1_000_000_000
_NANO_PER_MILLI = 1_000_000

Signal = Literal["span", "metric"]
Lost = Callable[[Signal, int], None]


class Otel:
    """A `Sink`, to be started and closed (which may take seconds: from a thread). `wall` in seconds since the epoch;
    `lost` is told, from other threads, how much did not arrive; `dice` gives random bytes. `endpoint`: the collector's
    base URL, if not as the environment says. `most`: requests that wait for it. `patience`: seconds for what waits at
    the end, and again for the measurements."""

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        replica: str,
        wall: Callable[[], float],
        lost: Lost,
        dice: Callable[[int], bytes] = os.urandom,
        endpoint: str | None = None,
        most: int = 4_096,
        patience: float = 2.0,
    ) -> None:
        # What the SDK logs it logs again and again, with addresses and, of a header that it cannot read, its value.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._servers = {provider.name: conventions.server(provider) for provider in providers}
        self._wall, self._dice, self._endpoint = wall, dice, endpoint
        self._most, self._patience = most, patience
        ours = Resource.create({"service.name": "tollhouse", "service.version": __version__})
        named = Resource({"service.instance.id": replica})
        self._resource = ours.merge(named).merge(OTELResourceDetector().detect())  # what the environment says goes last
        self._scope = InstrumentationScope("tollhouse", __version__)
        self._waiting: deque[tuple[Record, float]] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel", daemon=True)
        self._spans_told, self._metrics_told = _Told("span", lost), _Told("metric", lost)

    def start(self) -> None:
        """Begin to deliver."""
        self._exporter = OTLPSpanExporter(self._endpoint and f"{self._endpoint}/v1/traces")
        curves = _Curves(self._endpoint and f"{self._endpoint}/v1/metrics", self._metrics_told)
        reader = PeriodicExportingMetricReader(curves)
        self._meters = MeterProvider([reader], self._resource, shutdown_on_exit=False)
        meter = self._meters.get_meter("tollhouse", __version__)
        self._instruments = {
            name: meter.create_histogram(
                name, made.unit, made.meaning, explicit_bucket_boundaries_advisory=made.buckets
            )
            for name, made in INSTRUMENTS.items()
        }
        self._thread.start()

    def __call__(self, record: Record) -> None:
        """A request is over."""
        if len(self._waiting) >= self._most:
            self._spans_told.lose(1 + len(record.attempts), "too many wait")
            return
        self._waiting.append((record, self._wall()))
        if len(self._waiting) >= _BATCH:
            self._wake.set()

    def close(self) -> None:
        """Deliver what waits, as far as it is taken within a few seconds."""
        self._closing.set()
        self._wake.set()
        self._thread.join(self._patience)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it gives up what is being tried
        self._thread.join(self._patience)
        self._meters.shutdown(self._patience * 1_000)

    # ---- on a thread of its own ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(_EVERY_SECONDS)
            self._wake.clear()
            last = self._closing.is_set()
            while self._waiting:
                self._deliver([self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))])
            if last:
                return

    def _deliver(self, batch: Iterable[tuple[Record, float]]) -> None:
        spans = [span for record, ended in batch for span in self._made(record, ended)]
        if spans:
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
            self._spans_told.told(len(spans), taken=taken)

    def _made(self, record: Record, ended: float) -> list[ReadableSpan]:
        """Its spans; what there is to measure is measured."""
        try:
            for name, value, attributes in conventions.measured(record, self._servers):
                self._instruments[name].record(value, attributes)
            return self._spans(record, ended)
        except Exception:  # whatever it is, the next one must come
            structlog.get_logger().exception("telemetry not made", request_id=record.request_id)
            return []

    def _spans(self, record: Record, ended: float) -> list[ReadableSpan]:
        """The span of the request, and one for each attempt; none if nobody wants them."""
        if not (record.sampled and record.trace and record.span):
            return []
        end = int(ended * _NANO)
        start = end - int(record.total * _NANO_PER_MILLI)
        own = _context(record.trace, record.span)
        parent = _context(record.trace, record.parent, remote=True) if record.parent else None
        attributes, why = conventions.of_request(record), conventions.fault(record)
        whole = self._span(f"POST {ROUTE}", own, parent, SpanKind.SERVER, (start, end), attributes, why)
        return [whole, *(self._attempt(attempt, record, own, start) for attempt in record.attempts)]

    def _attempt(self, attempt: Attempt, record: Record, parent: SpanContext, start: int) -> ReadableSpan:
        began = start + int(attempt.started * _NANO_PER_MILLI)
        times = began, began + int(attempt.milliseconds * _NANO_PER_MILLI)
        attributes = conventions.of_attempt(attempt, record, self._servers.get(attempt.provider))
        own = _context(f"{parent.trace_id:032x}", self._dice(8).hex())
        kind = SpanKind.CLIENT if conventions.sent(attempt) else SpanKind.INTERNAL
        name = f"{OPERATION} {attempt.model}"
        return self._span(name, own, parent, kind, times, attributes, conventions.failed(attempt))

    def _span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        times: tuple[int, int],
        attributes: dict[str, Value],
        why: str | None,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            own,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=Status(StatusCode.ERROR, why) if why else Status(),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _context(trace: str, span: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class _Curves(OTLPMetricExporter):
    """Says whether the collector took it."""

    def __init__(self, endpoint: str | None, said: "_Told") -> None:
        super().__init__(endpoint)
        self._said = said

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self._said.told(1, taken=result is MetricExportResult.SUCCESS)
        return result


class _Told:
    """How it goes with one signal: each outage is told once, with what was lost in it at its end."""

    def __init__(self, signal: Signal, lost: Lost) -> None:
        self._signal, self._lost = signal, lost
        self._missing = 0
        self._lock = threading.Lock()

    def told(self, number: int, *, taken: bool) -> None:
        """The collector took so many, or did not."""
        if not taken:
            self.lose(number, "the collector did not take it")
            return
        with self._lock:
            missing, self._missing = self._missing, 0
        if missing:
            structlog.get_logger().info("telemetry delivered again", signal=self._signal, lost=missing)

    def lose(self, number: int, why: str) -> None:
        """So many will never arrive."""
        with self._lock:
            first, self._missing = not self._missing, self._missing + number
        self._lost(self._signal, number)
        if first:
            structlog.get_logger().warning("telemetry lost", signal=self._signal, why=why)
