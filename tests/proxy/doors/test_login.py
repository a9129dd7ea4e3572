"""Logging in and out, by every door, right and wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy.exc import OperationalError

from proxy.doors.login import AccessTokenRequest, LoggedIn, Login
from proxy.passwords import Cost, Passwords
from tests.proxy.doors.accounts import MASTER, PASSWORD, House
from tests.proxy.doors.accounts import house as built

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with built(tmp_path) as made:
        hashed = await made.passwords.hash(PASSWORD)
        await made.users.create("ann@corp.test", name="Ann", password_hash=hashed)
        await made.users.create("nopass@corp.test")
        off = await made.users.create("off@corp.test", password_hash=hashed)
        await made.users.change(off.id, {"is_active": False})
        yield made


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client


RIGHT = {"username": "ann@corp.test", "password": PASSWORD}


@pytest.mark.parametrize(
    "sent",
    [
        {"data": RIGHT},
        {"data": RIGHT | {"grant_type": "password", "scope": "", "client_id": ""}},
        {"json": RIGHT},
        {"json": {"email": " ANN@Corp.test", "password": PASSWORD}},
        {
            "content": b'{"username":"ann@corp.test","password":"%s"}' % PASSWORD.encode(),
            "headers": FORM,
        },
        {"content": b"username=ann%40corp.test&password=correct+horse%20battery"},
    ],
)
@pytest.mark.parametrize("path", ["/v2/login/access-token", "/api/v1/login"])
async def test_a_token_for_a_password(
    client: httpx.AsyncClient, house: House, path: str, sent: dict[str, Any]
) -> None:
    came = await client.post(path, **sent)
    assert came.status_code == 200, came.text
    said = came.json()
    assert (said["token_type"], said["expires_in"]) == ("bearer", 600)
    assert came.headers["cache-control"] == "no-store"
    bearer = {"authorization": f"Bearer {said['access_token']}"}
    client.cookies.clear()
    me = await client.get("/api/v1/users/me", headers=bearer)
    assert (me.status_code, me.json()["email"]) == (200, "ann@corp.test")
    if path == "/v2/login/access-token":
        assert set(said) == {"access_token", "token_type", "expires_in"}
        assert "set-cookie" not in came.headers
    else:
        user = house.users.by_email("ann@corp.test")
        assert user is not None
        assert said["user"] == {
            "id": user.id,
            "email": "ann@corp.test",
            "name": "Ann",
            "role": "user",
        }


@pytest.mark.parametrize(
    ("base", "headers", "secure"),
    [
        ("http://gate.test", {}, False),
        ("https://gate.test", {}, True),
        ("http://gate.test", {"x-forwarded-proto": "https"}, True),
        ("http://gate.test", {"origin": "https://gate.test"}, True),
        ("http://gate.test", {"origin": "http://gate.test"}, False),
    ],
)
async def test_the_cookie(house: House, base: str, headers: dict[str, str], secure: bool) -> None:
    async with house.client(base=base) as client:
        came = await client.post("/api/v1/login", json=RIGHT, headers=headers)
    morsel = SimpleCookie(came.headers["set-cookie"])["session"]
    assert morsel.value == came.json()["access_token"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "strict", "/")
    assert (morsel["max-age"], bool(morsel["secure"]), morsel["domain"]) == ("600", secure, "")


async def test_a_page_elsewhere_logs_nobody_in(client: httpx.AsyncClient) -> None:
    for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}):
        came = await client.post("/api/v1/login", data=RIGHT, headers=headers)
        assert (came.status_code, came.json()["error"]["code"]) == (403, "csrf")
        assert "set-cookie" not in came.headers


async def test_every_fault_sounds_the_same(client: httpx.AsyncClient, house: House) -> None:
    answers = set()
    for email, password in (
        ("ann@corp.test", "wrong"),
        ("nobody@corp.test", PASSWORD),
        ("off@corp.test", PASSWORD),
        ("nopass@corp.test", PASSWORD),
        ("ann@corp.test\x00", PASSWORD),
    ):
        came = await client.post("/api/v1/login", json={"email": email, "password": password})
        assert came.status_code == 401
        assert came.json()["error"]["code"] == "invalid_credentials"
        assert "set-cookie" not in came.headers
        answers.add(came.content)
    assert len(answers) == 1


async def test_every_fault_takes_a_hash(
    client: httpx.AsyncClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    real = Passwords.verify

    async def seen(self: Passwords, password: str, stored: str | None) -> Any:
        asked.append(stored is None)
        return await real(self, password, stored)

    monkeypatch.setattr(Passwords, "verify", seen)
    for email in ("ann", "nobody", "off", "nopass"):
        body = {"email": f"{email}@corp.test", "password": "wrong"}
        assert (await client.post("/api/v1/login", json=body)).status_code == 401
    assert asked == [False, True, False, True]


async def test_the_seeds_error_shape(client: httpx.AsyncClient) -> None:
    came = await client.post("/v2/login/access-token", data=RIGHT | {"password": "wrong"})
    assert came.status_code == 401
    assert isinstance(came.json()["detail"], str)
    assert came.json()["error"]["code"] == "invalid_credentials"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{}", 422),
        (b"username=ann", 422),
        (b'{"username": 5, "password": "x"}', 422),
        (b'{"username": "a", "password": null}', 422),
        (b"username=a&username=b&password=x", 422),
        (b"username=%ff&password=x", 422),
        (b"username=%zz&password=x", 422),
        (b"username=%2&password=x", 422),
        (b"username\xff=a&password=x", 422),
        (b"username=a&password", 422),
        (b"&&", 422),
        (b"=x&username=a&password=b", 422),
        (b"username=a&password=" + b"x" * 1025, 422),
        (b"username=" + b"a" * 255 + b"&password=x", 422),
        (b'{"username": "a"', 400),
        (b"[1]", 422),
        (b'{"username":"\\ud800","password":"x"}', 400),
        (b"username=a&password=" + b"x" * 20_000, 413),
    ],
)
@pytest.mark.parametrize("path", ["/v2/login/access-token", "/api/v1/login"])
async def test_bodies_that_do_not_do(
    client: httpx.AsyncClient, path: str, content: bytes, status: int
) -> None:
    came = await client.post(path, content=content, headers=FORM)
    assert came.status_code == status, came.text


async def test_a_password_is_not_repeated(client: httpx.AsyncClient) -> None:
    for body in (
        {"email": "a" * 300, "password": "hunter2"},
        {"email": "a", "password": "hunter2" * 200},
    ):
        came = await client.post("/api/v1/login", json=body)
        assert came.status_code == 422
        assert "hunter2" not in came.text


async def test_five_wrong_ones_a_minute(client: httpx.AsyncClient, house: House) -> None:
    wrong = RIGHT | {"password": "wrong"}
    for _ in range(5):
        assert (await client.post("/v2/login/access-token", data=wrong)).status_code == 401
    for path in ("/v2/login/access-token", "/api/v1/login"):
        came = await client.post(path, data=RIGHT)
        assert (came.status_code, came.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(came.headers["retry-after"]) > 0
    async with house.client("192.0.2.77") as elsewhere:
        assert (await elsewhere.post("/api/v1/login", data=RIGHT)).status_code == 200


async def test_right_ones_do_not_count(client: httpx.AsyncClient) -> None:
    for _ in range(12):
        assert (await client.post("/api/v1/login", json=RIGHT)).status_code == 200


async def test_an_old_hash_is_renewed(client: httpx.AsyncClient, house: House) -> None:
    before = Passwords(Cost(32, 1, 1))
    user = await house.users.create("old@corp.test", password_hash=await before.hash(PASSWORD))
    before.close()
    await house.token("old@corp.test")
    stored = house.users.get(user.id)
    assert stored is not None
    assert stored.password_hash is not None
    assert stored.password_hash.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert (await house.token("old@corp.test"))["authorization"]


async def test_who_is_right_is_in_though_the_hash_stays_old(
    client: httpx.AsyncClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Passwords(Cost(32, 1, 1))
    hashed = await before.hash(PASSWORD)
    user = await house.users.create("old@corp.test", password_hash=hashed)
    before.close()

    async def away(*_: Any) -> None:
        raise OperationalError("update", {}, Exception("away"))

    monkeypatch.setattr(house.users, "renew", away)
    assert await house.token("old@corp.test")
    stored = house.users.get(user.id)
    assert stored is not None
    assert stored.password_hash == hashed


async def test_logging_out_with_the_cookie(client: httpx.AsyncClient) -> None:
    token = (await client.post("/api/v1/login", json=RIGHT)).json()["access_token"]
    assert (await client.get("/api/v1/users/me")).status_code == 200
    refused = await client.post("/api/v1/logout", headers={"origin": "https://evil.test"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf")
    assert (await client.get("/api/v1/users/me")).status_code == 200
    came = await client.post("/api/v1/logout")
    assert came.status_code == 204
    morsel = SimpleCookie(came.headers["set-cookie"])["session"]
    assert (morsel.value, morsel["max-age"], morsel["path"]) == ("", "0", "/")
    assert (await client.get("/api/v1/users/me")).status_code == 401
    stolen = {"authorization": f"Bearer {token}"}
    assert (await client.get("/api/v1/users/me", headers=stolen)).status_code == 401


async def test_a_form_of_another_site_takes_no_cookie_away(client: httpx.AsyncClient) -> None:
    """Its request comes without the cookie, so that there is no session to be seen."""
    evil = {"origin": "https://evil.test", "sec-fetch-site": "cross-site"}
    refused = await client.post("/api/v1/logout", headers=evil)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf")
    assert "set-cookie" not in refused.headers


async def test_logging_out_with_a_bearer(client: httpx.AsyncClient, house: House) -> None:
    one, other = await house.token("ann@corp.test"), await house.token("ann@corp.test")
    assert (await client.post("/api/v1/logout", headers=one)).status_code == 204
    assert (await client.post("/api/v1/logout", headers=one)).status_code == 204
    assert (await client.get("/api/v1/users/me", headers=one)).status_code == 401
    assert (await client.get("/api/v1/users/me", headers=other)).status_code == 200


@pytest.mark.parametrize("headers", [{}, MASTER, {"cookie": "session=eyJ.a.b"}, {"x-api-key": "x"}])
async def test_there_is_nothing_to_log_out_of(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/api/v1/logout", headers=headers)).status_code == 204
    assert (await client.get("/api/v1/users/me", headers=MASTER)).status_code == 200


async def test_nothing_of_it_is_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await client.post("/api/v1/login", json=RIGHT)
    await client.post("/api/v1/login", json=RIGHT | {"password": "hunter2-wrong"})
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("turnout"))
    assert "ann@" not in caplog.text
    assert "hunter2" not in caplog.text
    assert PASSWORD not in caplog.text + ours
    assert "eyJ" not in caplog.text


async def test_garbage_is_no_fault_of_ours(house: House) -> None:
    loop = asyncio.get_running_loop()

    async def tried(path: str, content: bytes, cookie: str) -> int:
        async with house.client() as client:
            headers = {"cookie": cookie} if cookie else {}
            return (await client.post(path, content=content, headers=headers)).status_code

    form = st.lists(
        st.sampled_from(["username=", "password=", "%", "&", "a", "=", "%41", "\x00", "{"])
    )

    @settings(max_examples=500)
    @given(
        st.sampled_from(["/v2/login/access-token", "/api/v1/login", "/api/v1/logout"]),
        st.one_of(st.binary(max_size=200), form.map(lambda parts: "".join(parts).encode())),
        st.one_of(st.just(""), st.from_regex(r"session=(eyJ)?[!-~]{0,20}", fullmatch=True)),
    )
    def each(path: str, content: bytes, cookie: str) -> None:
        work = tried(path, content, cookie)
        assert asyncio.run_coroutine_threadsafe(work, loop).result(30) < 500

    await asyncio.to_thread(each)


# With the master key.


KEY = {"key": "sk-master-secret"}


@pytest.mark.parametrize(
    "sent", [{"json": KEY}, {"data": KEY}, {"json": KEY | {"grant_type": "x"}}]
)
async def test_the_master_key_logs_in(client: httpx.AsyncClient, sent: dict[str, Any]) -> None:
    came = await client.post("/api/v1/login", **sent)
    assert came.status_code == 200, came.text
    said = came.json()
    assert set(said) == {"access_token", "token_type", "expires_in", "user"}
    assert said["user"] == {"id": "master", "email": None, "name": "master key", "role": "admin"}
    assert (said["token_type"], said["expires_in"]) == ("bearer", 600)
    assert came.headers["cache-control"] == "no-store"
    morsel = SimpleCookie(came.headers["set-cookie"])["session"]
    assert morsel.value == said["access_token"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "strict", "/")
    assert (await client.get("/api/v1/users")).status_code == 200  # the cookie is an admin's
    client.cookies.clear()
    bearer = {"authorization": f"Bearer {said['access_token']}"}
    assert (await client.get("/api/v1/users", headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    "key",
    ["hunter2", "sk-master-secre", "sk-master-secrets", "SK-MASTER-SECRET", "svc-one", "é", " "],
)
async def test_another_key_does_not(client: httpx.AsyncClient, key: str) -> None:
    came = await client.post("/api/v1/login", json={"key": key})
    assert (came.status_code, came.json()["error"]["code"]) == (401, "invalid_credentials")
    assert "set-cookie" not in came.headers
    assert key not in came.text or len(key) < 3


@pytest.mark.parametrize(
    "body",
    [
        KEY | {"email": "ann@corp.test"},
        KEY | {"username": "ann@corp.test"},
        KEY | {"password": PASSWORD},
        KEY | RIGHT,
        {"key": None},
        {"key": ""},
        {"key": 5},
        {"key": ["sk-master-secret"]},
        {"key": "x" * 1025},
    ],
)
async def test_a_key_comes_alone_and_is_a_text(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    came = await client.post("/api/v1/login", json=body)
    assert (came.status_code, came.json()["error"]["param"]) == (422, "key")
    assert "sk-master-secret" not in came.text
    assert "set-cookie" not in came.headers


async def test_five_wrong_keys_a_minute(client: httpx.AsyncClient, house: House) -> None:
    for _ in range(5):
        assert (await client.post("/api/v1/login", json={"key": "wrong"})).status_code == 401
    came = await client.post("/api/v1/login", json=KEY)
    assert (came.status_code, came.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (await client.post("/api/v1/login", json=RIGHT)).status_code == 200
    async with house.client("192.0.2.77") as elsewhere:
        assert (await elsewhere.post("/api/v1/login", json=KEY)).status_code == 200


async def test_a_page_elsewhere_logs_no_master_in(client: httpx.AsyncClient) -> None:
    for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}):
        came = await client.post("/api/v1/login", json=KEY, headers=headers)
        assert (came.status_code, came.json()["error"]["code"]) == (403, "csrf")
        assert "set-cookie" not in came.headers


async def test_the_masters_session_ends_by_logging_out(client: httpx.AsyncClient) -> None:
    token = (await client.post("/api/v1/login", json=KEY)).json()["access_token"]
    other = (await client.post("/api/v1/login", json=KEY)).json()["access_token"]
    client.cookies.clear()
    by_cookie = {"cookie": f"session={token}"}
    evil = await client.post("/api/v1/logout", headers=by_cookie | {"origin": "https://evil.test"})
    assert (evil.status_code, evil.json()["error"]["code"]) == (403, "csrf")
    assert (await client.get("/api/v1/users", headers=by_cookie)).status_code == 200
    ended = {"authorization": f"Bearer {token}"}
    assert (await client.post("/api/v1/logout", headers=ended)).status_code == 204
    assert (await client.get("/api/v1/users", headers=ended)).status_code == 401
    assert (await client.get("/api/v1/users", headers=by_cookie)).status_code == 401
    alive = {"authorization": f"Bearer {other}"}
    assert (await client.get("/api/v1/users", headers=alive)).status_code == 200
    assert (await client.get("/api/v1/users", headers=MASTER)).status_code == 200


async def test_a_master_key_is_not_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await client.post("/api/v1/login", json=KEY)
    await client.post("/api/v1/login", json={"key": "hunter2-wrong"})
    assert "hunter2" not in caplog.text
    assert "sk-master-secret" not in caplog.text
    assert "eyJ" not in caplog.text


async def test_who_is_in(client: httpx.AsyncClient, house: House) -> None:
    user = house.users.by_email("ann@corp.test")
    assert user is not None
    made = await house.keys.create(user_id=user.id)
    account = {"id": user.id, "email": "ann@corp.test", "name": "Ann"}
    for headers, role, who, key in (
        (MASTER, "admin", None, None),
        ({"x-service-key": "svc-one"}, "service", None, None),
        (await house.token("ann@corp.test"), "user", account, None),
        ({"authorization": f"Bearer {made.secret}"}, "key", None, made.id),
    ):
        came = await client.get("/api/v1/session", headers=headers)
        assert came.status_code == 200, came.text
        expected = {"role": role, "user": who, "key_id": key, "version": version("turnout")}
        assert came.json() == expected
        assert came.headers["cache-control"] == "no-store"
    assert (await client.get("/api/v1/session")).status_code == 401
    await client.post("/api/v1/login", json=KEY)
    said = (await client.get("/api/v1/session")).json()
    assert (said["role"], said["user"], said["key_id"]) == ("admin", None, None)


def test_the_models_have_schemas() -> None:
    assert set(TypeAdapter(Login).json_schema()["properties"]) == {"email", "password"}
    assert set(TypeAdapter(AccessTokenRequest).json_schema()["properties"]) == {
        "username",
        "password",
    }
    assert "user" in TypeAdapter(LoggedIn).json_schema(mode="serialization")["properties"]
