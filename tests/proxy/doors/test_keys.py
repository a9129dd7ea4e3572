"""Virtual keys over HTTP: what may be said of one, and whose keys are whose."""

import time
from pathlib import Path

import pytest
from starlette.requests import Request

from proxy.allowance import own_limits
from proxy.doors.api import Asked, fault_at, validated
from proxy.doors.keys import KeyChange, KeysDoor, NewKeyBody, _entry
from proxy.errors import Conflict, Forbidden, NotFound, Unprocessable
from proxy.keys import KeyRow, KeyStore
from proxy.types import OwnCache, Principal, Role
from tests.e2e.gateway import Gateway, one_upstream, running
from tests.fakes.upstream import Upstream

FAULT = fault_at("/api/v1/keys")
CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "x"}]}


def test_a_wanted_key() -> None:
    body = {
        "name": "n",
        "models": ["a"],
        "expires": "1h",
        "user_id": "u",
        "limits": {"rpm": 5, "tpm": None},
        "tags": ["x", "y"],
        "cache": {"semantic": False},
    }
    wanted = validated(NewKeyBody, body, FAULT).fields()
    expires_at = wanted.pop("expires_at")
    assert abs(expires_at / 1000 - time.time() - 3600) < 5
    assert wanted == {
        "name": "n",
        "models": ("a",),
        "user_id": "u",
        "limits": own_limits({"rpm": 5, "tpm": None}),
        "tags": ("x", "y"),
        "cache": OwnCache(None, False),
    }
    assert validated(NewKeyBody, {}, FAULT).fields() == {}


def test_null_is_none() -> None:
    body = dict.fromkeys(("name", "models", "expires", "limits", "tags", "cache"))
    assert validated(KeyChange, body, FAULT).fields() == {
        "name": None,
        "models": None,
        "expires_at": None,
        "limits": None,
        "tags": (),
        "cache": None,
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"x": 1}, "x"),
        ({"name": 1}, "name"),
        ({"models": "a"}, "models"),
        ({"models": [1]}, "models.0"),
        ({"expires": "?"}, "expires"),
        ({"tags": "a"}, "tags"),
        ({"tags": [1]}, "tags.0"),
        ({"cache": True}, "cache"),
        ({"cache": {"enabled": "yes"}}, "cache.enabled"),
        ({"cache": {"ttl": 1}}, "cache.ttl"),
        ({"limits": 5}, "limits"),
        ({"limits": {"rpm": "5"}}, "limits.rpm"),
        ({"limits": {"budget": {"amount": -1, "per": "day"}}}, "limits.budget"),
        ({"limits": {"budget": {"amount": 1, "per": "year"}}}, "limits.budget.per"),
    ],
)
def test_what_is_at_fault_is_named(body: dict[str, object], param: str) -> None:
    for known in (NewKeyBody, KeyChange):
        with pytest.raises(Unprocessable) as caught:
            validated(known, body, FAULT).fields()
        assert caught.value.param == param


def test_an_owner_does_not_change() -> None:
    with pytest.raises(Unprocessable) as caught:
        validated(KeyChange, {"user_id": "u"}, FAULT)
    assert caught.value.param == "user_id"


def test_a_key_as_it_is_shown() -> None:
    own = own_limits({"rpm": 5, "budget": 2})
    row = KeyRow("key_1", "n", "d", ("a",), "u", 1, 2, 3, None, own, ("x",), OwnCache(True))
    assert _entry(row) == {
        "id": "key_1",
        "name": "n",
        "models": ["a"],
        "user_id": "u",
        "created_at": 1,
        "expires_at": 3,
        "revoked_at": None,
        "limits": {"rpm": 5, "budget": {"amount": 2.0, "per": "month"}},
        "tags": ["x"],
        "cache": {"enabled": True, "semantic": None},
    }


@pytest.fixture
def store(engine: object) -> KeyStore:
    return KeyStore(engine, b"d" * 32)  # type: ignore[arg-type]


def asked(body: object, user: str | None, id: str = "") -> Asked:
    role = Role.ADMIN if user is None else Role.USER
    request = Request({"type": "http", "path_params": {"id": id}})
    return Asked(Principal(role, user_id=user), request, body, None)


async def test_a_user_has_the_own_keys_only(store: KeyStore) -> None:
    door = KeysDoor(None, lambda: store)  # type: ignore[arg-type]
    mine = await store.create(user_id="a")
    theirs = await store.create(user_id="b")
    listed = (await door.list(asked(None, "a"))).body
    assert mine.id.encode() in listed
    assert theirs.id.encode() not in listed
    everything = (await door.list(asked(None, None))).body
    assert mine.id.encode() in everything
    assert theirs.id.encode() in everything
    for act in (door.show, door.revoke, door.rotate):
        with pytest.raises(NotFound):
            await act(asked(None, "a", theirs.id))
    with pytest.raises(NotFound):
        await door.change(asked(KeyChange(name="x"), "a", theirs.id))
    with pytest.raises(Unprocessable):
        await door.create(asked(NewKeyBody(user_id="b"), "a"))
    for body, act in ((NewKeyBody(limits={"rpm": 9}), door.create), (KeyChange(limits={}), None)):
        with pytest.raises(Forbidden):
            await (act or door.change)(asked(body, "a", mine.id))
    made = await door.create(asked(NewKeyBody(name="n"), "a"))
    assert b'"user_id":"a"' in made.body


async def test_a_user_has_so_many_keys_and_no_more(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.doors.keys.MOST_OWN", 2)
    door = KeysDoor(None, lambda: store)  # type: ignore[arg-type]
    first = await store.create(user_id="a")
    await store.create(user_id="a")
    await store.create(user_id="b")
    with pytest.raises(Conflict):
        await door.create(asked(NewKeyBody(), "a"))
    await store.revoke(first.id)
    assert (await door.create(asked(NewKeyBody(), "a"))).status_code == 201


async def test_a_user_without_an_id_has_no_keys(store: KeyStore) -> None:
    """Were the id ever lost, that may not be everybody's keys."""
    await store.create()
    door = KeysDoor(None, lambda: store)  # type: ignore[arg-type]
    request = Request({"type": "http", "path_params": {}})
    nobody = Asked(Principal(Role.USER), request, None, None)
    assert (await door.list(nobody)).body == b"[]"


async def test_a_key_gets_another_secret(tmp_path: Path) -> None:
    async with Upstream() as up, running(tmp_path, one_upstream(up.base_url)) as gateway:
        [row] = (await gateway.call("GET", "/api/v1/keys")).json
        assert (await gateway.post(CHAT)).status == 200
        made = await gateway.call("POST", f"/api/v1/keys/{row['id']}/rotate")
        assert (made.status, made.json["id"]) == (200, row["id"])
        assert (await gateway.post(CHAT)).status == 401, "the old secret"
        gateway.key = made.json["key"]
        assert (await gateway.post(CHAT)).status == 200
        await gateway.call("DELETE", f"/api/v1/keys/{row['id']}")
        assert (await _rotate(gateway, row["id"])) == 404
        assert (await _rotate(gateway, "key_none")) == 404


async def _rotate(gateway: Gateway, id: str) -> int:
    return (await gateway.call("POST", f"/api/v1/keys/{id}/rotate")).status


async def test_another_process_hears_of_the_new_secret(engine: object) -> None:
    one, two = (KeyStore(engine, b"d" * 32) for _ in range(2))  # type: ignore[arg-type]
    made = await one.create()
    await two.refresh()
    assert two.find(made.secret) is not None
    new = await one.rotate(made.id)
    assert new is not None
    await two.refresh()
    assert two.find(made.secret) is None
    assert two.find(new.secret) is not None
