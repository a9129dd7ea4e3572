"""FAULTS row 12 from end to end: a provider that was made through the API at a place that is not
public is asked nothing, however it came to be there."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.gateway import Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

PUBLIC = "8.8.8.8"
CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
server: {{private_providers: true}}
cache: {{enabled: false}}
breaker: {{failures: 1, open: 60s}}
providers:
  filed: {{dialect: openai, base_url: "{url}", api_key: sk-file, models: [m]}}
"""
CHAT = {"model": "acme/m", "messages": [{"role": "user", "content": "x"}]}
NOT_ALLOWED = (400, "invalid_request_error", "url_not_allowed")


class Names:
    """Where names lead; each look-up takes the next answer, the last one stays."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []

    def resolve(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        name = str(host)
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        self.asked.append(name)
        answers = self.known[name]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port or 0, 0, 0) if ":" in address else (address, port or 0)
        return [(family, socket.SOCK_STREAM, 6, "", where)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.resolve)
    return names


@pytest.fixture
async def inside() -> AsyncIterator[Upstream]:
    """A service of this machine's own, which nobody out there may ask."""
    async with Upstream() as inside:
        yield inside


@pytest.fixture
async def gateway(tmp_path: Path, inside: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=inside.base_url)) as gateway:
        yield gateway


def port_of(up: Upstream) -> int:
    port = urlsplit(up.base_url).port
    assert port is not None
    return port


async def make(gateway: Gateway, base_url: str, **over: Any) -> None:
    body = {
        "name": "acme",
        "display_name": "Acme",
        "api_key": "sk-acme-0123456789abcdef",
        "models": ["m"],
        "base_url": base_url,
    }
    answer = await gateway.call("POST", "/api/v1/providers", body | over)
    assert answer.status == 201, answer.body


def untouched(inside: Upstream) -> bool:
    return inside.log == [] and inside.connections_open == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "::1"])
async def test_a_name_that_leads_elsewhere_once_it_is_saved(
    gateway: Gateway, inside: Upstream, names: Names, address: str
) -> None:
    names.known["rebound.example"] = [PUBLIC, address]
    await make(gateway, f"http://rebound.example:{port_of(inside)}/v1")
    answer = await gateway.post(CHAT)
    assert answer.error == NOT_ALLOWED
    assert answer.headers.get("retry-after") is None
    assert address not in answer.json["error"]["message"]
    assert "sk-acme" not in answer.json["error"]["message"]
    assert names.asked == ["rebound.example"] * 2
    assert untouched(inside)


async def test_a_name_that_did_not_resolve_when_it_was_saved(
    gateway: Gateway, inside: Upstream, names: Names
) -> None:
    await make(gateway, f"http://later.example:{port_of(inside)}/v1")
    names.known["later.example"] = ["127.0.0.1"]
    for stream in (False, True):
        assert (await gateway.post(CHAT | {"stream": stream})).error == NOT_ALLOWED
    assert untouched(inside)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses", "/v1/messages"])
async def test_by_every_way_in(gateway: Gateway, inside: Upstream, names: Names, path: str) -> None:
    names.known["later.example"] = [PUBLIC, "127.0.0.1"]
    await make(gateway, f"http://later.example:{port_of(inside)}/v1")
    body = CHAT | {"input": "x", "max_tokens": 5}
    wanted = {
        "/v1/embeddings": ("model", "input"),
        "/v1/responses": ("model", "input"),
        "/v1/messages": ("model", "messages", "max_tokens"),
    }[path]
    answer = await gateway.post({name: body[name] for name in wanted}, path)
    assert answer.status == 400
    assert untouched(inside)


async def test_it_moves_no_circuit_and_is_on_the_books(
    gateway: Gateway, inside: Upstream, names: Names
) -> None:
    """With a breaker that one failure opens: a refusal of ours says nothing of the provider."""
    names.known["rebound.example"] = [PUBLIC, "127.0.0.1"]
    await make(gateway, f"http://rebound.example:{port_of(inside)}/v1")
    for _ in range(3):
        assert (await gateway.post(CHAT)).error == NOT_ALLOWED
    shown = (await gateway.call("GET", "/api/v1/breakers")).json["breakers"]
    assert {each["state"] for each in shown} <= {"CLOSED"}
    rows = await gateway.rows(3)
    assert [(row["status_code"], row["error_code"]) for row in rows] == [
        (400, "url_not_allowed")
    ] * 3
    assert [row["cost_nanousd"] or 0 for row in rows] == [0, 0, 0]
    assert untouched(inside)


async def test_another_target_serves_instead(
    tmp_path: Path, inside: Upstream, names: Names
) -> None:
    """A priority list with such a provider at its head goes on to the next one."""
    text = CONFIG.format(url=inside.base_url)
    async with running(tmp_path, text) as gateway:
        names.known["rebound.example"] = [PUBLIC, "127.0.0.1"]
        url = f"http://rebound.example:{port_of(inside)}/v1"
        await make(gateway, url, priority=100)
        body = {"user_id": "u", "service": "s", "prompt": "Hi"}
        answer = await gateway.call("POST", "/api/v1/generate", body)
        assert (answer.status, answer.json["provider"]) == (200, "filed")
        assert [r.header("authorization") for r in inside.log] == ["Bearer sk-file"]


async def test_the_try_by_hand_connects_no_more(
    gateway: Gateway, inside: Upstream, names: Names
) -> None:
    names.known["rebound.example"] = [PUBLIC, "127.0.0.1"]
    await make(gateway, f"http://rebound.example:{port_of(inside)}/v1")
    answer = await gateway.call("POST", "/api/v1/providers/acme/test")
    assert answer.json == {
        "success": False,
        "error": "provider acme may be at a public address only, and is not",
    }
    assert untouched(inside)


async def test_a_redirect_is_not_followed(gateway: Gateway, inside: Upstream) -> None:
    """Not even by a provider that may be at a private address itself."""
    async with Upstream() as sending:
        sending.script(fake.redirect_reply(inside.base_url + "/chat/completions"))
        await make(gateway, sending.base_url, allow_private=True)
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.json["error"]["code"]) == (502, "invalid_upstream_response")
        assert len(sending.log) >= 1
        tried = (await gateway.call("POST", "/api/v1/providers/acme/test")).json
        assert tried == {"success": False, "error": "the provider answered with status 302"}
    assert untouched(inside)


async def test_who_is_trusted_may_be_anywhere(gateway: Gateway, inside: Upstream) -> None:
    await make(gateway, inside.base_url, allow_private=True)
    for model in ("acme/m", "filed/m"):
        assert (await gateway.post(CHAT | {"model": model})).status == 200
    assert len(inside.log) == 2


async def test_nothing_in_a_request_chooses_a_place(gateway: Gateway, inside: Upstream) -> None:
    """Only operators say where providers are; `api_base` and its like are refused (row 11)."""
    for field in ("api_base", "base_url", "api_key"):
        answer = await gateway.post(CHAT | {"model": "filed/m", field: inside.base_url})
        assert answer.error == (400, "invalid_request_error", "unknown_parameter")
    assert untouched(inside)
