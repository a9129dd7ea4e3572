"""Virtual keys: by digest only, found at once, ended at once, known to other processes soon."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.allowance import own_limits, shown
from proxy.keys import KeyStore, OwnCacheError, own_cache, shown_cache
from proxy.storage.engine import open_database
from proxy.types import OwnCache

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


async def test_limits_and_tags_are_kept_ready(engine: AsyncEngine) -> None:
    here, there = KeyStore(engine, SECRET), KeyStore(engine, SECRET)
    own = own_limits({"rpm": 5, "tpm": None, "budget": {"amount": 0.1, "per": "day"}})
    new = await here.create(limits=own, tags=("a", "b"))
    plain = await here.create()
    for store in (here, there):
        found = await store.lookup(new.secret)
        assert found is not None
        assert (found.limits, found.tags) == (own, ("a", "b"))
        assert found.limits is store.find(new.secret).limits  # parsed once
        other = await store.lookup(plain.secret)
        assert other is not None
        assert (other.limits, other.tags) == (None, ())


async def test_a_change_is_known_here_at_once(engine: AsyncEngine) -> None:
    here, there = KeyStore(engine, SECRET), KeyStore(engine, SECRET)
    new = await here.create(name="n", models=("a",), limits=own_limits({"rpm": 5, "tpm": 7}))
    await there.refresh()
    changed = await here.change(new.id, {"models": None, "limits": own_limits({"rpm": None})})
    found = here.find(new.secret)
    assert found == changed
    assert found is not None
    assert (found.name, found.models) == ("n", None)
    assert shown(found.limits) == {"rpm": None, "tpm": 7}
    await there.refresh()
    assert there.find(new.secret) == found
    freed = await here.change(new.id, {"limits": None, "tags": ("t",)})
    assert freed is not None
    assert (freed.limits, freed.tags, freed.models) == (None, ("t",), None)
    assert await here.change("key_nope", {"name": "x"}) is None


async def test_a_change_of_nothing(engine: AsyncEngine) -> None:
    store = KeyStore(engine, SECRET)
    new = await store.create(name="n")
    changed = await store.change(new.id, {})
    assert changed is not None
    assert changed.name == "n"


async def test_changes_at_once_are_all_kept(engine: AsyncEngine) -> None:
    store = KeyStore(engine, SECRET)
    new = await store.create()
    fields = ("rpm", "tpm", "rpd", "tpd", "concurrency")
    changes = [store.change(new.id, {"limits": own_limits({f: 9})}) for f in fields]
    await asyncio.gather(*changes)
    found = store.find(new.secret)
    assert found is not None
    assert shown(found.limits) == dict.fromkeys(fields, 9)


async def test_what_a_key_says_of_the_cache(engine: AsyncEngine) -> None:
    here, there = KeyStore(engine, SECRET), KeyStore(engine, SECRET)
    new = await here.create(cache=OwnCache(semantic=True))
    plain = await here.create()
    for store in (here, there):
        found, other = await store.lookup(new.secret), await store.lookup(plain.secret)
        assert found is not None
        assert other is not None
        assert (found.cache, other.cache) == (OwnCache(None, True), None)
    for cache in (OwnCache(enabled=False), None):
        changed = await here.change(new.id, {"cache": cache})
        assert changed is not None
        assert changed.cache == cache
        await there.refresh()
        assert there.find(new.secret) == changed


@pytest.mark.parametrize(
    ("value", "own"),
    [
        ({}, OwnCache(None, None)),
        ({"enabled": False}, OwnCache(False, None)),
        ({"enabled": None, "semantic": True}, OwnCache(None, True)),
    ],
)
def test_the_cache_of_a_key_as_json(value: dict[str, object], own: OwnCache) -> None:
    assert own_cache(value) == own
    assert shown_cache(own) == {"enabled": None, "semantic": None} | value


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "cache"),
        ("on", "cache"),
        (None, "cache"),
        ({"ttl": 5}, "cache.ttl"),
        ({"enabled": 1}, "cache.enabled"),
        ({"semantic": "yes"}, "cache.semantic"),
    ],
)
def test_a_cache_that_no_key_can_have(value: object, field: str) -> None:
    with pytest.raises(OwnCacheError) as caught:
        own_cache(value)
    assert caught.value.field == field
