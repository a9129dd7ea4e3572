"""Providers are looked at: their circuits know before a request does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Auth, FailureKind, Target, Timeouts
from proxy import probes
from proxy.breaker import Breakers, Policy
from proxy.signing import Signer
from proxy.upstream import Upstream as Client
from tests.e2e.gateway import Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream, refused_port

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
breaker: {{failures: 2, open: 1s, max_open: 1s, successes: 1}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, probe: 1s}}
"""


async def state(gateway: Gateway) -> dict[str, str]:
    answer = await gateway.call("GET", "/api/v1/breakers")
    return {entry["name"]: entry["state"] for entry in answer.json["breakers"]}


async def until(gateway: Gateway, name: str, wanted: set[str]) -> None:
    for _ in range(600):
        if (await state(gateway)).get(name) in wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await state(gateway))


async def test_a_dead_provider_is_known_before_a_request_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "LOOK", 0.1)
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        await until(gateway, "provider/up", {"CLOSED"})
        assert {(r.method, r.path) for r in up.log} == {("GET", "/v1/models")}
        assert up.log[0].header("authorization") == "Bearer k"
        up.script(fake.error_reply(503))
        await until(gateway, "provider/up", {"OPEN", "HALF_OPEN"})
        up.script()
        await until(gateway, "provider/up", {"CLOSED"})
        assert all(r.method == "GET" for r in up.log)


def target(url: str, **over: Any) -> Target:
    given = {"provider": "up", "model": "m", "dialect": "openai", "base_url": url}
    return Target(**(given | over), timeouts=Timeouts())


async def test_what_a_look_says() -> None:
    client = Client(Signer())
    client.open()
    looking = probes.Probes(client, Breakers(), lambda: None)  # type: ignore[arg-type, return-value]
    try:
        async with Upstream() as up:
            here = target(up.base_url)
            assert await looking.probe(here, Policy()) is None
            for status, kind in ((503, FailureKind.OVERLOADED), (401, FailureKind.AUTH)):
                up.script(fake.error_reply(status))
                failure = await looking.probe(target(up.base_url, provider=str(status)), Policy())
                assert failure is not None
                assert failure.kind is kind
            up.script(fake.error_reply(404))
            assert await looking.probe(here, Policy()) is None  # somebody is there
            claude = target(up.base_url, dialect="anthropic", auth=Auth.X_API_KEY)
            await looking.probe(claude, Policy())
            assert up.log[-1].header("anthropic-version")
            await looking.probe(target(up.base_url, dialect="ollama"), Policy())
            assert up.log[-1].path == "/v1/api/tags"
        gone = target(f"http://127.0.0.1:{refused_port()}", provider="gone")
        failure = await looking.probe(gone, Policy(failures=1))
        assert failure is not None
        assert failure.kind is FailureKind.UNREACHABLE
        assert await looking.probe(gone, Policy(failures=1)) is None  # left alone
    finally:
        await client.close()
