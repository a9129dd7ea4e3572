"""Users' own keys over HTTP: who may, what goes in, and that no secret comes out."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.config import Provider
from proxy.doors.api import Api
from proxy.doors.own_keys import OwnKeysDoor
from proxy.errors import Unauthenticated
from proxy.live import Live
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.own_keys import OwnKeyStore
from proxy.types import Principal, Role
from proxy.vault import Vault

CANARY = "sk-canary-0123456789wxyz"
OTHER = "sk-canary-9876543210abcd"
SYSTEM = "sk-system-0123456789"
SHOWN = "sk-…wxyz"
PATH = "/api/v1/users/me/api-keys"
STATUS, V2 = "/v2/users/me/api-key-status", "/v2/users/me/api-key"

PRINCIPALS = {
    "alice": Principal(Role.USER, user_id="alice"),
    "bob": Principal(Role.USER, user_id="bob"),
    "root": Principal(Role.ADMIN, user_id="root"),
    "master": Principal(Role.ADMIN),
    "service": Principal(Role.SERVICE),
    "key": Principal(Role.KEY, "key_1", "alice"),
    "nobody": Principal(Role.ANONYMOUS),
}


class Auth:
    """Knows callers by their names."""

    async def identify_at(self, method: str, headers: dict[bytes, bytes]) -> Principal:
        name = headers.get(b"authorization", b"").decode()
        if name not in PRINCIPALS:
            raise Unauthenticated("no API key given")
        return PRINCIPALS[name]


def configured() -> dict[str, Provider]:
    off = Provider(dialect="openai", base_url="https://router.example/v1")
    return {
        "openai": Provider(
            dialect="openai", base_url="https://api.openai.com/v1", api_key=SecretStr(SYSTEM)
        ),
        "anthropic": Provider(dialect="anthropic"),
        "router": off.switched_off("ROUTER_KEY is not set", lacks_key=True),
        "local": Provider(dialect="llamacpp", model="smollm2"),
        "signed": Provider(
            dialect="bedrock", base_url="https://bedrock-runtime.us-east-1.amazonaws.com"
        ),
    }


@dataclass
class Door:
    """The door over a real store, behind the layers that answer errors and name requests."""

    app: ASGIApp
    store: OwnKeyStore
    providers: dict[str, Provider]
    refused: dict[str, str]
    tried: list[tuple[str, str]]

    async def call(
        self, method: str, path: str, as_: str = "alice", **given: Any
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"authorization": as_}
            answer = await client.request(method, path, headers=headers, **given)
        for secret in (CANARY, OTHER, SYSTEM):
            assert secret not in answer.text
        return answer

    async def entries(self, as_: str = "alice") -> dict[str, Any]:
        answer = await self.call("GET", PATH, as_)
        assert answer.status_code == 200, answer.text
        return {entry["provider"]: entry for entry in answer.json()}

    async def patch(self, body: Any, path: str = PATH, as_: str = "alice") -> httpx.Response:
        return await self.call("PATCH", path, as_, json=body)

    def opened(self, user: str, provider: str) -> str:
        keys = self.store.of(user)
        assert keys is not None
        base_url = self.providers[provider].base_url or ""
        return keys.open(provider, base_url).get_secret_value()


@pytest.fixture
async def door(engine: AsyncEngine) -> AsyncIterator[Door]:
    store = OwnKeyStore(engine, await Vault.open(engine, SecretStr("encryption key")))
    await store.start()
    providers = configured()
    refused: dict[str, str] = {}
    tried: list[tuple[str, str]] = []

    async def probe(provider: str, secret: SecretStr) -> str | None:
        tried.append((provider, secret.get_secret_value()))
        return refused.get(provider)

    config = SimpleNamespace(providers=providers)
    live = cast("Live", SimpleNamespace(current=SimpleNamespace(auth=Auth(), config=config)))
    app = Starlette(routes=OwnKeysDoor(Api(live), lambda: store, live, probe).routes())
    yield Door(RequestId(Errors(app.router)), store, providers, refused, tried)
    await store.stop()


EMPTY = {"is_set": False, "masked_key": None, "created_at": None, "updated_at": None}


async def test_before_anything_is_saved(door: Door) -> None:
    assert await door.entries() == {
        "openai": {"provider": "openai", "source": "system"} | EMPTY,
        "anthropic": {"provider": "anthropic", "source": "none"} | EMPTY,
        "router": {"provider": "router", "source": "none"} | EMPTY,
    }


async def test_a_keys_life(door: Door) -> None:
    made = await door.patch({"openai_api_key": CANARY, "keys": {"anthropic": OTHER}})
    assert made.status_code == 200
    assert [(e["provider"], e["source"], e["masked_key"]) for e in made.json()] == [
        ("openai", "user", SHOWN),
        ("anthropic", "user", "sk-…abcd"),
        ("router", "none", None),
    ]
    assert door.opened("alice", "openai") == CANARY
    assert door.opened("alice", "anthropic") == OTHER
    entry = (await door.entries())["openai"]
    assert entry["is_set"] is True
    assert entry["created_at"] == entry["updated_at"] > 1_700_000_000_000
    assert (await door.patch({"openai_api_key": None})).status_code == 200
    assert (await door.entries())["openai"]["source"] == "system"
    gone = await door.call("DELETE", PATH)
    assert (gone.status_code, gone.content) == (204, b"")
    assert door.store.of("alice") is None


async def test_one_is_removed_or_all(door: Door) -> None:
    await door.patch({"openai_api_key": CANARY, "anthropic_api_key": OTHER})
    one = await door.call("DELETE", PATH, params={"provider": "openai"})
    assert one.status_code == 204
    assert [name for name, e in (await door.entries()).items() if e["is_set"]] == ["anthropic"]
    again = await door.call("DELETE", PATH, params={"provider": "openai"})
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
    for wrong in ({"provider": ""}, {"providr": "openai"}):
        answer = await door.call("DELETE", PATH, params=wrong)
        assert answer.status_code == 422, wrong
    assert (await door.entries())["anthropic"]["is_set"] is True
    for _ in range(2):
        assert (await door.call("DELETE", PATH)).status_code == 204


async def test_everybody_has_only_the_own_ones(door: Door) -> None:
    await door.patch({"openai_api_key": CANARY})
    await door.patch({"openai_api_key": OTHER}, as_="bob")
    assert (await door.entries("bob"))["openai"]["masked_key"] == "sk-…abcd"
    assert (await door.entries("root"))["openai"]["is_set"] is False
    await door.call("DELETE", PATH, "bob")
    await door.call("DELETE", PATH, "root")
    assert door.opened("alice", "openai") == CANARY


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("PATCH", PATH),
        ("DELETE", PATH),
        ("GET", STATUS),
        ("PATCH", V2),
        ("DELETE", V2),
    ],
)
@pytest.mark.parametrize(
    ("caller", "status", "code"),
    [
        ("master", 404, "not_found"),
        ("service", 403, "forbidden"),
        ("key", 403, "forbidden"),
        ("nobody", 403, "forbidden"),
        ("", 401, "invalid_api_key"),
    ],
)
async def test_who_may_not(
    door: Door, method: str, path: str, caller: str, status: int, code: str
) -> None:
    await door.patch({"openai_api_key": CANARY})
    given = {"json": {"openai_api_key": None}} if method == "PATCH" else {}
    answer = await door.call(method, path, caller, **given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert door.opened("alice", "openai") == CANARY


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"opena_api_key": CANARY}, "opena_api_key"),
        ({"opena_api_key": None}, "opena_api_key"),
        ({"keys": {"opena": CANARY}}, "keys.opena"),
        ({"openai": CANARY}, "openai"),
        ({"_api_key": CANARY}, "_api_key"),
        ({"openai_api_key": ""}, "openai_api_key"),
        ({"openai_api_key": "  "}, "openai_api_key"),
        ({"openai_api_key": CANARY + "\n"}, "openai_api_key"),
        ({"openai_api_key": CANARY + "\r\nx-evil: 1"}, "openai_api_key"),
        ({"openai_api_key": " " + CANARY}, "openai_api_key"),
        ({"openai_api_key": CANARY + "é"}, "openai_api_key"),
        ({"openai_api_key": CANARY + "\x7f"}, "openai_api_key"),
        ({"openai_api_key": "x" * 4097}, "openai_api_key"),
        ({"openai_api_key": 5}, "openai_api_key"),
        ({"openai_api_key": [CANARY]}, "openai_api_key"),
        ({"keys": {"openai": {"a": CANARY}}}, "keys.openai"),
        ({"keys": CANARY}, "keys"),
        ({"openai_api_key": OTHER, "keys": {"openai": CANARY}}, "keys.openai"),
        ({"local_api_key": CANARY}, "local_api_key"),
        ({"signed_api_key": CANARY}, "signed_api_key"),
        ({"test": "perhaps"}, "test"),
    ],
)
async def test_what_is_refused(door: Door, body: Any, field: str) -> None:
    """The field is named, nothing of the rest is saved, and nothing that was given is repeated."""
    answer = await door.patch({"anthropic_api_key": OTHER} | body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (field, "invalid_value")
    assert field in error["message"]
    assert door.store.of("alice") is None


async def test_a_key_that_is_tried_first(door: Door) -> None:
    body = {"openai_api_key": CANARY, "anthropic_api_key": OTHER, "test": True}
    door.refused["anthropic"] = "anthropic says 401"
    answer = await door.patch(body)
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert (error["param"], error["code"]) == ("anthropic_api_key", "key_refused")
    assert "anthropic says 401" in error["message"]
    assert door.tried == [("openai", CANARY), ("anthropic", OTHER)]
    assert door.store.of("alice") is None
    door.refused.clear()
    assert (await door.patch(body)).status_code == 200
    assert door.opened("alice", "anthropic") == OTHER
    door.tried.clear()
    assert (await door.patch({"openai_api_key": None, "test": True})).status_code == 200
    assert (await door.patch({"openai_api_key": CANARY})).status_code == 200
    assert door.tried == []


async def test_a_provider_that_went_away(door: Door) -> None:
    """Its key is still shown, and can be removed."""
    await door.patch({"router_api_key": CANARY})
    del door.providers["router"]
    entry = (await door.entries())["router"]
    assert (entry["source"], entry["masked_key"]) == ("user", SHOWN)
    assert (await door.patch({"router_api_key": CANARY})).status_code == 422
    assert (await door.patch({"router_api_key": None})).status_code == 200
    assert "router" not in await door.entries()


async def test_the_older_api(door: Door) -> None:
    answer = await door.call("PATCH", V2, json={"anthropic_api_key": CANARY})
    assert answer.status_code == 200
    status = (await door.call("GET", STATUS)).json()
    assert status == answer.json()
    flat = {name: value for name, value in status.items() if name != "providers"}
    assert flat == {
        "has_anthropic_api_key": True,
        "anthropic_api_key": SHOWN,
        "has_openai_api_key": False,
        "openai_api_key": None,
        "has_google_api_key": False,
        "google_api_key": None,
        "has_router_api_key": False,
        "router_api_key": None,
    }
    assert [e["source"] for e in status["providers"]] == ["system", "user", "none"]
    assert door.opened("alice", "anthropic") == CANARY


async def test_removing_by_the_older_api(door: Door) -> None:
    await door.patch({"anthropic_api_key": CANARY, "openai_api_key": OTHER}, V2)
    assert (await door.patch({"google_api_key": None}, V2)).status_code == 200
    one = await door.call("DELETE", V2, params={"provider": "anthropic"})
    assert one.status_code == 200
    assert one.json()["has_anthropic_api_key"] is False
    assert one.json()["has_openai_api_key"] is True
    none = await door.call("DELETE", V2)
    assert none.status_code == 200
    assert none.json()["has_openai_api_key"] is False
    assert door.store.of("alice") is None


async def test_faults_by_the_older_api(door: Door) -> None:
    for body in ({"google_api_key": CANARY}, {"keys": {"openai": CANARY}}, {"keys": CANARY}):
        answer = await door.patch(body, V2)
        assert answer.status_code == 422, body
        assert answer.json()["error"]["param"] == next(iter(body))
        assert isinstance(answer.json()["detail"], str)
