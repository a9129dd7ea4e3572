"""What was said: by pages, deleted, and whose it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from proxy.doors.v2_conversations import owner_of
from proxy.errors import Unprocessable
from proxy.storage.engine import open_database
from proxy.types import Controls, Principal, Role
from tests.e2e.gateway import Answer, Gateway, running
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [m1]}}
"""
CHAT = "/v2/llm/chat/completions"
KEPT = "/v2/conversations"


def asks(words: str) -> dict[str, Any]:
    return {"model_id": "up/m1", "messages": [{"role": "user", "content": words}]}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        yield gateway


async def test_conversations_by_pages(gateway: Gateway) -> None:
    places = [
        (await gateway.call("POST", CHAT, asks(f"Hello {n}"))).json["conversation_id"]
        for n in range(3)
    ]
    first = (await gateway.call("GET", f"{KEPT}?limit=2")).json
    assert [each["id"] for each in first["data"]] == [places[2], places[1]]
    assert (first["object"], first["has_more"]) == ("list", True)
    rest = (await gateway.call("GET", f"{KEPT}/?limit=2&offset=2")).json
    assert ([each["title"] for each in rest["data"]], rest["has_more"]) == (["Hello 0"], False)
    part = (await gateway.call("GET", f"{KEPT}/{places[0]}?limit=1")).json
    assert ([m["role"] for m in part["messages"]], part["has_more"]) == (["user"], True)


async def test_delete(gateway: Gateway) -> None:
    place = (await gateway.call("POST", CHAT, asks("Hello"))).json["conversation_id"]
    assert (await gateway.call("DELETE", f"{KEPT}/{place}")).status == 204
    for method in ("GET", "DELETE"):
        answer = await gateway.call(method, f"{KEPT}/{place}")
        assert answer.error == (404, "invalid_request_error", "not_found")


async def by_service(gateway: Gateway, method: str, path: str, user: str, body: Any) -> Answer:
    headers = {"x-service-key": "service-secret", "x-turnout-user": user}
    url = gateway.url + path
    async with gateway.session.request(method, url, json=body, headers=headers) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read())


async def test_a_services_customers_have_their_own(gateway: Gateway) -> None:
    made = await by_service(gateway, "POST", CHAT, "ann", asks("Hello"))
    place = made.json["conversation_id"]
    assert (await by_service(gateway, "GET", f"{KEPT}/{place}", "ann", None)).status == 200
    assert (await by_service(gateway, "GET", f"{KEPT}/{place}", "bob", None)).status == 404


def test_owners_never_meet() -> None:
    said = Controls(user="ann")
    assert owner_of(Principal(Role.USER, user_id="u1"), said) == "user:u1"
    assert owner_of(Principal(Role.KEY, "k1", "u1"), said) == "user:u1"
    assert owner_of(Principal(Role.ADMIN, user_id="u1"), said) == "user:u1"
    assert owner_of(Principal(Role.KEY, "k1"), said) == "key:k1"
    assert owner_of(Principal(Role.ADMIN), said) == "admin"
    assert owner_of(Principal(Role.SERVICE), said) == "service:ann"
    assert owner_of(Principal(Role.SERVICE), Controls()) == "service"
    with pytest.raises(Unprocessable):
        owner_of(Principal(Role.SERVICE), Controls(user="a\0"))


async def test_the_owner_is_in_the_row(gateway: Gateway) -> None:
    await gateway.call("POST", CHAT, asks("Secret"), key=gateway.key)
    engine = await open_database("sqlite:///turnout.db", gateway.home)
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT owner FROM conversations"))).scalar_one()
        said = (await connection.execute(text("SELECT content FROM messages"))).scalars().all()
    await engine.dispose()
    assert found.startswith("key:key_")
    assert orjson.loads(said[0]) == "Secret"
