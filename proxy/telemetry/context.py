"""The request under way, and whether there are traces. Nothing here needs OpenTelemetry."""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

from starlette.types import Scope

from proxy.config_types import TracesSection
from proxy.types import Record, Trace

log = logging.getLogger("turnout.traces")

UNDER_WAY: ContextVar[Record | None] = ContextVar("turnout.under_way", default=None)
"""The request that the running code serves; a task that outlives it has it too, ended."""

PATH = "/v1/traces"  # of OTLP over HTTP, below a collector's base URL


class Tracer(Protocol):
    """Gives requests their places in traces, and sends their spans when they have ended."""

    @property
    def exported(self) -> int:
        """Spans that the collector took."""
        ...

    @property
    def dropped(self) -> int:
        """Spans that it did not take, or that were too many to wait for it."""
        ...

    def begin(self, scope: Scope) -> Trace: ...

    def finish(self, record: Record) -> None: ...

    async def close(self, patience: float) -> None: ...


class Tracing:
    """Whether there are traces: `tracer` is None where not."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    def finish(self, record: Record) -> None:
        """A record with a trace has ended."""
        if self.tracer is not None:
            self.tracer.finish(record)


def request_id() -> str | None:
    """Of the request that the running code serves; None for what outlived it."""
    record = UNDER_WAY.get()
    return None if record is None or record.status else record.id


def trace_id() -> str | None:
    """Of that request's trace, in hex."""
    record = UNDER_WAY.get()
    if record is None or record.status or record.trace is None:
        return None
    return f"{record.trace.trace_id:032x}"


def endpoint_of(section: TracesSection, environ: Mapping[str, str]) -> str | None:
    """The URL that spans are posted to: the configuration's, else OpenTelemetry's variables'.

    None: there are no traces. Raises nothing: variables may be meant for others.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if section.endpoint is not None:
        return section.endpoint if section.endpoint.endswith(PATH) else section.endpoint + PATH
    exporters = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if "otlp" not in {name.strip() for name in exporters.split(",")}:
        return None
    exact = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not exact and not base:
        return None
    protocol = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol != "http/protobuf":
        log.warning("no traces: OTEL_… wants %s, and only http/protobuf is spoken", protocol)
        return None
    return exact or f"{(base or '').rstrip('/')}{PATH}"
