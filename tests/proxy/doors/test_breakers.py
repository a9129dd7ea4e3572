"""Circuits over HTTP: who may see and close them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
breaker: {{failures: 1, open: 60s}}
retry: {{attempts: 1}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k}}
"""
CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "x"}]}


async def test_a_circuit_is_seen_and_closed(tmp_path: Path) -> None:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        up.script(fake.error_reply(500), fake.chat_reply())
        assert (await gateway.post(CHAT)).status == 502
        shown = (await gateway.call("GET", "/api/v1/breakers")).json["breakers"]
        found = {entry["name"]: entry for entry in shown}
        assert found["provider/up"]["state"] == "OPEN"
        assert found["provider/up"]["kind"] == "provider"
        assert found["provider/up"]["next_attempt_at"] > 0
        assert found["credential/up#0"]["state"] == "CLOSED"
        assert (await gateway.post(CHAT)).error == (503, "upstream_error", "circuit_open")
        wrong = await gateway.call("POST", "/api/v1/breakers/reset", {"provider": "nobody"})
        assert wrong.error == (422, "invalid_request_error", "invalid_value")
        headers = {"X-Service-Key": "service-secret"}
        url = gateway.url + "/api/v1/breakers/reset"
        async with gateway.session.post(url, json={"provider": "up"}, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, {"reset": 1})
        assert (await gateway.post(CHAT)).status == 200
        empty = await gateway.call("POST", "/api/v1/breakers/reset")
        assert empty.json == {"reset": 0}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/breakers"), ("POST", "/api/v1/breakers/reset")]
)
async def test_a_virtual_key_may_not(tmp_path: Path, method: str, path: str) -> None:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        refused = await gateway.call(method, path, key=gateway.key)
        assert refused.error == (403, "permission_error", "forbidden")
        stranger = await gateway.call(method, path, key="wrong")
        assert stranger.status == 401
        assert (await gateway.call("GET", "/api/v1/breakers", key=MASTER)).status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"provider": 5}, (422, "invalid_request_error", "invalid_value")),
        ({"provider": ["up"]}, (422, "invalid_request_error", "invalid_value")),
        ({"provider": {}}, (422, "invalid_request_error", "invalid_value")),
        ({"povider": "up"}, (422, "invalid_request_error", "unknown_parameter")),
        ([], (400, "invalid_request_error", "invalid_json")),
    ],
)
async def test_what_is_not_understood_closes_nothing(
    tmp_path: Path, body: Any, error: tuple[int, str, str]
) -> None:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        up.script(fake.error_reply(500))
        assert (await gateway.post(CHAT)).status == 502
        answer = await gateway.call("POST", "/api/v1/breakers/reset", body)
        assert answer.error == error
        assert (await gateway.post(CHAT)).error == (503, "upstream_error", "circuit_open")


async def test_those_of_a_provider_that_is_gone_are_not_shown(tmp_path: Path) -> None:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        assert (await gateway.post(CHAT)).status == 200
        gateway.config.write_text(CONFIG.format(url=up.base_url).replace("  up:", "  other:"))
        async with asyncio.timeout(10):
            while (await gateway.post({**CHAT, "model": "other/m"})).status != 200:
                await asyncio.sleep(0.1)
        shown = (await gateway.call("GET", "/api/v1/breakers")).json["breakers"]
        assert [one["name"] for one in shown] == [
            "credential/other#0",
            "deployment/other/m",
            "provider/other",
        ]


async def test_the_words_of_each_state(tmp_path: Path) -> None:
    text = CONFIG.replace("open: 60s", "open: 200ms")
    async with Upstream() as up, running(tmp_path, text.format(url=up.base_url)) as gateway:
        assert (await gateway.call("GET", "/api/v1/breakers")).json == {"breakers": []}
        up.script(fake.error_reply(503))
        assert (await gateway.post(CHAT)).status == 503
        await asyncio.sleep(0.3)
        shown = (await gateway.call("GET", "/api/v1/breakers")).json["breakers"]
        closed = {"state": "CLOSED", "failures": 0, "next_attempt_at": None}
        assert shown == [
            {"name": "credential/up#0", "kind": "credential"} | closed,
            {"name": "deployment/up/m", "kind": "deployment"} | closed,
            {
                "name": "provider/up",
                "kind": "provider",
                "state": "HALF_OPEN",
                "failures": 1,
                "next_attempt_at": None,
            },
        ]
