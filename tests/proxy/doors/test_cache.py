"""The cache over HTTP: what it tells, what is dropped, who may ask.

How it is filled is in tests/proxy/test_warming.py.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.base import Endpoint, Usage
from proxy.cache.counts import Counts
from proxy.cache.report import MeaningReport, Point, WrongRate
from proxy.cache.types import Entry, Tier
from proxy.config_types import SemanticSection
from proxy.doors.api import fault_at, validated
from proxy.doors.cache import WhatGoes, _booked, _counts, _promised, _purge, _semantic
from proxy.errors import Unprocessable
from proxy.ledger.analytics import NOTHING
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream
from tests.redis_server import redis_server

METRICS, INVALIDATE, WARM = (f"/api/v1/cache/{name}" for name in ("metrics", "invalidate", "warm"))
CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{epoch: may}}
pricing: {{overrides: {{"*/*": {{input: 1, output: 10}}}}}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k}}
tasks:
  t: {{targets: [up/m]}}
{extra}
"""
COST = 39e-6  # USD of 9 tokens in and 3 out
FORBIDDEN = (403, "permission_error", "forbidden")

REPORT = MeaningReport(
    state="on",
    embedder="minilm",
    entries=7,
    labels=300,
    quarantined=2,
    wrong=WrongRate(0.01, 0.005, 0.02, 300),
    thresholds={"0.01": 0.97, "0.05": None},
    curve=[Point(0.9, 0.5, 0.01, 0.0, 0.02, 100)],
    shadow_requests=3,
    shadow_nanousd=1_000_000,
    certified=True,
)


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url, extra="")) as gateway:
        yield gateway


async def ask(gateway: Gateway, text: str, headers: dict[str, str] | None = None) -> Answer:
    body = {"model": "up/m", "messages": [{"role": "user", "content": text}]}
    return await gateway.post(body, headers=headers or {})


async def metrics(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.call("GET", METRICS)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


# What it tells.


async def test_before_anything_was_asked(gateway: Gateway) -> None:
    assert await metrics(gateway) == {
        "hits": {"exact": 0, "semantic": 0},
        "misses": {},
        "bypasses": {},
        "hit_rate": 0.0,
        "stored": 0,
        "not_stored": {},
        "joined": 0,
        "purged": 0,
        "saved_usd": 0.0,
        "saved_tokens": 0,
        "net_saved_usd": 0.0,
        "stages": {},
        "entries": 0,
        "bytes": 0,
        "semantic": {
            "state": "off",
            "embedder": None,
            "entries": 0,
            "labels": 0,
            "quarantined": 0,
            "wrong": {"rate": None, "low": None, "high": None, "labels": 0},
            "thresholds": {},
            "curve": [],
            "shadow": {"requests": 0, "usd": 0.0},
            "certified": False,
            "floor": 0.6,
            "max_wrong": 0.01,
            "threshold": None,
        },
        "ledger": {"days": 30, "requests": 0, "cached": 0, "saved_usd": 0.0, "shadow_usd": 0.0},
    }


async def test_what_was_asked_is_counted(gateway: Gateway, up: Upstream) -> None:
    for text in ("a", "a", "a", "b"):
        assert (await ask(gateway, text)).status == 200
    await ask(gateway, "a", {"x-turnout-cache": "no-store"})
    await ask(gateway, "a", {"x-turnout-cache": "no-cache"})
    up.script(fake.chat_reply(finish="length"))
    await ask(gateway, "c")
    found = await metrics(gateway)
    assert found["hits"] == {"exact": 2, "semantic": 0}
    assert found["misses"] == {"new": 3, "no-cache": 1}
    assert found["bypasses"] == {"no-store": 1}
    assert found["hit_rate"] == pytest.approx(2 / 6)
    assert (found["stored"], found["not_stored"]) == (3, {"finish_length": 1})
    assert found["saved_usd"] == found["net_saved_usd"] == pytest.approx(2 * COST)
    assert (found["saved_tokens"], found["entries"]) == (24, 2)
    assert found["bytes"] > 1000
    stage = found["stages"]["exact"]
    assert stage["count"] == 5
    assert 0 < stage["p50_ms"] <= stage["p99_ms"]


async def test_the_ledger_has_what_was_asked_and_not_what_turnout_did_itself(
    gateway: Gateway,
) -> None:
    await gateway.call("POST", WARM, {"prompts": ["a", "b"], "model": "up/m"})
    for _ in range(2):
        await ask(gateway, "c")
    await gateway.rows(4)
    ledger = (await metrics(gateway))["ledger"]
    assert (ledger["days"], ledger["requests"], ledger["cached"]) == (30, 2, 1)
    assert ledger["saved_usd"] == pytest.approx(COST)
    assert ledger["shadow_usd"] == 0.0
    assert (await gateway.call("GET", METRICS + "?days=365")).json["ledger"]["days"] == 365


@pytest.mark.parametrize("days", ["0", "366", "x", "-1", "1.5", ""])
async def test_days_that_can_not_be(gateway: Gateway, days: str) -> None:
    refused = await gateway.call("GET", f"{METRICS}?days={days}")
    assert refused.error == (422, "invalid_request_error", "invalid_value")
    assert refused.json["error"]["param"] == "days"


def test_checks_are_taken_off_what_was_saved() -> None:
    counts = Counts()
    usage = Usage(prompt=10, completion=5)
    entry = Entry("i", Endpoint.CHAT, b"", "n", "p", "m", 0.0, 1.0, usage, 3_000_000)
    counts.hit(Tier.SEMANTIC, entry)
    counts.misses["new"] += 3
    found = _counts(counts, REPORT)
    assert (found["saved_usd"], found["net_saved_usd"]) == (0.003, 0.002)
    assert (found["hits"], found["hit_rate"]) == ({"exact": 0, "semantic": 1}, 0.25)


def test_what_is_promised_and_what_is_served_from_for_it() -> None:
    for most, threshold in ((0.01, 0.97), (0.05, None), (0.02, None)):
        settings = SemanticSection(max_wrong=most, floor=0.7)
        expected = {"floor": 0.7, "max_wrong": most, "threshold": threshold}
        assert _promised(settings, REPORT) == expected


def test_the_tier_by_meaning() -> None:
    assert orjson.loads(orjson.dumps(_semantic(REPORT))) == {
        "state": "on",
        "embedder": "minilm",
        "entries": 7,
        "labels": 300,
        "quarantined": 2,
        "wrong": {"rate": 0.01, "low": 0.005, "high": 0.02, "labels": 300},
        "thresholds": {"0.01": 0.97, "0.05": None},
        "curve": [
            {"score": 0.9, "served": 0.5, "wrong": 0.01, "low": 0.0, "high": 0.02, "labels": 100}
        ],
        "shadow": {"requests": 3, "usd": 0.001},
        "certified": True,
    }


def test_a_stage_longer_than_the_last_step_is_null() -> None:
    counts = Counts()
    counts.took("wait", 5.0)
    counts.took("exact", 0.0001)
    found = orjson.loads(orjson.dumps(_counts(counts, REPORT)))["stages"]
    assert found["wait"] == {"count": 1, "p50_ms": None, "p99_ms": None}
    assert found["exact"] == {"count": 1, "p50_ms": 0.1, "p99_ms": 0.1}


def test_checks_in_the_ledger() -> None:
    groups = [
        replace(NOTHING, group="shop", requests=10, cached=4, saved_usd=2.0, cost_usd=9.0),
        replace(NOTHING, group=None, requests=5, cached=1, saved_usd=0.5),
        replace(NOTHING, group="turnout:shadow", requests=3, cost_usd=0.25),
        replace(NOTHING, group="turnout:warm", requests=7, cached=7, saved_usd=7.0, cost_usd=1.0),
    ]
    assert _booked(groups) == {"requests": 15, "cached": 5, "saved_usd": 2.5, "shadow_usd": 0.25}


# What is dropped.


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (None, []),
        ({}, []),
        ({"pattern": "llm:cache:t:*"}, ["a", "b"]),
        ({"pattern": "llm:cache:-:*"}, ["c"]),
        ({"model": "m"}, []),
        ({"model": "up/m"}, []),
        ({"model": "other"}, ["a", "b", "c"]),
        ({"task": "t"}, ["a", "b"]),
        ({"tag": "x"}, ["b", "c"]),
        ({"tag": "x", "task": "t"}, ["a", "b", "c"]),
        ({"epoch": "may"}, []),
        ({"epoch": ""}, ["a", "b", "c"]),
        ({"id": "llm:cache:t:0"}, ["a", "b", "c"]),
    ],
)
async def test_what_is_named_is_dropped(gateway: Gateway, body: Any, left: list[str]) -> None:
    given = {"a": {"x-turnout-cache": "tag=x"}, "b": {}, "c": {"x-turnout-task": "t"}}
    for text, headers in given.items():
        assert (await ask(gateway, text, headers)).status == 200
    dropped = await gateway.call("POST", INVALIDATE, body)
    assert (dropped.status, dropped.json) == (200, {"invalidated": 3 - len(left)})
    found = await metrics(gateway)
    assert (found["entries"], found["purged"]) == (len(left), 3 - len(left))
    for text, headers in given.items():
        answer = await ask(gateway, text, {"x-turnout-task": "t"} if text == "c" else {})
        expected = "hit" if text in left else "miss"
        assert answer.headers["x-turnout-cache"].partition(";")[0] == expected, (text, headers)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"patern": "x"}, "patern"),
        ({"tag": 5}, "tag"),
        ({"tag": ""}, "tag"),
        ({"pattern": None}, "pattern"),
        ({"epoch": None}, "epoch"),
        ({"model": ["m"]}, "model"),
    ],
)
def test_what_names_nothing_drops_nothing(given: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        _purge(validated(WhatGoes, given, fault_at("/api/v1/cache")))
    assert caught.value.param == param


async def test_faults_over_http(gateway: Gateway) -> None:
    unknown = await gateway.call("POST", INVALIDATE, {"patern": "x"})
    assert unknown.error == (422, "invalid_request_error", "unknown_parameter")
    wrong = await gateway.call("POST", INVALIDATE, {"tag": 5})
    assert wrong.error == (422, "invalid_request_error", "invalid_value")
    assert (await gateway.call("POST", INVALIDATE, [])).error[0] == 400
    chat = {"prompts": ["a"], "model": "up/m", "parameters": {"temperature": "hot"}}
    refused = await gateway.call("POST", WARM, chat)
    assert refused.error == (422, "invalid_request_error", "invalid_value")
    assert refused.json["error"]["param"] == "parameters.temperature"
    name = await gateway.call("POST", WARM, {"prompts": ["a"], "model": "up/m\r\nx: y"})
    assert name.json["error"]["param"] == "model"
    header = {"authorization": f"Bearer {MASTER}", "x-turnout-cache": "sometimes"}
    said = await gateway.post({"prompts": ["a"], "model": "up/m"}, WARM, headers=header)
    assert said.error == (400, "invalid_request_error", "invalid_value")


async def test_a_purge_that_redis_does_not_finish(tmp_path: Path, up: Upstream) -> None:
    with redis_server(tmp_path) as redis:
        extra = f'storage: {{redis: "{redis.url}"}}'
        text = CONFIG.format(url=up.base_url, extra=extra)
        async with running(tmp_path, text) as gateway:
            for letter in "ab":
                await ask(gateway, letter)
            await kept(gateway, 2)
            found = await metrics(gateway)
            assert (found["entries"], found["bytes"]) == (None, None)
            redis.halt()
            refused = await gateway.call("POST", INVALIDATE)
            assert refused.error == (503, "service_unavailable_error", "purge_incomplete")
            assert refused.json["invalidated"] == 0
            assert refused.headers["retry-after"] == "2"
            redis.go_on()


async def kept(gateway: Gateway, count: int) -> None:
    for _ in range(100):
        if (await metrics(gateway))["stored"] == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the answers were not kept")


# Who may ask.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", METRICS, None),
        ("POST", INVALIDATE, {}),
        ("POST", WARM, {"prompts": ["a"], "model": "up/m"}),
    ],
)
async def test_for_the_master_key_and_services(
    gateway: Gateway, up: Upstream, method: str, path: str, body: Any
) -> None:
    assert (await gateway.call(method, path, body, key=gateway.key)).error == FORBIDDEN
    assert (await gateway.call(method, path, body, key="wrong")).status == 401
    assert up.log == []
    url, headers = gateway.url + path, {"X-Service-Key": "service-secret"}
    async with gateway.session.request(method, url, json=body, headers=headers) as answer:
        assert answer.status == 200
        await answer.read()
    assert (await gateway.call(method, path, body)).status == 200
