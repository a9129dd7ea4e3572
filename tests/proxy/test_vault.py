"""The vault: what it seals, whom it opens for, and another encryption key under it."""

import asyncio
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.errors import CredentialUnavailable
from proxy.storage.engine import StorageError
from proxy.storage.schema import providers, user_keys
from proxy.storage.schema import vault as table
from proxy.vault import (
    Sealed,
    Unreadable,
    Vault,
    WrongEncryptionKey,
    about_provider,
    about_user_key,
    check,
    mask,
    rotate,
)
from tests.servers import database, engine

__all__ = ["database", "engine"]

OLD, NEW = SecretStr("the old encryption key"), SecretStr("the new encryption key")
CANARY = "sk-canary-0123456789abcdef"
ORIGIN = "https://api.openai.com:443"


async def rows(engine: AsyncEngine, stored: Any = table) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(stored).order_by(*stored.primary_key))).all())


async def change(engine: AsyncEngine, statement: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(statement)


async def save_user_key(
    engine: AsyncEngine, sealed: Sealed, user: str = "u1", name: str = "openai", **over: Any
) -> None:
    values = {"user_id": user, "provider_name": name, "origin": ORIGIN, "hint": "…"}
    times = {"created_at": 5, "updated_at": 5, "deleted_at": None}
    await change(engine, insert(user_keys).values(values | sealed._asdict() | times | over))


async def save_provider(engine: AsyncEngine, sealed: Sealed, id: str = "p1") -> None:
    values: dict[str, Any] = {
        "id": id,
        "name": f"name of {id}",
        "display_name": "P",
        "dialect": "openai",
    }
    values |= {"hint": "…", "models": [], "is_enabled": True, "priority": 1}
    times = {"allow_private": False, "created_at": 5, "updated_at": 5}
    await change(engine, insert(providers).values(values | times | sealed._asdict()))


def flipped(sealed: bytes, at: int = 20) -> bytes:
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


async def test_what_is_sealed_is_opened_by_another_process(engine: AsyncEngine) -> None:
    first = await Vault.open(engine, OLD)
    sealed, vault_id = first.seal(CANARY, "user", "u1")
    second = await Vault.open(engine, OLD)
    assert second.unseal(sealed, vault_id, "user", "u1").get_secret_value() == CANARY
    assert CANARY.encode() not in sealed
    assert len(sealed) == 12 + len(CANARY) + 16


def kek(use: bytes) -> bytes:
    derivation = HKDF(SHA256(), 32, salt=None, info=b"turnout vault v1 " + use)
    return derivation.derive(b"the old encryption key")


async def test_no_two_wrappings_are_alike(engine: AsyncEngine) -> None:
    """Wrapped again under the same key: the pad is another."""
    await Vault.open(engine, OLD)
    before = {row.id: row.sealed for row in await rows(engine)}["digest"]
    await rotate(engine, OLD, OLD)
    after = {row.id: row.sealed for row in await rows(engine)}["digest"]
    assert before[:16] != after[:16]
    assert before[16:48] != after[16:48]


@pytest.mark.parametrize("at", [0, 15, 16, 47, 48, 79])
async def test_a_wrapped_key_that_was_changed_is_refused(engine: AsyncEngine, at: int) -> None:
    await Vault.open(engine, OLD)
    wrapped = {row.id: row.sealed for row in await rows(engine)}["digest"]
    for wrong in (flipped(wrapped, at), wrapped[:-1], wrapped + b"x", b""):
        await change(engine, update(table).where(table.c.id == "digest").values(sealed=wrong))
        with pytest.raises(WrongEncryptionKey):
            await Vault.open(engine, OLD)


async def test_the_envelope_by_hand(engine: AsyncEngine) -> None:
    """The same with libraries alone: HKDF-SHA256, HMAC-SHA256 as pad and tag, AES-256-GCM, and the
    associated data."""
    vault = await Vault.open(engine, OLD)
    sealed, vault_id = vault.seal(CANARY, "user", "u1")
    wrapped = {row.id: row.sealed for row in await rows(engine)}[vault_id]
    about = b"\0\0\0\5vault\0\0\0\x25" + vault_id.encode() + b"\0\0\0\4data"
    named = wrapped[:16] + about
    pad, tag = (
        hmac.digest(kek(use), text, "sha256")
        for use, text in ((b"pad", named), (b"tag", wrapped[16:48] + named))
    )
    assert wrapped[48:] == tag
    data_key = bytes(a ^ b for a, b in zip(wrapped[16:48], pad, strict=True))
    assert len(data_key) == 32
    opened = AESGCM(data_key).decrypt(sealed[:12], sealed[12:], b"\0\0\0\4user\0\0\0\2u1")
    assert opened.decode() == CANARY


async def test_older_virtual_keys_stay_valid(engine: AsyncEngine) -> None:
    """The digest key is what it was before there was a vault."""
    expected = hmac.digest(b"the old encryption key", b"turnout key digest v1", "sha256")
    assert (await Vault.open(engine, OLD)).digest_key == expected


@pytest.mark.parametrize(
    "about",
    [("user", "u2"), ("user",), (), ("useru1",), ("user", "u1", ""), ("use", "ru1")],
)
async def test_another_owner_opens_nothing(engine: AsyncEngine, about: tuple[str, ...]) -> None:
    vault = await Vault.open(engine, OLD)
    sealed, vault_id = vault.seal(CANARY, "user", "u1")
    with pytest.raises(Unreadable):
        vault.unseal(sealed, vault_id, *about)


@pytest.mark.parametrize("at", [0, 11, 12, 30, -1])
async def test_a_flipped_bit_is_found(engine: AsyncEngine, at: int) -> None:
    vault = await Vault.open(engine, OLD)
    sealed, vault_id = vault.seal(CANARY, "u")
    place = at % len(sealed)
    with pytest.raises(Unreadable):
        vault.unseal(flipped(sealed, place), vault_id, "u")


@pytest.mark.parametrize("length", [0, 1, 12, 27, 28])
async def test_what_was_cut_off_is_found(engine: AsyncEngine, length: int) -> None:
    vault = await Vault.open(engine, OLD)
    sealed, vault_id = vault.seal(CANARY, "u")
    with pytest.raises(Unreadable):
        vault.unseal(sealed[:length], vault_id, "u")


async def test_an_unknown_data_key(engine: AsyncEngine) -> None:
    vault = await Vault.open(engine, OLD)
    with pytest.raises(Unreadable, match="data_gone"):
        vault.unseal(vault.seal(CANARY, "u").sealed, "data_gone", "u")


async def test_no_nonce_twice(engine: AsyncEngine) -> None:
    vault = await Vault.open(engine, OLD)
    assert len({vault.seal(CANARY, "u").sealed[:12] for _ in range(1000)}) == 1000


async def test_a_wrong_encryption_key_is_refused(engine: AsyncEngine) -> None:
    before = await Vault.open(engine, OLD)
    kept = await rows(engine)
    with pytest.raises(WrongEncryptionKey, match=r"auth\.encryption_key") as caught:
        await Vault.open(engine, NEW)
    assert isinstance(caught.value, StorageError)  # what commands and workers say and end with
    assert "encryption key" not in str(caught.value).replace("auth.encryption_key", "")
    assert await rows(engine) == kept
    assert (await Vault.open(engine, OLD)).digest_key == before.digest_key


async def test_processes_that_begin_at_once_share_one_vault(engine: AsyncEngine) -> None:
    vaults = await asyncio.gather(*(Vault.open(engine, OLD) for _ in range(5)))
    assert [row.purpose for row in await rows(engine)] == ["data", "digest"]
    sealed, vault_id = vaults[0].seal(CANARY, "u")
    opened = {vault.unseal(sealed, vault_id, "u").get_secret_value() for vault in vaults}
    assert opened == {CANARY}


async def test_a_lost_digest_key_is_not_replaced(engine: AsyncEngine) -> None:
    """Another one would end every virtual key in silence."""
    await Vault.open(engine, OLD)
    await change(engine, delete(table).where(table.c.id == "digest"))
    with pytest.raises(StorageError, match="backup"):
        await Vault.open(engine, OLD)


async def test_a_data_key_that_cannot_be_read(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """What it seals is lost, the rest goes on."""
    before = await Vault.open(engine, OLD)
    sealed, vault_id = before.seal(CANARY, "u")
    await change(engine, update(table).where(table.c.id == vault_id).values(sealed=b"x" * 60))
    vault = await Vault.open(engine, OLD)
    assert "no data key" in caplog.text
    assert vault.digest_key == before.digest_key
    with pytest.raises(Unreadable):
        vault.unseal(sealed, vault_id, "u")
    again = vault.seal(CANARY, "u")
    other = await Vault.open(engine, OLD)
    assert other.unseal(*again, "u").get_secret_value() == CANARY


async def test_nothing_secret_shows(engine: AsyncEngine) -> None:
    vault = await Vault.open(engine, OLD)
    assert repr(vault) == str(vault) == "Vault(1 data keys)"
    opened = vault.unseal(*vault.seal(CANARY, "u"), "u")
    assert CANARY not in repr(opened)
    for row in await rows(engine):
        assert vault.digest_key not in row.sealed


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk-proj-0123456789abcdefwxyz", "sk-proj-…wxyz"),
        ("sk-ant-api03-0123456789abwxyz", "sk-ant-…wxyz"),
        ("sk-0123456789abwxyz", "sk-…wxyz"),
        ("sk-0123456789awxyz", "…"),
        ("0123456789abwxyz", "…wxyz"),
        ("AIzaSy0123456789abwxyz", "AIza…wxyz"),
        ("sk-short", "…"),
        ("x", "…"),
        ("", "…"),
    ],
)
def test_mask(secret: str, shown: str) -> None:
    assert mask(secret) == shown


async def fill(engine: AsyncEngine) -> Vault:
    """Two users' keys, one provider."""
    vault = await Vault.open(engine, OLD)
    for user in ("u1", "u2"):
        about = about_user_key(user, "openai", ORIGIN)
        await save_user_key(engine, vault.seal(CANARY + user, *about), user)
    await save_provider(engine, vault.seal(CANARY + "p", *about_provider("p1")))
    return vault


async def test_a_rotation(engine: AsyncEngine) -> None:
    before = await fill(engine)
    kept = {row.id: row.sealed for row in await rows(engine)}
    done = await rotate(engine, OLD, NEW)
    assert done == (2, 1, ())
    after = {row.id: row.sealed for row in await rows(engine)}
    assert len(after) == 2
    assert set(after) & set(kept) == {"digest"}
    assert after["digest"] != kept["digest"]
    with pytest.raises(WrongEncryptionKey):
        await Vault.open(engine, OLD)
    vault = await Vault.open(engine, NEW)
    assert vault.digest_key == before.digest_key
    for row in await rows(engine, user_keys):
        about = ("user", row.user_id, "openai", ORIGIN)
        opened = vault.unseal(row.sealed, row.vault_id, *about)
        assert opened.get_secret_value() == CANARY + row.user_id
        assert row.created_at == 5
        assert row.updated_at > 1_700_000_000_000  # so that others read it again
    (made,) = await rows(engine, providers)
    opened = vault.unseal(made.sealed, made.vault_id, "provider", "p1")
    assert opened.get_secret_value() == CANARY + "p"
    assert made.updated_at > 1_700_000_000_000


async def test_a_rotation_wants_the_old_key(engine: AsyncEngine) -> None:
    await fill(engine)
    kept = [*await rows(engine), *await rows(engine, user_keys)]
    with pytest.raises(WrongEncryptionKey):
        await rotate(engine, NEW, OLD)
    assert [*await rows(engine), *await rows(engine, user_keys)] == kept


async def test_a_rotation_that_breaks_changes_nothing(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(engine)
    tables = (table, user_keys, providers)
    kept = [row for stored in tables for row in await rows(engine, stored)]
    monkeypatch.setattr("proxy.vault.delete", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await rotate(engine, OLD, NEW)
    assert [row for stored in tables for row in await rows(engine, stored)] == kept


async def test_what_cannot_be_read_is_told_and_kept(engine: AsyncEngine) -> None:
    """Were the byte flipped back, it would still open: its data key is there too."""
    await fill(engine)
    bad = (user_keys.c.user_id == "u1", user_keys.c.provider_name == "openai")
    good = (await rows(engine, user_keys))[0].sealed
    await change(engine, update(user_keys).where(*bad).values(sealed=flipped(good)))
    done = await rotate(engine, OLD, NEW)
    assert done == (1, 1, ("user_keys/u1/openai",))
    vault = await Vault.open(engine, NEW)
    assert await check(engine, vault) == (1, 1, ("user_keys/u1/openai",))
    assert (await rows(engine, user_keys))[0].sealed == flipped(good)
    await change(engine, update(user_keys).where(*bad).values(sealed=good))
    assert await check(engine, vault) == (2, 1, ())
    assert await rotate(engine, NEW, OLD) == (2, 1, ())
    assert len(await rows(engine)) == 2  # now the old data key is gone


async def test_new_secrets_go_under_the_newest_data_key(engine: AsyncEngine) -> None:
    vault = await fill(engine)
    old_id = vault.seal(CANARY, "u").vault_id
    await change(engine, update(user_keys).values(sealed=b"spoilt"))
    await change(engine, update(table).values(created_at=4_000_000_000_000))  # a clock gone wrong
    assert (await rotate(engine, OLD, NEW)).unreadable == (
        "user_keys/u1/openai",
        "user_keys/u2/openai",
    )
    (made,) = await rows(engine, providers)
    after = await Vault.open(engine, NEW)
    assert after.seal(CANARY, "u").vault_id == made.vault_id != old_id


async def test_deleted_rows_are_emptied(engine: AsyncEngine) -> None:
    vault = await Vault.open(engine, OLD)
    sealed = vault.seal(CANARY, *about_user_key("u1", "openai", ORIGIN))
    await save_user_key(engine, sealed, deleted_at=9)
    assert await check(engine, vault) == (0, 0, ())
    assert await rotate(engine, OLD, NEW) == (0, 0, ())
    (row,) = await rows(engine, user_keys)
    assert (row.sealed, row.deleted_at) == (b"", 9)


async def test_a_process_of_before_saves_nothing(engine: AsyncEngine) -> None:
    """What it would seal now, nobody could open."""
    before = await Vault.open(engine, OLD)
    await before.ensure_current()
    await rotate(engine, OLD, NEW)
    with pytest.raises(CredentialUnavailable, match="started again"):
        await before.ensure_current()
    await (await Vault.open(engine, NEW)).ensure_current()


async def test_two_rotations_at_once(engine: AsyncEngine) -> None:
    """One of them comes first, and then the other has the wrong key."""
    await fill(engine)
    others = [SecretStr("another one"), SecretStr("a third one")]
    done = await asyncio.gather(
        *(rotate(engine, OLD, other) for other in others), return_exceptions=True
    )
    won = [index for index, result in enumerate(done) if not isinstance(result, Exception)]
    assert len(won) == 1, done
    vault = await Vault.open(engine, others[won[0]])
    assert await check(engine, vault) == (2, 1, ())
