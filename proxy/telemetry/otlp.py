"""Traces by OTLP over HTTP: the one module that imports OpenTelemetry, itself imported only where
there is a place for traces. It is of the extra `otel`, takes a sixth of a second and 20 MB.

Spans are sent by the SDK's own batch processor on its thread. What the collector does not take
is dropped and counted, and said once until it takes some again.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from proxy.config_types import Provider, TracesSection
from proxy.telemetry.context import log
from proxy.telemetry.names import provider_name
from proxy.telemetry.spans import Span, spans_of
from proxy.types import Record, Trace

QUEUE = 2048  # spans that wait at most, where OTEL_BSP_MAX_QUEUE_SIZE says nothing
LOUD = (
    "opentelemetry.exporter.otlp",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.util.re",
)
"""Loggers that say each failure again, or a header that they can't read: its secret too."""

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_STATUS = {True: Status(StatusCode.ERROR), False: Status(StatusCode.UNSET)}
_CONTEXT = (b"traceparent", b"tracestate")


class Counted(SpanExporter):
    """An exporter that counts, on the processor's thread, what came of each batch."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_failing = False
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            if self._is_failing:
                log.info("the collector takes traces again")
            self._is_failing = False
        else:
            self.failed += len(spans)
            if not self._is_failing:
                log.warning("the collector takes no traces; they are dropped until it does")
            self._is_failing = True
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class OtlpTracer:
    """Spans of requests, to one collector. Makes a thread: `close` ends it."""

    def __init__(
        self, endpoint: str, section: TracesSection, provider: Callable[[str], Provider | None]
    ) -> None:
        for name in LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        headers = {name: value.get_secret_value() for name, value in section.headers.items()}
        inner = OTLPSpanExporter(endpoint=endpoint, headers=headers or None)
        self._exporter = Counted(inner)
        self._most = _queue_size(os.environ)
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=self._most)
        self._resource = _resource()
        self._sampler = _sampler(section)
        self._scope = InstrumentationScope("turnout", version("turnout"))
        self._propagator = TraceContextTextMapPropagator()
        self._provider = provider
        self._taken = 0
        self._refused = 0

    @property
    def exported(self) -> int:
        return self._exporter.exported

    @property
    def dropped(self) -> int:
        return self._exporter.failed + self._refused

    @property
    def _waiting(self) -> int:
        """Spans that are queued or on their way."""
        return self._taken - self._exporter.exported - self._exporter.failed

    def begin(self, scope: Scope) -> Trace:
        """A request's place: below the caller's span, if its headers name one, else a new trace's
        root. The configured sampler, or the `OTEL_TRACES_SAMPLER`, decides whether it is kept."""
        context = self._propagator.extract(_carrier(scope["headers"]), Context())
        caller = get_current_span(context).get_span_context()
        trace_id = caller.trace_id or int.from_bytes(os.urandom(16)) | 1
        method, path = scope["method"], scope["path"]
        sampled = self._sampler.should_sample(context, trace_id, method, SpanKind.SERVER)
        state = sampled.trace_state or caller.trace_state
        return Trace(
            trace_id,
            int.from_bytes(os.urandom(8)) | 1,
            caller.span_id or None,
            sampled.decision is Decision.RECORD_AND_SAMPLE,
            state.to_header() if state else "",
            is_remote=True,
            method=method,
            path=path,
        )

    def finish(self, record: Record) -> None:
        """Queues the spans of a record that is complete. One of no call has none, unless others
        are below it."""
        trace = record.trace
        if trace is None or not trace.is_sampled or not (record.admitted or trace.has_calls):
            return
        spans = spans_of(record, trace, self._named)
        if self._waiting + len(spans) > self._most:
            self._refused += len(spans)
            return
        state = TraceState.from_header([trace.state]) if trace.state else None
        for span in spans:
            self._taken += 1
            self._processor.on_end(self._readable(span, trace, state))

    async def close(self, patience: float) -> None:
        """Sends what waits, for `patience` seconds at most."""
        flushing = threading.Thread(
            target=self._processor.shutdown, name="send the last traces", daemon=True
        )
        flushing.start()
        ends = time.monotonic() + patience
        while flushing.is_alive() and time.monotonic() < ends:  # noqa: ASYNC110  (once, at the end)
            await asyncio.sleep(0.01)
        if flushing.is_alive():
            log.warning("%d spans were not sent in time", self._waiting)
            self._exporter.shutdown()

    def _named(self, name: str) -> str:
        return provider_name(name, self._provider(name))

    def _readable(self, span: Span, trace: Trace, state: TraceState | None) -> ReadableSpan:
        is_top = span.span_id == trace.span_id
        parent = None
        if span.parent_id is not None:
            parent = _context(trace, span.parent_id, is_top and trace.is_remote, state)
        return ReadableSpan(
            name=span.name,
            context=_context(trace, span.span_id, False, state),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=_STATUS[span.is_error],
            start_time=span.begins,
            end_time=span.ends,
        )


def _context(trace: Trace, span_id: int, is_remote: bool, state: TraceState | None) -> SpanContext:
    return SpanContext(trace.trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED), state)


def _carrier(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, list[str]]:
    """The caller's context; none where it is given twice."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in _CONTEXT:
            found.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return {} if len(found.get("traceparent", ())) > 1 else found


def _resource() -> Resource:
    """`OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what they leave out."""
    found = Resource.create()
    named = str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    own = {SERVICE_NAME: "turnout"} if named else {}
    return Resource({SERVICE_VERSION: version("turnout")}).merge(found).merge(Resource(own))


def _sampler(section: TracesSection) -> Sampler:
    """The configured share of the traces that begin here; a caller's own decision holds."""
    if section.sample is not None:
        return ParentBased(TraceIdRatioBased(section.sample))
    return TracerProvider(shutdown_on_exit=False).sampler


def _queue_size(environ: Mapping[str, str]) -> int:
    given = environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return int(given) if given.isdecimal() and int(given) > 0 else QUEUE
