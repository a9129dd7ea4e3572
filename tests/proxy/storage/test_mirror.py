"""A table in memory: what is written here, and what another process writes."""

import asyncio
import time
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.mirror import Mirror, Taken
from proxy.storage.schema import overrides, user_keys


class Override(NamedTuple):
    id: str
    user: str


def read(row: Row[Any]) -> Override:
    return Override(row.id, row.user_id)


def values(id: str, user: str = "u") -> dict[str, Any]:
    return {
        "id": id,
        "user_id": user,
        "service_name": None,
        "provider_name": "p",
        "model_name": "m",
    }


async def test_rows_come_and_go(engine: AsyncEngine) -> None:
    mirror = Mirror(engine, overrides, read)
    changes: list[int] = []
    mirror.on_change = lambda: changes.append(len(mirror.values()))
    assert await mirror.put(values("b")) == Override("b", "u")
    await mirror.put(values("a"))
    assert [row.id for row in mirror.values()] == ["a", "b"]
    assert await mirror.change(("a",), {"user_id": "v"}) == Override("a", "v")
    assert await mirror.change(("none",), {"user_id": "v"}) is None
    assert await mirror.drop(("b",))
    assert not await mirror.drop(("b",))
    assert await mirror.change(("b",), {"user_id": "v"}) is None
    assert mirror.get("b") is None
    assert changes == [1, 2, 2, 1]


async def test_a_key_is_one_rows_alone_until_that_is_deleted(engine: AsyncEngine) -> None:
    mirror = Mirror(engine, overrides, read)
    await mirror.put(values("a", "first"))
    with pytest.raises(Taken):
        await mirror.put(values("a", "second"))
    assert mirror.get("a") == Override("a", "first")
    assert await mirror.put(values("a", "third"), replace=True) == Override("a", "third")
    await mirror.drop(("a",))
    assert await mirror.put(values("a", "fourth")) == Override("a", "fourth")


async def test_another_process_is_followed(engine: AsyncEngine) -> None:
    here, there = Mirror(engine, overrides, read), Mirror(engine, overrides, read)
    await there.put(values("a"))
    await there.put(values("b"))
    await here.refresh()
    assert [row.id for row in here.values()] == ["a", "b"]
    await there.change(("a",), {"user_id": "v"})
    await there.drop(("b",))
    await here.refresh()
    assert here.values() == [Override("a", "v")]


async def test_what_is_deleted_is_not_forgotten_by_the_table(engine: AsyncEngine) -> None:
    mirror = Mirror(engine, overrides, read)
    await mirror.put(values("a"))
    await mirror.drop(("a",))
    async with engine.connect() as connection:
        [row] = (await connection.execute(select(overrides))).all()
    assert row.deleted_at is not None


async def test_a_key_of_two_columns(engine: AsyncEngine) -> None:
    mirror: Mirror[tuple[str, str]] = Mirror(
        engine, user_keys, lambda row: (row.user_id, row.provider_name)
    )
    row = {"user_id": "u", "provider_name": "p", "sealed": b"x", "vault_id": "v"}
    await mirror.put({**row, "origin": "o", "hint": "h"})
    assert mirror.get("u", "p") == ("u", "p")
    assert mirror.get("p", "u") is None


async def test_it_keeps_up_by_itself(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.storage.mirror.REFRESH", 0.01)
    here, there = Mirror(engine, overrides, read), Mirror(engine, overrides, read)
    await here.start()
    heard = asyncio.Event()
    here.on_change = heard.set
    try:
        await there.put(values("a"))
        await asyncio.wait_for(heard.wait(), 5)
        assert here.get("a") == Override("a", "u")
    finally:
        await here.stop()


# Clocks that are apart.


async def ahead(engine: AsyncEngine, id: str, seconds: float) -> None:
    """A row as another host writes it, whose clock is ahead."""
    at = int((time.time() + seconds) * 1000)
    row = {**values(id), "created_at": at, "updated_at": at, "deleted_at": None}
    async with engine.begin() as connection:
        await connection.execute(insert(overrides).values(row))


@pytest.mark.parametrize("seconds", [10, 3600, 10**8])
async def test_a_clock_ahead_hides_nothing(engine: AsyncEngine, seconds: float) -> None:
    here, there = Mirror(engine, overrides, read), Mirror(engine, overrides, read)
    await ahead(engine, "z", seconds)
    await here.refresh()
    assert await here.put(values("a")) == Override("a", "u")
    assert await here.change(("a",), {"user_id": "v"}) == Override("a", "v")
    assert await here.drop(("a",))
    assert here.values() == [Override("z", "u")]
    await here.refresh()
    for user in ("x", "y"):
        await there.put(values("b", user), replace=True)
        await here.refresh()
        assert here.get("b") == Override("b", user)
    await there.drop(("b",))
    await here.refresh()
    assert here.values() == [Override("z", "u")]


async def test_a_clock_behind_hides_little(engine: AsyncEngine) -> None:
    here = Mirror(engine, overrides, read)
    await here.put(values("a"))
    await here.refresh()
    await ahead(engine, "b", -50)
    await here.refresh()
    assert here.get("b") == Override("b", "u")


async def test_a_small_table_is_read_whole(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Mirror(engine, overrides, read)
    await here.put(values("a"))
    await here.put(values("gone"))
    await here.refresh()
    await ahead(engine, "b", -3600)
    async with engine.begin() as connection:
        await connection.execute(overrides.delete().where(overrides.c.id == "gone"))
    await here.refresh()
    assert [row.id for row in here.values()] == ["a", "gone"]
    monkeypatch.setattr("proxy.storage.mirror.WHOLE_AFTER", 0)
    monkeypatch.setattr("proxy.storage.mirror.SMALL", 1)
    await here.refresh()
    assert [row.id for row in here.values()] == ["a", "gone"], "it is not small"
    monkeypatch.setattr("proxy.storage.mirror.SMALL", 2)
    await here.refresh()
    assert [row.id for row in here.values()] == ["a", "b"]


async def test_nothing_is_read_where_nothing_changes(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ahead(engine, "a", -3600)
    here = Mirror(engine, overrides, read)
    await here.refresh()
    seen: list[int] = []
    remember = here._remember
    monkeypatch.setattr(here, "_remember", lambda rows: seen.append(len(rows)) or remember(rows))
    await here.refresh()
    assert seen == [1], "a slow commit may still come"
    here._moved -= 60.0
    await here.refresh()
    assert seen == [1]


# Rows and listeners that fail.


def picky(row: Row[Any]) -> Override:
    if row.user_id == "new":
        raise {"v": ValueError, "k": KeyError, "t": TypeError}[row.id[0]](row.model_name)
    return read(row)


@pytest.mark.parametrize("id", ["v1", "k1", "t1"])
async def test_a_row_that_cant_be_read_is_absent(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, id: str
) -> None:
    there = Mirror(engine, overrides, read)
    await there.put({**values(id, "new"), "model_name": "canary"})
    await there.put(values("a"))
    here = Mirror(engine, overrides, picky)
    await here.start()
    assert here.values() == [Override("a", "u")]
    await here.refresh()
    assert caplog.text.count(f"overrides {id} can't be read") == 1
    assert "canary" not in caplog.text
    await there.change(("a",), {"user_id": "v"})
    await there.change((id,), {"user_id": "old"})
    await here.refresh()
    assert here.values() == [Override("a", "v"), Override(id, "old")]
    await there.change((id,), {"user_id": "new"})
    await here.refresh()
    assert here.values() == [Override("a", "v")], "what it was before does not stay"
    await here.stop()


async def test_a_listener_that_fails_ends_nothing(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("proxy.storage.mirror.REFRESH", 0.01)
    here, there = Mirror(engine, overrides, read), Mirror(engine, overrides, read)
    heard = asyncio.Event()

    def fail() -> None:
        heard.set()
        raise RuntimeError("canary")

    here.on_change = fail
    await there.put(values("a"))
    await here.start()
    assert heard.is_set()
    for name in ("b", "c"):
        heard.clear()
        await there.put(values(name))
        await asyncio.wait_for(heard.wait(), 5)
    assert [row.id for row in here.values()] == ["a", "b", "c"]
    assert "could not be put to use: RuntimeError" in caplog.text
    assert "canary" not in caplog.text
    await here.stop()
