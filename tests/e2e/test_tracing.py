"""Spans as a collector gets them, from a real gateway. The collector decodes OTLP; the fake
upstream's log says which context went on."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, Gateway, one_upstream, running, two_upstreams
from tests.fakes import upstream as fake
from tests.fakes.collector import Collector, Span
from tests.fakes.upstream import Upstream

PROMPT = "the secret of the prompt"
CHAT = {"model": "up/m", "messages": [{"role": "user", "content": PROMPT}]}
PRICED = 'pricing: {overrides: {"*/*": {input: 1, output: 10}}}'
ERROR = 2  # OTLP's status code of a span that failed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def traced(text: str, collector: Collector, more: str = "") -> str:
    return f'{text}\ntelemetry: {{traces: {{endpoint: "{collector.url}"{more}}}}}\n'


async def spans(collector: Collector, count: int) -> list[Span]:
    """The first `count` spans, by when they began; no more come."""
    await asyncio.to_thread(collector.wait_for, lambda: len(collector.spans) >= count)
    await asyncio.sleep(0.06)
    assert len(collector.spans) == count
    return sorted(collector.spans, key=lambda span: (span.begins, -span.ends))


def has(span: Span, **expected: Any) -> None:
    """Attributes, with `__` for the dots; None is for one that is not there."""
    wanted = {name.replace("__", "."): value for name, value in expected.items()}
    assert {name: span.attributes.get(name) for name in wanted} == wanted


async def test_an_answer(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    config = traced(one_upstream(up.base_url, PRICED), collector, ", headers: {x-team: blue}")
    async with running(tmp_path, config) as gateway:
        answer = await gateway.post(CHAT, headers={"x-turnout-service": "crm"})
        assert answer.status == 200
        whole, attempt = await spans(collector, 2)
    path, headers, _ = collector.requests[0]
    assert path == "/v1/traces"
    assert headers["x-team"] == "blue"
    assert headers["content-type"] == "application/x-protobuf"
    assert whole.resource["service.name"] == "turnout"
    assert (whole.name, whole.kind) == ("POST /v1/chat/completions", "SERVER")
    assert (attempt.name, attempt.kind) == ("chat m", "CLIENT")
    assert (whole.parent_id, attempt.parent_id) == ("", whole.span_id)
    assert whole.trace_id == attempt.trace_id
    assert whole.begins <= attempt.begins < attempt.ends <= whole.ends
    assert abs(whole.begins / 1e9 - time.time()) < 60
    assert whole.status == attempt.status == 0
    has(
        whole,
        http__request__method="POST", url__path="/v1/chat/completions",
        http__response__status_code=200, gen_ai__operation__name="chat",
        gen_ai__provider__name="up", gen_ai__request__model="up/m", gen_ai__response__model="m",
        gen_ai__usage__input_tokens=9, gen_ai__usage__output_tokens=3, error__type=None,
        turnout__attempts=1, turnout__cache__result="bypass", turnout__cost_usd=39e-6,
        turnout__service="crm", turnout__request_id=answer.headers["x-request-id"][4:],
    )  # fmt: skip
    port = int(up.base_url.split(":")[2].removesuffix("/v1"))
    has(
        attempt,
        gen_ai__operation__name="chat", gen_ai__provider__name="up", gen_ai__request__model="m",
        gen_ai__usage__input_tokens=9, gen_ai__usage__output_tokens=3,
        server__address="127.0.0.1", server__port=port, http__response__status_code=200,
        turnout__attempt=1, error__type=None, turnout__cost_usd=39e-6,
    )  # fmt: skip
    assert up.log[0].header("traceparent") == f"00-{whole.trace_id}-{attempt.span_id}-01"
    assert up.log[0].header("tracestate") is None
    sent = b"".join(body for _, _, body in collector.requests)
    assert PROMPT.encode() not in sent
    assert b"Hello" not in sent


async def test_fail_over(
    tmp_path: Path, up: Upstream, other: Upstream, collector: Collector
) -> None:
    up.script(fake.error_reply(500, "it broke at " + PROMPT))
    retry = "retry: {attempts: 2, backoff: [1ms, 2ms]}"
    config = two_upstreams(up.base_url, other.base_url, retry + "\nbreaker: {failures: 1}")
    async with running(tmp_path, traced(config, collector)) as gateway:
        assert (await gateway.post(CHAT | {"model": "both"})).status == 200
        whole, first, second = await spans(collector, 3)
    assert {first.parent_id, second.parent_id} == {whole.span_id}
    assert (first.name, first.status) == ("chat model-1", ERROR)
    has(first, error__type="upstream_error", http__response__status_code=500, turnout__attempt=1)
    assert (second.name, second.status) == ("chat model-2", 0)
    has(second, error__type=None, turnout__attempt=2, gen_ai__provider__name="two")
    assert (whole.status, whole.attributes["turnout.attempts"]) == (0, 2)
    has(whole, gen_ai__response__model="model-2", error__type=None)
    assert up.log[0].header("traceparent") == f"00-{whole.trace_id}-{first.span_id}-01"
    assert other.log[0].header("traceparent") == f"00-{whole.trace_id}-{second.span_id}-01"
    assert PROMPT.encode() not in b"".join(body for _, _, body in collector.requests)


async def test_a_stream(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        answer = await gateway.post(CHAT | {"stream": True})
        assert answer.body.endswith(b"[DONE]\n\n")
        whole, attempt = await spans(collector, 2)
    for span in (whole, attempt):
        has(span, gen_ai__request__stream=True, gen_ai__usage__output_tokens=3)
        first = span.attributes["gen_ai.response.time_to_first_chunk"]
        assert 0 < first <= (span.ends - span.begins) / 1e9


async def test_a_broken_stream_has_failed(
    tmp_path: Path, up: Upstream, collector: Collector
) -> None:
    *whole_stream, _ = fake.sse(*fake.chat_chunks(["Hel", "lo"], finish=None), done=False)
    up.script([*whole_stream, fake.Reset()])
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        assert (await gateway.post(CHAT | {"stream": True})).status == 200
        whole, attempt = await spans(collector, 2)
    assert (whole.status, attempt.status) == (ERROR, ERROR)
    has(whole, error__type="stream_interrupted", gen_ai__response__model=None)
    has(attempt, error__type="stream_interrupted")


async def test_a_kept_answer(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    config = one_upstream(up.base_url).replace("enabled: false", "enabled: true")
    async with running(tmp_path, traced(config, collector)) as gateway:
        for _ in range(2):
            assert (await gateway.post(CHAT)).status == 200
        first, _, second = await spans(collector, 3)
    has(first, turnout__cache__result="miss", turnout__cache__tier=None, turnout__attempts=1)
    has(second, turnout__cache__result="hit", turnout__cache__tier="exact", turnout__attempts=0)
    has(second, turnout__cost_usd=0.0, gen_ai__response__model="m")
    assert first.trace_id != second.trace_id


async def test_faults_of_the_client(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        refused = await gateway.post(CHAT, headers={"authorization": "Bearer wrong"})
        assert refused.status == 401  # turned away: no call, no span
        assert (await gateway.post(CHAT | {"model": "nobody/x"})).status == 404
        (whole,) = await spans(collector, 1)
    assert whole.status == 0  # of a server, only its own failures are errors
    has(whole, error__type="model_not_found", http__response__status_code=404)
    has(whole, gen_ai__request__model="nobody/x", turnout__attempts=0)


async def test_a_client_that_leaves(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    up.script([fake.Stall()])
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        asking = asyncio.ensure_future(gateway.post(CHAT))
        await up.wait_for_requests(1)
        asking.cancel()
        whole, attempt = await spans(collector, 2)
    has(whole, error__type="client_closed", http__response__status_code=499)
    has(attempt, error__type="client_closed")
    assert (whole.status, attempt.status) == (0, 0)


TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_callers_trace_goes_on(tmp_path: Path, up: Upstream, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=a1,other=b2"}
    config = traced(one_upstream(up.base_url), collector, ", sample: 0%")
    async with running(tmp_path, config) as gateway:
        assert (await gateway.post(CHAT, headers=headers)).status == 200
        whole, attempt = await spans(collector, 2)
    assert (whole.trace_id, whole.parent_id, whole.state) == (TRACE, CALLER, "vendor=a1,other=b2")
    assert attempt.parent_id == whole.span_id
    assert up.log[0].header("traceparent") == f"00-{TRACE}-{attempt.span_id}-01"
    assert up.log[0].header("tracestate") == "vendor=a1,other=b2"


async def test_what_is_not_sampled_is_passed_on_and_not_kept(
    tmp_path: Path, up: Upstream, collector: Collector
) -> None:
    config = traced(one_upstream(up.base_url), collector)
    async with running(tmp_path, config) as gateway:
        parent = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        assert (await gateway.post(CHAT, headers=parent)).status == 200
        assert (await gateway.post(CHAT)).status == 200
        found = await spans(collector, 2)
    version, trace, span, flags = (up.log[0].header("traceparent") or "").split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")
    assert span not in (CALLER, "0" * 16)
    assert {span.trace_id for span in found}.isdisjoint({TRACE})


@pytest.mark.parametrize(
    "sent",
    [f"00-{TRACE}-{'0' * 16}-01", f"00-{'0' * 32}-{CALLER}-01", "ff-1-1-1", "x" * 9000, "00-ü-1-1"],
)
async def test_nonsense_begins_a_new_trace(
    tmp_path: Path, up: Upstream, collector: Collector, sent: str
) -> None:
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        headers = {"traceparent": sent, "tracestate": "=,,;=" + "y" * 600}
        assert (await gateway.post(CHAT, headers=headers)).status == 200
        whole, _ = await spans(collector, 2)
    assert whole.parent_id == ""
    assert whole.trace_id not in (TRACE, "0" * 32)
    assert up.log[0].header("tracestate") is None


async def test_without_traces_nothing_of_it_goes_upstream(gateway: Gateway, up: Upstream) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "a=b"}
    assert (await gateway.post(CHAT, headers=headers)).status == 200
    names = {name.lower() for name, _ in up.log[0].headers}
    assert names.isdisjoint({"traceparent", "tracestate"})


async def test_calls_of_a_batch_are_below_its_request(
    tmp_path: Path, up: Upstream, collector: Collector
) -> None:
    config = one_upstream(up.base_url, provider=", models: [m]")
    async with running(tmp_path, traced(config, collector)) as gateway:
        one = {"prompt": PROMPT, "user_id": "u1", "service": "crm"}
        answer = await gateway.call("POST", "/api/v1/batch", {"requests": [one, one]}, MASTER)
        assert answer.status == 200, answer.body
        found = await spans(collector, 5)
    (whole,) = [span for span in found if span.kind == "SERVER"]
    calls = [span for span in found if span.kind == "INTERNAL"]
    assert whole.name == "POST /api/v1/batch"
    assert [(span.name, span.parent_id) for span in calls] == [("chat", whole.span_id)] * 2
    attempts = [span.parent_id for span in found if span.kind == "CLIENT"]
    assert sorted(attempts) == sorted(span.span_id for span in calls)
    assert {span.trace_id for span in found} == {whole.trace_id}


async def test_the_variables_of_opentelemetry(
    tmp_path: Path, up: Upstream, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url + "/otlp/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=red")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with running(tmp_path, one_upstream(up.base_url)) as gateway:
        assert (await gateway.post(CHAT)).status == 200
        whole, _ = await spans(collector, 2)
    path, headers, _ = collector.requests[0]
    assert (path, headers["x-team"]) == ("/otlp/v1/traces", "red")
    assert whole.resource["service.name"] == "gateway"
    assert whole.resource["deployment.environment.name"] == "test"


async def test_the_last_spans_are_sent_when_it_ends(
    tmp_path: Path, up: Upstream, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
        assert (await gateway.post(CHAT)).status == 200
        assert collector.spans == []
    assert len(collector.spans) == 2


# A collector that is no help.


async def ask_quickly(gateway: Gateway, count: int) -> float:
    """All are answered; the slowest one's seconds."""
    slowest = 0.0
    for _ in range(count):
        began = time.monotonic()
        assert (await gateway.post(CHAT)).status == 200
        slowest = max(slowest, time.monotonic() - began)
    return slowest


async def dropped(gateway: Gateway) -> float:
    answer = await gateway.call("GET", "/metrics")
    (line,) = [
        line
        for line in answer.body.decode().splitlines()
        if line.startswith("turnout_spans_dropped_total")
    ]
    return float(line.rpartition(" ")[2])


async def test_a_collector_that_is_down(
    tmp_path: Path,
    up: Upstream,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    collector.status = 503
    with caplog.at_level(logging.INFO):
        async with running(tmp_path, traced(one_upstream(up.base_url), collector)) as gateway:
            assert await ask_quickly(gateway, 3) < 2
            while await dropped(gateway) < 6:
                await asyncio.sleep(0.05)
            assert (await gateway.post(CHAT)).status == 200
            while await dropped(gateway) < 8:
                await asyncio.sleep(0.05)
            collector.status = 200
            assert (await gateway.post(CHAT)).status == 200
            await spans(collector, 2)
    said = [record.message for record in caplog.records if "collector" in record.message]
    assert said == [
        "the collector takes no traces; they are dropped until it does",
        "the collector takes traces again",
    ]
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")]


async def test_nobody_listens(tmp_path: Path, up: Upstream, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    with Collector() as gone:
        config = traced(one_upstream(up.base_url), gone)
    began = time.monotonic()
    async with running(tmp_path, config) as gateway:
        assert await ask_quickly(gateway, 3) < 2
        while await dropped(gateway) < 6:
            await asyncio.sleep(0.05)
    assert time.monotonic() - began < 10


async def test_a_collector_that_hangs(
    tmp_path: Path, up: Upstream, collector: Collector, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    collector.hold = threading.Event()
    text = one_upstream(up.base_url, "server: {drain: 500ms}")
    async with running(tmp_path, traced(text, collector)) as gateway:
        assert await ask_quickly(gateway, 10) < 2
        assert await dropped(gateway) == 10  # 20 spans, of which ten wait
        began = time.monotonic()
    assert time.monotonic() - began < 5
    collector.hold.set()
