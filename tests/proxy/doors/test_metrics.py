"""What Prometheus reads, and who may read it. The parser is prometheus-client's own."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from proxy.cache.counts import Durations
from proxy.doors.metrics import _buckets, _lag, _meaning, is_local
from tests.e2e.gateway import MASTER, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream
from tests.proxy.doors.test_cache import REPORT

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
breaker: {{failures: 1, open: 60s}}
retry: {{attempts: 1}}
pricing: {{overrides: {{"*/*": {{input: 1, output: 10}}}}}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k}}
"""
PID = str(os.getpid())

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        yield gateway


def values(families: Iterable[Metric], pid: bool = True) -> Values:
    """(sample's name, labels beside the process) -> value."""
    found: Values = {}
    for family in families:
        for sample in family.samples:
            labels = dict(sample.labels)
            assert not pid or labels.pop("process") == PID
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


async def scrape(gateway: Gateway) -> Values:
    async with gateway.session.get(gateway.url + "/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return values(text_string_to_metric_families(await answer.text()))


async def ask(gateway: Gateway, text: str, headers: dict[str, str] | None = None) -> int:
    body = {"model": "up/m", "messages": [{"role": "user", "content": text}]}
    return (await gateway.post(body, headers=headers or {})).status


async def test_what_a_process_has_done(gateway: Gateway, up: Upstream) -> None:
    for text in ("a", "a", "b"):
        assert await ask(gateway, text) == 200
    assert await ask(gateway, "a", {"x-turnout-cache": "no-store"}) == 200
    await gateway.call("POST", "/api/v1/cache/invalidate", {"model": "up/none"})
    await gateway.rows(4)
    up.script(fake.error_reply(500))
    assert await ask(gateway, "c") == 502
    await gateway.rows(5)
    found = await scrape(gateway)
    expected: Values = {
        ("turnout_cache_hits_total", (("tier", "exact"),)): 1,
        ("turnout_cache_misses_total", (("reason", "new"),)): 3,
        ("turnout_cache_bypasses_total", (("reason", "no-store"),)): 1,
        ("turnout_cache_stored_total", ()): 2,
        ("turnout_cache_joined_total", ()): 0,
        ("turnout_cache_purged_total", ()): 0,
        ("turnout_cache_saved_usd_total", ()): 39e-6,
        ("turnout_cache_saved_tokens_total", ()): 12,
        ("turnout_cache_entries", ()): 2,
        ("turnout_cache_stage_seconds_count", (("stage", "exact"),)): 4,
        ("turnout_cache_stage_seconds_bucket", (("le", "+Inf"), ("stage", "exact"))): 4,
        ("turnout_breaker_state", (("kind", "provider"), ("name", "provider/up"))): 2,
        ("turnout_breaker_state", (("kind", "credential"), ("name", "credential/up#0"))): 0,
        ("turnout_ledger_pending", ()): 0,
        ("turnout_ledger_lost_total", ()): 0,
        ("turnout_ledger_unspooled_total", ()): 0,
        ("turnout_ledger_degraded", ()): 0,
        ("turnout_requests_under_way", ()): 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["turnout_cache_bytes", ()] > 1000
    assert 0 <= found["turnout_event_loop_lag_seconds", ()] < 1
    assert found["process_resident_memory_bytes", ()] > 10_000_000
    assert found["process_open_fds", ()] > 5
    (build,) = [labels for name, labels in found if name == "turnout_build_info"]
    assert {name for name, _ in build} == {"config", "python", "version"}
    assert not any(name.startswith("turnout_cache_semantic") for name, _ in found)


async def test_requests_and_attempts(gateway: Gateway, up: Upstream) -> None:
    assert await ask(gateway, "a") == 200
    stream = {"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "s"}]}
    assert (await gateway.post(stream)).status == 200
    up.script(fake.error_reply(500))
    assert await ask(gateway, "b") == 502
    assert (await gateway.post({"model": "no/x", "messages": []})).status == 400
    assert (await gateway.post({}, headers={"authorization": "Bearer wrong"})).status == 401
    assert (await gateway.call("GET", "/nowhere")).status == 404
    await gateway.rows(4)
    found = await scrape(gateway)

    def served(**over: str) -> tuple[tuple[str, str], ...]:
        given = {"operation": "chat", "provider": "up", "model": "m", "task": "", "code": ""}
        return tuple(sorted((given | over).items()))

    def sent(**over: str) -> tuple[tuple[str, str], ...]:
        given = {
            "gen_ai_operation_name": "chat", "gen_ai_provider_name": "up",
            "gen_ai_request_model": "m", "turnout_provider": "up",
        }  # fmt: skip
        return tuple(sorted((given | over).items()))

    good = sent(error_type="")
    bad = sent(error_type="upstream_error")
    expected: Values = {
        ("turnout_requests_total", served()): 2,
        ("turnout_requests_total", served(code="upstream_error")): 1,
        ("turnout_requests_total", served(code="invalid_value", provider="", model="")): 1,
        ("turnout_turned_away_total", (("code", "invalid_api_key"),)): 1,
        ("turnout_turned_away_total", (("code", "not_found"),)): 1,
        ("gen_ai_server_request_duration_seconds_count", good): 2,
        ("gen_ai_server_request_duration_seconds_count", bad): 1,
        ("gen_ai_server_time_to_first_token_seconds_count", good): 1,
        ("gen_ai_client_operation_duration_seconds_count", good): 2,
        ("gen_ai_client_operation_duration_seconds_count", bad): 1,
        ("gen_ai_client_operation_time_to_first_chunk_seconds_count", good): 1,
        ("gen_ai_client_token_usage_sum", sent(gen_ai_token_type="input")): 18,
        ("gen_ai_client_token_usage_sum", sent(gen_ai_token_type="output")): 6,
        ("gen_ai_client_token_usage_bucket", sent(gen_ai_token_type="input", le="4")): 0,
        ("gen_ai_client_token_usage_bucket", sent(gen_ai_token_type="input", le="16")): 2,
        ("turnout_spans_exported_total", ()): 0,
        ("turnout_spans_dropped_total", ()): 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    cost = "turnout_cost_usd_total", (("model", "m"), ("provider", "up"), ("task", ""))
    assert found[cost] == pytest.approx(78e-6)
    ends = [
        dict(labels)["le"]
        for name, labels in found
        if name == "gen_ai_client_token_usage_bucket" and ("gen_ai_token_type", "input") in labels
    ]
    assert ends[-2:] == ["67108864", "+Inf"]


async def test_requests_under_way(gateway: Gateway, up: Upstream) -> None:
    go_on = asyncio.Event()
    up.script([fake.WaitFor(go_on), *fake.chat_reply()])
    asking = asyncio.ensure_future(ask(gateway, "a"))
    await up.wait_for_requests(1)
    assert (await scrape(gateway))["turnout_requests_under_way", ()] == 1
    go_on.set()
    assert await asking == 200


async def test_the_newer_format_for_who_asks_for_it(gateway: Gateway) -> None:
    await ask(gateway, "a")
    headers = {"accept": "application/openmetrics-text; version=1.0.0"}
    async with gateway.session.get(gateway.url + "/metrics", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        found = values(open_metrics(await answer.text()))
    assert found["turnout_cache_stored_total", ()] == 1


def test_the_tier_by_meaning() -> None:
    found = values(_meaning(REPORT), pid=False)
    name = "turnout_cache_semantic"
    assert found == {
        (f"{name}_info", (("embedder", "minilm"), ("state", "on"))): 1,
        (f"{name}_entries", ()): 7,
        (f"{name}_labels", ()): 300,
        (f"{name}_quarantined", ()): 2,
        (f"{name}_certified", ()): 1,
        (f"{name}_wrong_rate", (("bound", "estimate"),)): 0.01,
        (f"{name}_wrong_rate", (("bound", "low"),)): 0.005,
        (f"{name}_wrong_rate", (("bound", "high"),)): 0.02,
        (f"{name}_shadow_requests_total", ()): 3,
        (f"{name}_shadow_usd_total", ()): 0.001,
    }


def test_the_steps_of_a_histogram_add_up() -> None:
    durations = Durations()
    for seconds in (0.00001, 0.00015, 0.00015, 0.003, 2.0):
        durations.add(seconds)
    found = dict(_buckets(durations))
    assert list(found) == [
        "5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05",
        "0.1", "0.5", "+Inf",
    ]  # fmt: skip
    assert (found["5e-05"], found["0.0001"], found["0.0002"]) == (1, 1, 3)
    assert (found["0.002"], found["0.005"], found["0.5"], found["+Inf"]) == (3, 4, 4, 5)


async def test_a_busy_loop_is_late() -> None:
    asyncio.get_running_loop().call_later(0.005, time.sleep, 0.1)
    assert 0.05 < await _lag() < 1


# Who may read it.


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 cache"},
    ],
)
async def test_by_way_of_a_proxy_a_key_is_wanted(gateway: Gateway, header: dict[str, str]) -> None:
    url = gateway.url + "/metrics"
    service = {"X-Service-Key": "service-secret"}
    keys = {
        401: ({}, {"authorization": "Bearer wrong"}),
        403: ({"authorization": f"Bearer {gateway.key}"},),
        200: ({"authorization": f"Bearer {MASTER}"}, service),
    }
    for status, headers in keys.items():
        for each in headers:
            async with gateway.session.get(url, headers=header | each) as answer:
                assert answer.status == status, each


@pytest.mark.parametrize(
    ("client", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.8.8.8", 5), True),
        (("::1", 5), True),
        (("::ffff:127.0.0.1", 5), True),
        (("::ffff:10.0.0.1", 5), False),
        (("10.0.0.1", 5), False),
        (("fe80::1%lo", 5), False),
        (("0.0.0.0", 5), False),
        (("", 0), False),
        (("localhost", 5), False),
        (None, False),
    ],
)
def test_the_machine_itself_is_known_by_its_connection(client: Any, local: bool) -> None:
    scope = {"type": "http", "client": client, "headers": [(b"host", b"127.0.0.1")]}
    assert is_local(scope) is local


def test_a_host_of_loopback_makes_nobody_local() -> None:
    headers = [(b"host", b"localhost"), (b"origin", b"http://127.0.0.1")]
    assert not is_local({"type": "http", "client": ("192.0.2.1", 5), "headers": headers})
