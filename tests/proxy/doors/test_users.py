"""Accounts over HTTP: the admin's, and everybody's own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.errors import DatabaseUnavailable
from proxy.types import Role
from tests.proxy.doors.accounts import MASTER, PASSWORD, SERVICE, House
from tests.proxy.doors.accounts import house as built

USERS = "/api/v1/users"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with built(tmp_path) as made:
        yield made


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client


async def made(client: httpx.AsyncClient, email: str = "ann@corp.test", **over: Any) -> Any:
    body = {"email": email, "password": PASSWORD} | over
    came = await client.post(USERS, json=body, headers=MASTER)
    assert came.status_code == 201, came.text
    return came.json()


async def test_a_users_life(client: httpx.AsyncClient, house: House) -> None:
    limits = {"rpm": 5, "budget": {"amount": 2.0, "per": "day"}}
    user = await made(client, "Ann@corp.test", name="Ann", limits=limits)
    assert user == {
        "id": user["id"],
        "email": "ann@corp.test",
        "name": "Ann",
        "role": "user",
        "is_active": True,
        "limits": limits,
        "external_id": None,
        "created_at": user["created_at"],
        "updated_at": user["created_at"],
    }
    one = f"{USERS}/{user['id']}"
    assert (await client.get(one, headers=MASTER)).json() == user
    bearer = await house.token("ann@corp.test")
    assert (await client.get(f"{USERS}/me", headers=bearer)).json() == user
    change = {"email": "bea@corp.test", "name": None, "limits": {"rpm": None, "tpm": 9}}
    came = await client.patch(one, json=change, headers=MASTER)
    assert came.status_code == 200, came.text
    assert came.json()["limits"] == limits | {"rpm": None, "tpm": 9}
    assert (came.json()["email"], came.json()["name"]) == ("bea@corp.test", None)
    assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 200
    came = await client.patch(one, json={"limits": None}, headers=MASTER)
    assert came.json()["limits"] == {}
    assert (await client.delete(one, headers=MASTER)).status_code == 204
    assert house.ended == [user["id"]]
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        came = await client.request(method, one, headers=MASTER, json=body)
        assert (came.status_code, came.json()["error"]["code"]) == (404, "not_found")
    assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 401


async def test_the_master_key_is_nobody(client: httpx.AsyncClient) -> None:
    came = await client.get(f"{USERS}/me", headers=MASTER)
    assert came.json() == {"id": None, "role": "admin", "email": None}
    body = {"old": PASSWORD, "new": PASSWORD + "!"}
    assert (await client.post(f"{USERS}/me/password", json=body, headers=MASTER)).status_code == 409


async def test_an_email_is_one_accounts(client: httpx.AsyncClient) -> None:
    await made(client)
    bea = await made(client, "bea@corp.test")
    body = {"email": "ANN@corp.test", "password": PASSWORD}
    assert (await client.post(USERS, json=body, headers=MASTER)).status_code == 409
    one = f"{USERS}/{bea['id']}"
    came = await client.patch(one, json={"email": "ann@corp.test"}, headers=MASTER)
    assert came.status_code == 409


async def test_pages(client: httpx.AsyncClient) -> None:
    for name in "cab":
        await made(client, f"{name}@corp.test")
    came = await client.get(USERS, headers=MASTER, params={"limit": 2, "offset": 1})
    assert [user["email"] for user in came.json()["users"]] == ["a@corp.test", "b@corp.test"]
    assert came.json()["total"] == 3
    came = await client.get(USERS, headers=MASTER, params={"email": "C@"})
    assert [user["email"] for user in came.json()["users"]] == ["c@corp.test"]
    for wrong in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"x": 1}):
        came = await client.get(USERS, headers=MASTER, params=wrong)
        assert (came.status_code, came.json()["error"]["param"]) == (422, next(iter(wrong)))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "email"),
        ({"email": "ann"}, "email"),
        ({"email": "a@b", "password": "short"}, "password"),
        ({"email": "a@b", "password": "password123"}, "password"),
        ({"email": "ann@corp.test", "password": "ann@corp.test"}, "password"),
        ({"email": "a@b", "password": 5}, "password"),
        ({"email": "a@b", "role": "key"}, "role"),
        ({"email": "a@b", "role": "service"}, "role"),
        ({"email": "a@b", "name": "x\x00"}, "name"),
        ({"email": "a@b", "name": "x" * 201}, "name"),
        ({"email": "a@b", "limits": {"rpm": -1}}, "limits.rpm"),
        ({"email": "a@b", "limits": 5}, "limits"),
        ({"email": "a@b", "id": "user_1"}, "id"),
        ({"email": "a@b", "external_id": "x"}, "external_id"),
        ({"email": "a@b", "tokens_after": 0}, "tokens_after"),
    ],
)
async def test_what_is_at_fault_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    came = await client.post(USERS, json=body, headers=MASTER)
    assert (came.status_code, came.json()["error"]["param"]) == (422, param)
    assert (await client.get(USERS, headers=MASTER)).json()["total"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"email": None},
        {"password": None},
        {"role": None},
        {"is_active": None},
        {"password": "short"},
        {"password": "ann@corp.test"},
        {"role": "key"},
        {"password_hash": "$x"},
        {"limits": {"x": 1}},
    ],
)
async def test_changes_that_do_not_do(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    user = await made(client)
    one = f"{USERS}/{user['id']}"
    assert (await client.patch(one, json=change, headers=MASTER)).status_code == 422
    assert (await client.get(one, headers=MASTER)).json() == user


@pytest.mark.parametrize(
    "change",
    [{"password": "another horse"}, {"role": "admin"}, {"is_active": False}],
)
async def test_what_ends_tokens(
    client: httpx.AsyncClient, house: House, change: dict[str, Any]
) -> None:
    user = await made(client)
    bearer = await house.token("ann@corp.test")
    await client.patch(f"{USERS}/{user['id']}", json=change, headers=MASTER)
    assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 401


async def test_tokens_are_ended_by_hand(client: httpx.AsyncClient, house: House) -> None:
    user = await made(client)
    bearer = await house.token("ann@corp.test")
    one = f"{USERS}/{user['id']}/revoke-tokens"
    assert (await client.post(one, headers=MASTER)).status_code == 204
    assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 401
    assert await house.token("ann@corp.test")
    came = await client.post(f"{USERS}/user_none/revoke-tokens", headers=MASTER)
    assert came.status_code == 404


class TestOwnPassword:
    async def test_it_changes(self, client: httpx.AsyncClient, house: House) -> None:
        await made(client)
        bearer = await house.token("ann@corp.test")
        body = {"old": PASSWORD, "new": "another horse"}
        came = await client.post(f"{USERS}/me/password", json=body, headers=bearer)
        assert came.status_code == 204
        assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 401
        assert await house.token("ann@corp.test", "another horse")
        old = {"email": "ann@corp.test", "password": PASSWORD}
        assert (await client.post("/api/v1/login", json=old)).status_code == 401

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"old": "wrong horse", "new": "another horse"}, "old"),
            ({"old": PASSWORD, "new": "short"}, "new"),
            ({"old": PASSWORD, "new": "ann@corp.test"}, "new"),
            ({"old": PASSWORD}, "new"),
            ({"new": "another horse"}, "old"),
        ],
    )
    async def test_or_not(
        self, client: httpx.AsyncClient, house: House, body: dict[str, str], param: str
    ) -> None:
        await made(client)
        bearer = await house.token("ann@corp.test")
        came = await client.post(f"{USERS}/me/password", json=body, headers=bearer)
        assert (came.status_code, came.json()["error"]["param"]) == (422, param)
        assert not any(secret in came.text for secret in body.values())
        assert await house.token("ann@corp.test")

    async def test_guesses_are_counted(self, client: httpx.AsyncClient, house: House) -> None:
        await made(client)
        bearer = await house.token("ann@corp.test")
        body = {"old": "wrong horse", "new": "another horse"}
        came = [
            (await client.post(f"{USERS}/me/password", json=body, headers=bearer)).status_code
            for _ in range(6)
        ]
        assert came == [422] * 5 + [429]

    async def test_an_account_without_one(self, client: httpx.AsyncClient, house: House) -> None:
        user = await made(client)
        bearer = await house.token("ann@corp.test")
        stored = house.users.get(user["id"])
        assert stored is not None
        await house.users.renew(stored, "")
        async with house.users._engine.begin() as connection:
            await connection.exec_driver_sql(
                "UPDATE users SET password_hash = NULL, updated_at = updated_at + 1"
            )
        await house.users.refresh()
        body = {"old": PASSWORD, "new": "another horse"}
        came = await client.post(f"{USERS}/me/password", json=body, headers=bearer)
        assert came.status_code == 409


class TestTheLastAdmin:
    @pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}, None])
    async def test_does_not_shut_the_door(
        self, client: httpx.AsyncClient, house: House, change: dict[str, Any] | None
    ) -> None:
        user = await made(client, role="admin")
        bearer = await house.token("ann@corp.test")
        one = f"{USERS}/{user['id']}"
        method = "DELETE" if change is None else "PATCH"
        came = await client.request(method, one, json=change, headers=bearer)
        assert (came.status_code, came.json()["error"]["code"]) == (409, "conflict")
        await made(client, "bea@corp.test", role="admin")
        came = await client.request(method, one, json=change, headers=bearer)
        assert came.status_code in (200, 204)

    async def test_the_master_key_may(self, client: httpx.AsyncClient) -> None:
        user = await made(client, role="admin")
        assert (await client.delete(f"{USERS}/{user['id']}", headers=MASTER)).status_code == 204


async def test_who_may_call(client: httpx.AsyncClient, house: House) -> None:
    user = await made(client)
    await made(client, "boss@corp.test", role="admin")
    key = await house.keys.create(user_id=user["id"])
    callers = {
        "nobody": {},
        "user": await house.token("ann@corp.test"),
        "admin": await house.token("boss@corp.test"),
        "key": {"authorization": f"Bearer {key.secret}"},
        "service": SERVICE,
        "master": MASTER,
    }
    for method, path in (
        ("GET", USERS),
        ("POST", USERS),
        ("GET", f"{USERS}/user_none"),
        ("PATCH", f"{USERS}/user_none"),
        ("DELETE", f"{USERS}/user_none"),
        ("POST", f"{USERS}/user_none/revoke-tokens"),
        ("GET", f"{USERS}/me"),
        ("POST", f"{USERS}/me/password"),
    ):
        for name, headers in callers.items():
            body = {} if method in ("POST", "PATCH") else None
            came = await client.request(method, path, headers=headers, json=body)
            people = {"admin", "master"} | ({"user"} if "/me" in path else set())
            expected = 401 if name == "nobody" else 403
            if name in people:
                assert came.status_code not in (401, 403), (name, method, path)
            else:
                assert came.status_code == expected, (name, method, path)


async def test_roles_are_what_is_stored(client: httpx.AsyncClient, house: House) -> None:
    user = await made(client, role="admin")
    stored = house.users.get(user["id"])
    assert stored is not None
    assert stored.role is Role.ADMIN
    assert stored.password_hash is not None
    assert PASSWORD not in stored.password_hash


async def test_a_removal_that_failed_can_be_repeated(
    client: httpx.AsyncClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await made(client)
    one, bearer = f"{USERS}/{user['id']}", await house.token("ann@corp.test")
    with monkeypatch.context() as broken:

        async def away(*_: Any) -> bool:
            raise DatabaseUnavailable("away")

        broken.setattr(house.users, "remove", away)
        assert (await client.delete(one, headers=MASTER)).status_code == 503
    assert house.ended == [user["id"]]
    assert (await client.get(f"{USERS}/me", headers=bearer)).status_code == 401
    assert (await client.delete(one, headers=MASTER)).status_code == 204
    assert house.ended == [user["id"]] * 2
    assert (await client.get(one, headers=MASTER)).status_code == 404
