"""Accounts: made, changed, removed; on two stores of one database."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.allowance import own_limits
from proxy.errors import Conflict, Unprocessable
from proxy.storage.schema import users as table
from proxy.types import Budget, Limits, Period, Role
from proxy.users import User, UserStore
from tests.servers import database, engine

__all__ = ["database", "engine"]


async def test_a_users_life(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    user = await store.create("  Ann@Corp.Test ", Role.ADMIN, "Ann", "$hash")
    assert user.id.startswith("user_")
    assert len(user.id) == 37
    assert (user.email, user.role, user.is_active) == ("ann@corp.test", Role.ADMIN, True)
    assert "$hash" not in repr(user)
    assert store.get(user.id) == store.by_email("ANN@corp.test") == user
    changed = await store.change(user.id, {"email": "Bea@corp.test", "name": None})
    assert changed is not None
    assert (changed.email, changed.name, changed.password_hash) == ("bea@corp.test", None, "$hash")
    assert store.by_email("ann@corp.test") is None
    assert await store.remove(user.id)
    assert not await store.remove(user.id)
    assert store.get(user.id) is None
    assert store.by_email("bea@corp.test") is None
    assert store.is_gone(user.id)
    assert await store.change(user.id, {"name": "x"}) is None
    assert not await store.end_tokens(user.id)


async def test_nothing_of_a_person_stays(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    user = await store.create("ann@corp.test", name="Ann", password_hash="$hash")
    await store.remove(user.id)
    async with engine.connect() as connection:
        row = (await connection.execute(select(table))).one()
    assert (row.id, row.name, row.password_hash) == (user.id, None, None)
    assert "ann" not in row.email
    assert (await store.create("ann@corp.test")).id != user.id


async def test_an_email_is_one_accounts(engine: AsyncEngine) -> None:
    store, other = UserStore(engine), UserStore(engine)
    await store.create("ann@corp.test")
    bea = await store.create("bea@corp.test")
    with pytest.raises(Conflict):
        await other.create("ANN@corp.test")
    with pytest.raises(Conflict):
        await store.change(bea.id, {"email": "Ann@Corp.test"})
    with pytest.raises(Conflict):
        await store.create("c@x", external_id="i#1") and await store.create(
            "d@x", external_id="i#1"
        )


@pytest.mark.parametrize(
    "email",
    ["", "a", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "a@" + "b" * 253, "a\x00@b", "a@\u202eb"],
)
async def test_what_is_no_email(engine: AsyncEngine, email: str) -> None:
    if email == "a@b\n":  # around it, space does no harm
        assert (await UserStore(engine).create(email)).email == "a@b"
        return
    with pytest.raises(Unprocessable):
        await UserStore(engine).create(email)


@pytest.mark.parametrize("role", [Role.KEY, Role.SERVICE, Role.ANONYMOUS])
async def test_no_other_role(engine: AsyncEngine, role: Role) -> None:
    with pytest.raises(Unprocessable):
        await UserStore(engine).create("a@b", role)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ({"password_hash": "$new"}, True),
        ({"role": Role.ADMIN}, True),
        ({"is_active": False}, True),
        ({"name": "x"}, False),
        ({"email": "x@y"}, False),
        ({"limits": None}, False),
    ],
)
async def test_what_ends_tokens(engine: AsyncEngine, values: dict[str, object], ends: bool) -> None:
    store = UserStore(engine)
    user = await store.create("ann@corp.test")
    changed = await store.change(user.id, values)
    assert changed is not None
    assert (changed.tokens_after > user.tokens_after) is ends


async def test_tokens_end_whatever_the_clocks_say(engine: AsyncEngine) -> None:
    """Another process, an hour ahead, has ended them before."""
    store = UserStore(engine)
    user = await store.create("ann@corp.test")
    ahead = 99_999_999_999_999
    async with engine.begin() as connection:
        await connection.execute(table.update().values(tokens_after=ahead))
    assert await store.end_tokens(user.id)
    found = store.get(user.id)
    assert found is not None
    assert found.tokens_after == ahead + 1


async def test_a_renewed_hash_ends_no_token_and_undoes_no_change(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    user = await store.create("ann@corp.test", password_hash="$old")
    await store.renew(user, "$dearer")
    renewed = store.get(user.id)
    assert renewed is not None
    assert (renewed.password_hash, renewed.tokens_after) == ("$dearer", user.tokens_after)
    await store.change(user.id, {"password_hash": "$changed"})
    await store.renew(renewed, "$late")
    found = store.get(user.id)
    assert found is not None
    assert found.password_hash == "$changed"


async def test_another_process_hears_of_it(engine: AsyncEngine) -> None:
    here, there = UserStore(engine), UserStore(engine)
    await here.start()
    await there.start()
    try:
        user = await here.create("ann@corp.test")
        assert await there.find(user.id) == user  # at once, for one who is not known yet
        await here.change(user.id, {"is_active": False})
        await _until(lambda: there.get(user.id), lambda found: found and not found.is_active)
        await here.remove(user.id)
        await _until(lambda: there.is_gone(user.id), bool)
        assert await there.find(user.id) is None
    finally:
        await here.stop()
        await there.stop()
    later = UserStore(engine)
    await later.start()
    assert later.is_gone(user.id)
    assert not later.is_gone("somebody")
    await later.stop()


async def _until(look, is_right) -> None:  # type: ignore[no-untyped-def]
    for _ in range(300):
        if is_right(look()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(look())


async def test_limits_are_a_view_of_now(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    told: list[str] = []

    async def tell(users: list[User]) -> None:
        told.extend(user.id for user in users)

    store.on_limits = tell
    view = store.limits
    plain = await store.create("plain@x")
    empty = await store.create("empty@x", limits=own_limits({"rpm": None}))
    ann = await store.create(
        "ann@x", limits=own_limits({"rpm": 5, "budget": {"amount": 2, "per": "day"}})
    )
    both = Limits(rpm=5, budget=Budget(2_000_000_000, Period.DAY))
    assert dict(view) == {empty.id: Limits(), ann.id: both}
    assert told == [empty.id, ann.id]
    await store.change(ann.id, {"limits": own_limits({"tpm": 7, "budget": None})})
    assert dict(view) == {empty.id: Limits(), ann.id: Limits(rpm=5, tpm=7)}
    await store.change(ann.id, {"name": "x"})
    assert told == [empty.id, ann.id, ann.id]
    await store.change(ann.id, {"limits": None})
    assert dict(view) == {empty.id: Limits()}
    await store.change(plain.id, {"limits": own_limits({"rpd": 1})})
    assert await store.remove(plain.id)
    assert dict(view) == {empty.id: Limits()}


async def test_pages(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    made = [await store.create(f"{name}@x") for name in ("c", "a", "b")]
    assert [user.id for user in store.list().users] == [user.id for user in made]
    page = store.list(limit=1, offset=1)
    assert ([user.email for user in page.users], page.total) == (["a@x"], 3)
    assert [user.email for user in store.list(email="B@").users] == ["b@x"]
    assert store.list(email="nobody").total == 0


async def test_another_admin(engine: AsyncEngine) -> None:
    store = UserStore(engine)
    ann = await store.create("ann@x", Role.ADMIN)
    bea = await store.create("bea@x", Role.ADMIN)
    await store.create("cleo@x")
    assert store.has_other_admin(ann.id)
    await store.change(bea.id, {"is_active": False})
    assert not store.has_other_admin(ann.id)


async def test_a_start_that_fails_leaves_nothing_running(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = UserStore(engine)
    await store.create("ann@corp.test")
    real = engine.connect

    def failing_after(number: int) -> None:
        left = iter(range(number))

        def connect(*args: Any) -> Any:
            if next(left, None) is None:
                raise OSError("away")
            return real(*args)

        monkeypatch.setattr(AsyncEngine, "connect", lambda self, *args: connect(*args))

    for number in range(3):
        failing_after(number)
        with pytest.raises(OSError, match="away"):
            await store.start()
        assert store._mirror._refreshing is None
    failing_after(3)
    await store.start()
    assert store._mirror._refreshing is not None
    await store.stop()
