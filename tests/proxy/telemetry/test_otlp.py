"""What the exporter is told, and what becomes of spans that it does not take."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from adapters.base import Endpoint
from proxy.config_types import TracesSection
from proxy.telemetry.otlp import Counted, OtlpTracer, _queue_size
from proxy.types import Outcome, Record
from tests.fakes.collector import Collector

SCOPE = {"method": "POST", "path": "/v1/chat/completions", "headers": []}


@pytest.fixture
def collector() -> Any:
    with Collector() as collector:
        yield collector


@pytest.fixture
async def tracer(collector: Collector) -> AsyncIterator[OtlpTracer]:
    tracer = OtlpTracer(collector.url + "/v1/traces", TracesSection(sample=0.25), lambda _: None)
    yield tracer
    await tracer.close(5)


def ended(tracer: OtlpTracer, headers: list[tuple[bytes, bytes]] | None = None) -> Record:
    record = Record("0190")
    record.admitted, record.endpoint = True, Endpoint.CHAT
    record.outcome, record.status = Outcome.OK, 200
    record.trace = tracer.begin(SCOPE | {"headers": headers or []})
    return record


def test_a_share_of_the_traces(tracer: OtlpTracer) -> None:
    kept = sum(tracer.begin(SCOPE).is_sampled for _ in range(2000))
    assert 380 < kept < 620  # 500 are expected, with a deviation of 19


def test_a_context_that_is_given_twice_is_none(tracer: OtlpTracer) -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    once = tracer.begin(SCOPE | {"headers": [(b"traceparent", parent)]})
    assert (once.parent_id, once.is_sampled) == (0x00F067AA0BA902B7, True)
    twice = tracer.begin(SCOPE | {"headers": [(b"traceparent", parent)] * 2})
    assert twice.parent_id is None


def test_tracestate_may_come_in_parts(tracer: OtlpTracer) -> None:
    parent = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    headers = [parent, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    assert tracer.begin(SCOPE | {"headers": headers}).state == "a=1,b=2"


async def test_what_is_not_sampled_is_not_sent(tracer: OtlpTracer, collector: Collector) -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
    for flag in (b"0", b"1"):
        tracer.finish(ended(tracer, [(b"traceparent", parent + flag)]))
    await tracer.close(5)
    assert len(collector.spans) == 1
    assert (tracer.exported, tracer.dropped) == (1, 0)


class Fickle(SpanExporter):
    def __init__(self, *results: SpanExportResult) -> None:
        self._results = list(results)

    def export(self, spans: Any) -> SpanExportResult:
        return self._results.pop(0)

    def shutdown(self) -> None:
        pass


def test_a_failure_is_said_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    counted = Counted(Fickle(good, bad, bad, good, bad))
    with caplog.at_level("INFO"):
        for _ in range(5):
            counted.export([None, None])  # type: ignore[list-item]
    assert (counted.exported, counted.failed) == (4, 6)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


async def test_the_end_does_not_wait_for_a_collector_that_hangs(
    tracer: OtlpTracer, collector: Collector
) -> None:
    collector.hold = threading.Event()
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    tracer.finish(ended(tracer, [(b"traceparent", parent)]))
    began = time.monotonic()
    await tracer.close(0.2)
    assert 0.15 < time.monotonic() - began < 2
    collector.hold.set()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(("given", "expected"), [({}, 2048), ({"OTEL_BSP_MAX_QUEUE_SIZE": "7"}, 7)])
def test_the_queue(given: dict[str, str], expected: int) -> None:
    assert _queue_size(given) == expected
    assert _queue_size({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}) == 2048


async def test_a_header_that_can_not_be_read_is_not_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team: canary-of-a-collector")
    tracer = OtlpTracer(collector.url + "/v1/traces", TracesSection(), lambda _: None)
    await tracer.close(5)
    assert "canary" not in caplog.text
