"""Virtual keys: by digest only, found at once, ended at once, known to other processes soon."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.keys import KeyStore
from proxy.storage.engine import open_database

SECRET = b"d" * 32


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await open_database("sqlite:///t.db", tmp_path)
    yield engine
    await engine.dispose()


async def test_the_database_has_no_secret(engine: AsyncEngine, tmp_path: Path) -> None:
    new = await KeyStore(engine, SECRET).create(name="n")
    await engine.dispose()
    for path in tmp_path.iterdir():
        assert new.secret.encode() not in path.read_bytes()
    assert new.secret not in repr(new)


async def test_found_revoked_and_gone(engine: AsyncEngine) -> None:
    store = KeyStore(engine, SECRET)
    new = await store.create(models=("a", "b/*"))
    found = store.find(new.secret)
    assert found is not None
    assert (found.id, found.models) == (new.id, ("a", "b/*"))
    assert await store.revoke(new.id)
    assert store.find(new.secret) is None
    assert not await store.revoke(new.id)
    assert not await store.revoke("key_nope")


async def test_an_expired_key_is_not_found(engine: AsyncEngine) -> None:
    store = KeyStore(engine, SECRET)
    new = await store.create(expires_at=int(1000 * time.time()) + 30)
    assert store.find(new.secret)
    time.sleep(0.05)
    assert store.find(new.secret) is None


async def test_what_another_process_does_is_known(engine: AsyncEngine) -> None:
    here, there = KeyStore(engine, SECRET), KeyStore(engine, SECRET)
    new = await there.create()
    assert here.find(new.secret) is None
    assert await here.lookup(new.secret)
    await there.revoke(new.id)
    await here.refresh()
    assert here.find(new.secret) is None
    assert await here.lookup(new.secret) is None


async def test_an_unknown_key_is_asked_for_once(engine: AsyncEngine) -> None:
    store = KeyStore(engine, SECRET)
    asked: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    for _ in range(50):
        assert await store.lookup("sk-turnout-no") is None
    assert len(asked) == 1


async def test_another_digest_key_opens_nothing(engine: AsyncEngine) -> None:
    new = await KeyStore(engine, SECRET).create()
    assert await KeyStore(engine, b"e" * 32).lookup(new.secret) is None
