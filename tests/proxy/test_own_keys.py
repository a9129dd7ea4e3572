"""Users' own keys: each opens for its user and its place alone, and one bad row is one bad row."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.errors import CredentialUnavailable
from proxy.own_keys import OwnKeyStore, origin_of
from proxy.storage.schema import user_keys as table
from proxy.types import OwnKeys
from proxy.vault import Vault, rotate
from tests.servers import database, engine

__all__ = ["database", "engine"]

KEY, NEW = SecretStr("encryption key"), SecretStr("another encryption key")
URL = "https://api.openai.com/v1"
FIRST, SECOND = "sk-canary-first-0123456789", "sk-canary-second-0123456789"


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncIterator[OwnKeyStore]:
    made = OwnKeyStore(engine, await Vault.open(engine, KEY))
    await made.start()
    yield made
    await made.stop()


def own(store: OwnKeyStore, user: str = "u1") -> OwnKeys:
    found = store.of(user)
    assert found is not None
    return found


def opened(keys: OwnKeys, provider: str = "openai", url: str = URL) -> str:
    return keys.open(provider, url).get_secret_value()


async def rows(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        query = select(table).order_by(*table.primary_key)
        return list((await connection.execute(query)).all())


async def spoil(engine: AsyncEngine, user: str, **values: Any) -> None:
    changed = update(table).where(table.c.user_id == user).values(**values, updated_at=2**42)
    async with engine.begin() as connection:
        await connection.execute(changed)


async def test_a_key_is_saved_and_opened(store: OwnKeyStore, engine: AsyncEngine) -> None:
    assert store.of("u1") is None
    made = await store.save("u1", "openai", URL, SecretStr(FIRST))
    assert (made.provider, made.hint) == ("openai", "sk-…6789")
    assert made.created_at == made.updated_at > 1_700_000_000_000
    assert own(store).providers == {"openai"}
    assert opened(own(store)) == FIRST
    assert await store.list("u1") == [made]
    (row,) = await rows(engine)
    assert row.origin == "https://api.openai.com:443"
    assert FIRST.encode() not in row.sealed


async def test_only_its_user_has_it(store: OwnKeyStore, engine: AsyncEngine) -> None:
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    await store.save("u2", "openai", URL, SecretStr(SECOND))
    assert opened(own(store, "u1")) == FIRST
    assert opened(own(store, "u2")) == SECOND
    assert store.of("u3") is None
    assert store.of("") is None
    assert await store.list("u3") == []
    assert await store.remove("u3", None) == 0
    assert await store.remove("u1", "openai") == 1
    assert store.of("u1") is None
    assert opened(own(store, "u2")) == SECOND


async def test_a_row_copied_to_another_user_opens_nothing(
    store: OwnKeyStore, engine: AsyncEngine
) -> None:
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    await store.save("u2", "openai", URL, SecretStr(SECOND))
    stolen = (await rows(engine))[0]
    await spoil(engine, "u2", sealed=stolen.sealed, vault_id=stolen.vault_id)
    other = OwnKeyStore(engine, await Vault.open(engine, KEY))
    await other.start()
    with pytest.raises(CredentialUnavailable, match="can't be opened"):
        opened(own(other, "u2"))
    await other.stop()


async def test_one_bad_row_is_one_bad_row(store: OwnKeyStore, engine: AsyncEngine) -> None:
    """A byte that flipped in the database: that key answers 503, all others open."""
    for user, name in (("u1", "openai"), ("u1", "google"), ("u2", "openai")):
        await store.save(user, name, URL, SecretStr(FIRST))
    bad = next(row for row in await rows(engine) if row.provider_name == "google")
    flipped = bad.sealed[:15] + bytes([bad.sealed[15] ^ 1]) + bad.sealed[16:]
    change = update(table).where(table.c.provider_name == "google")
    async with engine.begin() as connection:
        await connection.execute(change.values(sealed=flipped))
    other = OwnKeyStore(engine, await Vault.open(engine, KEY))
    await other.start()
    with pytest.raises(CredentialUnavailable, match="google") as caught:
        opened(own(other, "u1"), "google")
    assert (caught.value.status, caught.value.code) == (503, "credential_unavailable")
    assert FIRST not in str(caught.value)
    assert opened(own(other, "u1"), "openai") == FIRST
    assert opened(own(other, "u2"), "openai") == FIRST
    await other.stop()


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "",
    ],
)
async def test_a_provider_that_moved_gets_no_key(store: OwnKeyStore, url: str) -> None:
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    with pytest.raises(CredentialUnavailable, match=r"has moved.*save the key again"):
        own(store).open("openai", url)
    assert opened(own(store), url="https://API.openai.com:443/v2") == FIRST


async def test_an_origin_changed_in_the_database(store: OwnKeyStore, engine: AsyncEngine) -> None:
    """Who can write into the table can't have a key sent elsewhere."""
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    await spoil(engine, "u1", origin="https://evil.example:443")
    other = OwnKeyStore(engine, await Vault.open(engine, KEY))
    await other.start()
    with pytest.raises(CredentialUnavailable, match="can't be opened"):
        own(other).open("openai", "https://evil.example/v1")
    await other.stop()


async def test_a_key_that_is_not_there(store: OwnKeyStore) -> None:
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    with pytest.raises(CredentialUnavailable, match="no key of google"):
        own(store).open("google", URL)


async def test_a_key_is_replaced(store: OwnKeyStore) -> None:
    first = await store.save("u1", "openai", URL, SecretStr(FIRST))
    before = own(store)
    assert own(store) is before  # nothing changed, nothing is made anew
    second = await store.save("u1", "openai", "https://eu.openai.com/v1", SecretStr(SECOND))
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    assert opened(own(store), url="https://eu.openai.com") == SECOND
    assert len(await store.list("u1")) == 1


async def test_removing(store: OwnKeyStore, engine: AsyncEngine) -> None:
    for name in ("openai", "google", "anthropic"):
        await store.save("u1", name, URL, SecretStr(FIRST))
    assert await store.remove("u1", "groq") == 0
    assert await store.remove("u1", "google") == 1
    assert await store.remove("u1", "google") == 0
    assert [row.provider for row in await store.list("u1")] == ["anthropic", "openai"]
    assert await store.remove("u1", None) == 2
    assert store.of("u1") is None
    assert {(row.sealed, row.hint) for row in await rows(engine)} == {(b"", "")}
    again = await store.save("u1", "google", URL, SecretStr(SECOND))
    assert opened(own(store), "google") == SECOND
    assert again.hint == "sk-…6789"


async def test_removed_at_once_though_a_clock_is_ahead(
    store: OwnKeyStore, engine: AsyncEngine
) -> None:
    for user in ("u1", "u2"):
        await store.save(user, "openai", URL, SecretStr(FIRST))
    ahead = update(table).where(table.c.user_id == "u2")
    async with engine.begin() as connection:
        await connection.execute(ahead.values(updated_at=int(time.time() * 1000) + 10_000))
    await store._mirror.refresh()
    assert await store.remove("u1", "openai") == 1
    assert store.of("u1") is None
    assert opened(own(store, "u2")) == FIRST
    await store.save("u1", "groq", URL, SecretStr(FIRST))
    assert await store.remove("u1", None) == 1
    assert store.of("u1") is None


async def test_other_processes_hear_of_it(store: OwnKeyStore, engine: AsyncEngine) -> None:
    other = OwnKeyStore(engine, await Vault.open(engine, KEY))
    await other.start()
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    await other._mirror.refresh()
    assert opened(own(other)) == FIRST
    await store.remove("u1", None)
    await other._mirror.refresh()
    assert other.of("u1") is None
    await other.stop()


async def test_after_a_rotation(store: OwnKeyStore, engine: AsyncEngine) -> None:
    """A process of before answers 503 and saves nothing; one that begins anew opens all."""
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    await rotate(engine, KEY, NEW)
    await store._mirror.refresh()
    with pytest.raises(CredentialUnavailable, match="can't be opened"):
        opened(own(store))
    kept = await rows(engine)
    with pytest.raises(CredentialUnavailable, match="started again"):
        await store.save("u1", "openai", URL, SecretStr(SECOND))
    assert await rows(engine) == kept
    other = OwnKeyStore(engine, await Vault.open(engine, NEW))
    await other.start()
    assert opened(own(other)) == FIRST
    await other.stop()


async def test_a_rotation_while_a_key_is_saved(
    store: OwnKeyStore, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user hears of it; no row stays that nobody can open."""
    put = store._mirror.put

    async def rotated_first(*args: Any, **kwargs: Any) -> Any:
        await rotate(engine, KEY, NEW)
        return await put(*args, **kwargs)

    monkeypatch.setattr(store._mirror, "put", rotated_first)
    with pytest.raises(CredentialUnavailable, match="started again"):
        await store.save("u1", "openai", URL, SecretStr(FIRST))
    assert await store.list("u1") == []


async def test_nothing_secret_shows_or_stays(store: OwnKeyStore) -> None:
    await store.save("u1", "openai", URL, SecretStr(FIRST))
    keys = own(store)
    opened(keys)
    shown = repr(keys) + repr(store.__dict__) + repr(vars(keys)) + repr(store._mirror.values())
    assert FIRST not in shown
    assert repr(keys) == "SavedKeys(['openai'])"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com:443"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://Host.Example", "http://host.example:80"),
        ("HTTPS://host", "https://host:443"),
        ("https://[::1]:8/v1", "https://[::1]:8"),
        ("", ""),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin
