"""`GET /metrics`: what Prometheus reads, put together when it asks. No request pays for it.

Each process answers for itself: every sample has the label `process`, its process id.
"""

import asyncio
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from proxy.breaker import Breakers, State
from proxy.cache.answers import Size
from proxy.cache.counts import STEPS_MS, Counts, Durations
from proxy.cache.lookup import Cache
from proxy.cache.report import MeaningReport
from proxy.doors.controls import first_of_each
from proxy.errors import Forbidden
from proxy.ledger.writer import Writer
from proxy.live import Live
from proxy.pipeline import Pipeline
from proxy.telemetry.context import Tracing
from proxy.telemetry.names import provider_name
from proxy.telemetry.traffic import Histogram, Sent, Served, Spent, Traffic
from proxy.types import Role

ALLOWED = frozenset({Role.ADMIN, Role.SERVICE})
TICK = 0.01  # seconds of the timer that the event loop's lag is read from
STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
PROXIED = (b"forwarded", b"via", b"x-real-ip")
"""Headers by which a proxy in front shows itself; all that begin with `x-forwarded-` do too."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is told of."""

    cache: Cache
    pipeline: Pipeline
    breakers: Breakers
    writer: Callable[[], Writer]
    traffic: Traffic
    tracing: Tracing


class MetricsDoor:
    """Open to the machine itself; elsewhere for the master key and service keys."""

    def __init__(self, live: Live, sources: Sources) -> None:
        self._live = live
        self._sources = sources
        self._process = ProcessCollector(registry=None)

    def routes(self) -> list[BaseRoute]:
        return [Route("/metrics", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        if not is_local(request.scope):
            headers = first_of_each(request.scope)
            principal = await self._live.current.auth.identify(headers)
            if principal.role not in ALLOWED:
                raise Forbidden("from elsewhere this needs the master key or a service key")
        size = await self._sources.cache.answers.size()
        lag = await _lag()
        process = await asyncio.to_thread(lambda: list(self._process.collect()))  # reads /proc
        found = [*self._families(size, lag), *process]
        registry = CollectorRegistry()
        registry.register(Found(found, os.getpid()))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    def _families(self, size: Size, lag: float) -> Iterator[Metric]:
        sources, config = self._sources, self._live.current.config
        yield InfoMetricFamily(
            "turnout_build",
            "Versions of Turnout, Python and the configuration.",
            {
                "version": version("turnout"),
                "python": platform.python_version(),
                "config": config.version,
            },
        )
        under_way = sources.pipeline.under_way
        yield _gauge("turnout_requests_under_way", "Requests being served.", under_way)
        yield _gauge("turnout_event_loop_lag_seconds", "How late a timer came just now.", lag)
        yield from self._traffic()
        yield from _traces(sources.tracing)
        yield from _ledger(sources.writer())
        yield _circuits(sources.breakers)
        yield from _cache(sources.cache.counts, size)
        meaning = sources.cache.meaning_report()
        if meaning is not None:
            yield from _meaning(meaning)

    def _traffic(self) -> Iterator[Metric]:
        """Requests and attempts; what OpenTelemetry has a name for bears that."""
        traffic = self._sources.traffic
        yield _table(
            "turnout_requests", "Calls that ended; no code is a success.", traffic.requests
        )
        dollars = {key: nano / 1e9 for key, nano in traffic.nanousd.items()}
        yield _table("turnout_cost_usd", "Dollars that attempts cost.", dollars, Spent._fields)
        about = "Requests that limits or a budget refused."
        yield _totals("turnout_limit_refusals", about, "code", traffic.refusals)
        about = "Requests that were refused before they came to a call."
        yield _totals("turnout_turned_away", about, "code", traffic.turned)
        providers = self._live.current.config.providers
        names = {name: provider_name(name, entry) for name, entry in providers.items()}
        for name, about, found in (
            ("server_request_duration_seconds", "Requests, to their end.", traffic.durations),
            (
                "server_time_to_first_token_seconds",
                "Streams: from the request to the first content.",
                traffic.first_tokens,
            ),
            ("client_operation_duration_seconds", "Attempts, to their end.", traffic.attempts),
            (
                "client_operation_time_to_first_chunk_seconds",
                "Streams: from the attempt to the first content.",
                traffic.first_chunks,
            ),
        ):
            yield _histograms(f"gen_ai_{name}", about, "error_type", found, names)
        about = "Tokens of attempts."
        name = "gen_ai_client_token_usage"
        yield _histograms(name, about, "gen_ai_token_type", traffic.tokens, names)


class Found(Collector):
    """Families that are there already, each sample with its process."""

    def __init__(self, families: Iterable[Metric], pid: int) -> None:
        self._families = families
        self._process = {"process": str(pid)}

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is registered is read once."""
        return ()

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            family.samples = [
                sample._replace(labels={**sample.labels, **self._process})
                for sample in family.samples
            ]
            yield family


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine: by its connection, which no header can say, and
    not by way of a proxy, whose own connection it would be."""
    client = scope.get("client")
    if client is None or any(map(_is_proxys, (name for name, _ in scope["headers"]))):
        return False
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_proxys(name: bytes) -> bool:
    return name in PROXIED or name.startswith(b"x-forwarded-")


async def _lag() -> float:
    """Seconds that a short timer comes late: the loop is that busy."""
    loop = asyncio.get_running_loop()
    due = loop.time() + TICK
    await asyncio.sleep(TICK)
    return max(0.0, loop.time() - due)


# Families.


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value)


def _total(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value)


def _totals(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _table(
    name: str,
    about: str,
    values: Mapping[Any, float],
    labels: Sequence[str] = Served._fields,
) -> Metric:
    """Counts by the labels that their keys are made of."""
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histograms(
    name: str, about: str, last: str, found: Mapping[Sent, Histogram], names: Mapping[str, str]
) -> Metric:
    """Labelled as the semantic conventions say, and with the provider's configured name."""
    labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
    family = HistogramMetricFamily(name, about, labels=[*labels, "turnout_provider", last])
    for key, histogram in found.items():
        provider = key.provider
        values = [key.operation, names.get(provider, provider), key.model, provider, key.last]
        ends = [f"{end:g}" if end < 1e6 else str(end) for end in histogram.ends]
        steps = _cumulated(ends, histogram.steps)
        family.add_metric(values, steps, histogram.total)
    return family


def _traces(tracing: Tracing) -> Iterator[Metric]:
    tracer = tracing.tracer
    exported, dropped = (0, 0) if tracer is None else (tracer.exported, tracer.dropped)
    yield _total("turnout_spans_exported", "Spans that the collector took.", exported)
    yield _total("turnout_spans_dropped", "Spans that it did not take.", dropped)


def _ledger(writer: Writer) -> Iterator[Metric]:
    yield _gauge("turnout_ledger_pending", "Rows not in the database yet.", writer.pending)
    yield _total("turnout_ledger_lost", "Rows that were lost; should stay 0.", writer.lost)
    about = "Frames that the disk did not take; should stay 0."
    yield _total("turnout_ledger_unspooled", about, writer.unspooled)
    about = "1 while a row might not survive the process or the machine."
    yield _gauge("turnout_ledger_degraded", about, writer.degraded is not None)


def _circuits(breakers: Breakers) -> Metric:
    about = "Circuits: 0 closed, 1 half open, 2 open."
    family = GaugeMetricFamily("turnout_breaker_state", about, labels=["name", "kind"])
    for status in breakers.snapshot(time.monotonic()):
        family.add_metric([status.name, status.kind.value], STATES[status.state])
    return family


def _cache(counts: Counts, size: Size) -> Iterator[Metric]:
    reasons: tuple[tuple[str, str, str, Mapping[str, float]], ...] = (
        ("hits", "Requests answered with a kept answer.", "tier", counts.hits),
        ("misses", "Requests that had none.", "reason", counts.misses),
        ("bypasses", "Requests that had nothing to do with it.", "reason", counts.bypasses),
        ("not_stored", "Answers that were not kept.", "reason", counts.not_stored),
    )
    for name, about, label, values in reasons:
        yield _totals(f"turnout_cache_{name}", about, label, values)
    totals: tuple[tuple[str, str, float], ...] = (
        ("stored", "Answers that were kept.", counts.stored),
        ("joined", "Requests that shared an answer under way.", counts.joined),
        ("purged", "Answers that were dropped by request.", counts.purged),
        ("saved_usd", "Dollars that hits would have cost.", counts.saved_nanousd / 1e9),
        ("saved_tokens", "Tokens that hits would have taken.", counts.saved_tokens),
    )
    for name, about, value in totals:
        yield _total(f"turnout_cache_{name}", about, value)
    if size.entries >= 0:
        yield _gauge("turnout_cache_entries", "Answers that are kept.", size.entries)
        yield _gauge("turnout_cache_bytes", "Bytes that they take.", size.bytes)
    yield _stages(counts.stages)


def _stages(stages: Mapping[str, Durations]) -> Metric:
    about = "How long a stage of the look-up took."
    family = HistogramMetricFamily("turnout_cache_stage_seconds", about, labels=["stage"])
    for name, durations in stages.items():
        family.add_metric([name], _buckets(durations), durations.total_ms / 1000)
    return family


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Each step's upper end in seconds, and how many took no longer."""
    return _cumulated([f"{step / 1000:g}" for step in STEPS_MS], durations.steps)


def _cumulated(ends: Sequence[str], steps: Sequence[int]) -> list[tuple[str, float]]:
    """Each step's upper end, and how many were no more."""
    found: list[tuple[str, float]] = []
    count = 0
    for end, here in zip([*ends, "+Inf"], steps, strict=True):
        count += here
        found.append((end, count))
    return found


def _meaning(report: MeaningReport) -> Iterator[Metric]:
    name = "turnout_cache_semantic"
    about = {"state": report.state, "embedder": report.embedder}
    yield InfoMetricFamily(name, "The tier by meaning, and what it embeds with.", about)
    yield _gauge(f"{name}_entries", "Questions that can be found.", report.entries)
    yield _gauge(f"{name}_labels", "Judged pairs that it rests on.", report.labels)
    yield _gauge(f"{name}_quarantined", "Answers that serve no more.", report.quarantined)
    about_certified = "1 while the labels certify max_wrong."
    yield _gauge(f"{name}_certified", about_certified, report.certified)
    wrong = report.wrong
    about_wrong = "P(wrong | served): the estimate, and its 95 % interval."
    family = GaugeMetricFamily(f"{name}_wrong_rate", about_wrong, labels=["bound"])
    bounds: tuple[tuple[str, Any], ...] = (
        ("estimate", wrong.rate),
        ("low", wrong.low),
        ("high", wrong.high),
    )
    for bound, value in bounds:
        if value is not None:
            family.add_metric([bound], value)
    yield family
    yield _total(f"{name}_shadow_requests", "Hits checked.", report.shadow_requests)
    yield _total(f"{name}_shadow_usd", "Dollars that cost.", report.shadow_nanousd / 1e9)
