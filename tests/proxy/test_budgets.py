"""Whose budget is what, and what of it the counters are told was spent."""

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.alerts import Budgeted
from proxy.allowance import own_limits
from proxy.budgets import Budgets
from proxy.counters import Want
from proxy.ids import uuid7
from proxy.keys import KeyStore
from proxy.ledger.analytics import Owner
from proxy.ledger.books import Books
from proxy.ledger.spending import spent
from proxy.types import Budget, Limits, Period, Role
from proxy.users import UserStore
from tests.proxy.ledger.synthetic import request
from tests.servers import database, engine

__all__ = ["database", "engine"]

DEFAULT = Limits(budget=Budget(7_000_000_000))


class Counted:
    """Counters that remember what they were told."""

    def __init__(self) -> None:
        self.wants: list[Want] = []

    async def prime(self, want: Want, only_missing: bool = False) -> None:
        self.wants.append(want)


class World:
    def __init__(self, engine: AsyncEngine, default: Limits) -> None:
        self.keys, self.users = KeyStore(engine, b"d" * 32), UserStore(engine)
        self.books, self.counted = Books(engine), Counted()
        self.waits: list[float] = []
        self.budgets = Budgets(
            engine, self.keys, self.users, self.counted, lambda: default, self.caught_up
        )

    async def caught_up(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def user(self, email: str, **over: Any) -> str:
        given = {"password_hash": None, "role": Role.USER} | over
        return (await self.users.create(email, **given)).id


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Limits())


def own(amount: float, per: str = "month") -> Any:
    return own_limits({"budget": {"amount": amount, "per": per}})


async def test_budgets_of_keys_and_users_that_are_alive(world: World) -> None:
    key = await world.keys.create(name="crm", limits=own(2))
    gone = await world.keys.create(limits=own(3))
    await world.keys.revoke(gone.id)
    await world.keys.create(name="free")
    user = await world.user("a@x.test", limits=own(5, "day"))
    off = await world.user("b@x.test", limits=own(6))
    await world.users.change(off, {"is_active": False})
    assert set(world.budgets.all()) == {
        Budgeted(f"key:{key.id}", "crm", Budget(2_000_000_000)),
        Budgeted(f"user:{user}", "a@x.test", Budget(5_000_000_000, Period.DAY)),
    }
    assert world.budgets.of_key(key.id) == Budget(2_000_000_000)
    assert world.budgets.of_key("key_none") is None


async def test_the_budget_of_an_owner(engine: AsyncEngine) -> None:
    world = World(engine, DEFAULT)
    user = await world.user("a@x.test", limits=own(5))
    usual = await world.user("b@x.test")
    admin = await world.user("c@x.test", role=Role.ADMIN)
    off = await world.user("d@x.test")
    await world.users.change(off, {"is_active": False})
    plain, unlimited = (
        await world.keys.create(),
        await world.keys.create(limits=own_limits({"budget": None})),
    )
    for owner, budget in (
        (Owner("key", plain.id), DEFAULT.budget),
        (Owner("key", unlimited.id), None),
        (Owner("key", "key_none"), None),
        (Owner("user", user), Budget(5_000_000_000)),
        (Owner("user", usual), Budget(7_000_000_000)),
        (Owner("user", admin), None),
        (Owner("user", off), None),
        (Owner("user", "user_none"), None),
    ):
        assert world.budgets.of_owner(owner) == budget
    assert {each.scope for each in world.budgets.all()} == {
        f"key:{plain.id}",
        f"user:{user}",
        f"user:{usual}",
    }


async def test_the_counters_are_told_what_was_spent(world: World) -> None:
    key = await world.keys.create(limits=own(2))
    user = await world.user("a@x.test", limits=own(5, "day"))
    row = request(uuid7(), int(time.time() * 1000), key_id=key.id, user_id=user, cost_nanousd=300)
    await world.books.write([row], [])
    await world.budgets.prime_all()
    told = {want.key: want.amount for want in world.counted.wants}
    assert told == {f"key:{key.id}:budget-month": 300, f"user:{user}:budget-day": 300}
    assert world.waits == [10.0], "what dead processes left is waited for once"


async def test_nobody_with_a_budget_waits_for_nothing(world: World) -> None:
    await world.keys.create()
    await world.budgets.prime_all()
    assert world.waits == []
    assert world.counted.wants == []


async def test_what_can_not_be_read_is_told_later(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("proxy.budgets.RETRY", 0.01)
    user = await world.user("a@x.test", limits=own(5))
    await world.user("b@x.test", limits=own(5))
    row = request(uuid7(), int(time.time() * 1000), user_id=user, cost_nanousd=300)
    await world.books.write([row], [])
    tries: list[str] = []

    async def away(engine: AsyncEngine, since: float, dimension: str) -> dict[str, int]:
        tries.append(dimension)
        if len(tries) < 4:
            raise OperationalError("select", {}, Exception("canary"))
        return await spent(engine, since, dimension)

    monkeypatch.setattr("proxy.budgets.spent", away)
    known = world.users.get(user)
    assert known is not None
    await world.budgets.prime_users([known])
    assert world.counted.wants == []
    retrying = world.budgets._retrying
    assert retrying is not None
    await asyncio.wait_for(retrying, 5)
    assert tries == ["user"] * 4
    told = [(want.key, want.amount) for want in world.counted.wants]
    assert told == [(f"user:{user}:budget-month", 300)]
    assert "OperationalError" in caplog.text
    assert "canary" not in caplog.text


async def test_trying_again_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> dict[str, int]:
        raise OSError

    monkeypatch.setattr("proxy.budgets.spent", away)
    await world.user("a@x.test", limits=own(5))
    await world.budgets.prime_all()
    await world.budgets.stop()
    assert world.budgets._retrying is not None
    assert world.budgets._retrying.cancelled()
