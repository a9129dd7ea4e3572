"""The vault: providers' keys are sealed before they go into the database.

`auth.encryption_key` seals a few random keys, and those seal what is stored (an envelope):

    encryption key --HKDF-SHA256--> key-encrypting keys
        wrap   vault 'digest'    under which virtual keys are digested
        wrap   vault 'data'      under which user_keys.sealed and providers.sealed are sealed

Secrets are sealed with AES-256-GCM (`proxy.aes`). The associated data names whose secret it is, so
that a row that is copied to another owner opens nothing. The vault's own rows are random keys of
32 bytes: one is wrapped by HMAC-SHA256 alone, as a pad for its bytes and as a tag over them, so
that a process that opens no secret loads no cipher.
"""

import hmac
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import SecretStr
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.errors import CredentialUnavailable
from proxy.home import digest_key
from proxy.ids import uuid7
from proxy.storage.engine import StorageError
from proxy.storage.schema import providers, user_keys
from proxy.storage.schema import vault as table

DIGEST, DATA = "digest", "data"
"""What a key of the vault is for. The digest key's id is `DIGEST` too: there is only one."""

KEY, NONCE = 32, 16  # bytes of a wrapped key, and of what no two wrappings share
HIDDEN = 12  # characters of a secret that must stay hidden before any is shown

PREFIXES = (
    *("sk-ant-", "sk-proj-", "sk-or-", "sk-", "gsk_", "hf_", "AIza", "xai-", "pplx-", "nvapi-"),
    *("csk-", "r8_", "fw_", "tgp_", "key-"),
)
"""How vendors' keys begin, which tells nothing of one."""

log = logging.getLogger("turnout.vault")


class WrongEncryptionKey(StorageError):
    """The encryption key is not the one that this database's vault was made with."""

    def __init__(self) -> None:
        super().__init__(
            "auth.encryption_key does not open the vault of this database; give the key that the "
            "database was last used with, by auth.encryption_key or as the file encryption_key in "
            "TURNOUT_HOME (docs/secrets.md says what else may have happened)"
        )


class Unreadable(Exception):
    """What is sealed can't be opened here. It names no secret."""


class Sealed(NamedTuple):
    """A secret that only the vault opens, and the id of the data key that it is sealed under."""

    sealed: bytes
    vault_id: str


class Rotation(NamedTuple):
    """What a rotation has sealed anew, and the rows, as `table/key`, that it could not read."""

    user_keys: int
    providers: int
    unreadable: tuple[str, ...]


class Vault:
    """The opened keys of one database."""

    def __init__(self, engine: AsyncEngine, digest: bytes, data: Mapping[str, bytes]) -> None:
        self._engine = engine
        self._digest = digest
        self._data = dict(data)
        self._newest = list(data)[-1]

    def __repr__(self) -> str:
        return f"Vault({len(self._data)} data keys)"

    @classmethod
    async def open(cls, engine: AsyncEngine, encryption_key: SecretStr) -> "Vault":
        """The vault of a database, made at its first use. Raises `WrongEncryptionKey`."""
        rows = await _rows(engine)
        if not rows:
            await _establish(engine, encryption_key)
            rows = await _rows(engine)
        wrapping = _Wrapping(encryption_key)
        digest, data = _open_keys(rows, wrapping)
        if not data:
            log.error("the vault has no data key that can be read, so it gets a new one")
            made = _NewKey(DATA, rows)
            async with engine.begin() as connection:
                await connection.execute(insert(table).values(made.row(wrapping)))
            data = {made.id: made.key}
        return cls(engine, digest, data)

    @property
    def digest_key(self) -> bytes:
        """The key under which virtual keys are digested; a rotation does not change it."""
        return self._digest

    def seal(self, secret: str, *about: str) -> Sealed:
        """Seals a secret under the newest data key. `about` says whose it is; only who says the
        same opens it."""
        sealed = _seal(self._data[self._newest], secret.encode(), about)
        return Sealed(sealed, self._newest)

    def unseal(self, sealed: bytes, vault_id: str, *about: str) -> SecretStr:
        """The secret. Raises `Unreadable`."""
        key = self._data.get(vault_id)
        if key is None:
            raise Unreadable(f"it is sealed under the data key {vault_id!r}, which is not here")
        return SecretStr(_unseal(key, sealed, about).decode())

    async def ensure_current(self) -> None:
        """Raises `CredentialUnavailable` when the keys were rotated since this process opened
        them: what it seals now nobody could open. Waits for a rotation under way. To be asked
        before and after what is sealed is written."""
        query = select(table.c.id).where(table.c.id == self._newest).with_for_update(read=True)
        async with self._engine.begin() as connection:
            known = (await connection.execute(query)).one_or_none()
        if known is None:
            message = (
                "keys can't be saved now: the encryption key was rotated while this process ran, "
                "and it has to be started again"
            )
            raise CredentialUnavailable(message, headers={"retry-after": "60"})


def mask(secret: str) -> str:
    """What may be shown of a secret: how its vendor's keys begin and its last 4 characters, of a
    short one nothing. 16 characters at most."""
    begin = next((prefix for prefix in PREFIXES if secret.startswith(prefix)), "")
    if len(secret) < len(begin) + HIDDEN + 4:
        return "…"
    return f"{begin}…{secret[-4:]}"


async def rotate(engine: AsyncEngine, old: SecretStr, new: SecretStr) -> Rotation:
    """Puts another encryption key and another data key in the place of the old ones, in one
    transaction. Raises `WrongEncryptionKey` when `old` is not the one.

    A row that can't be read stays as it is, and so does its data key, under the new encryption
    key.
    """
    await Vault.open(engine, old)
    wrapping = _Wrapping(new)
    async with engine.begin() as connection:
        # The first statement takes the write lock: nobody saves a key under an old one meanwhile.
        await connection.execute(update(table).values(sealed=table.c.sealed))
        rows = (await connection.execute(_ORDERED)).all()
        digest, data = _open_keys(rows, _Wrapping(old))
        made = _NewKey(DATA, rows)
        await connection.execute(insert(table).values(made.row(wrapping)))
        work = _Resealing(connection, data, made)
        counts = [await work.reseal(user_keys), await work.reseal(providers)]
        for row in rows:
            this = table.c.id == row.id
            raw = digest if row.purpose == DIGEST else data.get(row.id)
            if row.purpose == DATA and row.id not in work.needed:
                await connection.execute(delete(table).where(this))
            elif raw is not None:
                again = wrapping.wrap(raw, _about_key(row.id, row.purpose))
                await connection.execute(update(table).where(this).values(sealed=again))
    return Rotation(counts[0], counts[1], tuple(work.unreadable))


async def check(engine: AsyncEngine, vault: Vault) -> Rotation:
    """How many rows can be opened, and which can't."""
    counts, unreadable = [], []
    async with engine.connect() as connection:
        for stored in (user_keys, providers):
            rows = (await connection.execute(_live(stored))).all()
            wrong = [_name(stored, row) for row in rows if not _is_readable(vault, stored, row)]
            counts.append(len(rows) - len(wrong))
            unreadable += wrong
    return Rotation(counts[0], counts[1], tuple(unreadable))


class _NewKey:
    """A key of the vault just made, newer than those there are."""

    def __init__(self, purpose: str, rows: Sequence[Row[Any]], key: bytes | None = None) -> None:
        self.purpose = purpose
        self.id = DIGEST if purpose == DIGEST else f"data_{uuid7()}"
        self.key = key or os.urandom(KEY)
        self.created_at = max([_now(), *(row.created_at + 1 for row in rows)])

    def row(self, wrapping: "_Wrapping") -> dict[str, Any]:
        """The row of it, sealed under an encryption key."""
        return {
            "id": self.id,
            "purpose": self.purpose,
            "sealed": wrapping.wrap(self.key, _about_key(self.id, self.purpose)),
            "created_at": self.created_at,
        }


class _Resealing:
    """A rotation's way through the rows. `needed` are the data keys of those it can't read."""

    def __init__(
        self, connection: AsyncConnection, data: Mapping[str, bytes], made: _NewKey
    ) -> None:
        self._connection = connection
        self._data = dict(data)
        self._id = made.id
        self._key = made.key
        self.unreadable: list[str] = []
        self.needed: set[str] = set()

    async def reseal(self, stored: Table) -> int:
        """Seals a table's live rows under the new data key; how many. What is left of deleted
        ones goes."""
        gone = update(stored).where(stored.c.deleted_at.is_not(None))
        await self._connection.execute(gone.values(sealed=b""))
        rows = (await self._connection.execute(_live(stored).with_for_update())).all()
        done = 0
        for row in rows:
            about = _about(stored, row)
            try:
                secret = _unseal(self._data.get(row.vault_id), row.sealed, about)
            except Unreadable:
                self.unreadable.append(_name(stored, row))
                self.needed.add(row.vault_id)
                continue
            again = {"sealed": _seal(self._key, secret, about), "vault_id": self._id}
            change = update(stored).where(_at(stored, row)).values(updated_at=_now(), **again)
            await self._connection.execute(change)
            done += 1
        return done


_ORDERED = select(table).order_by(table.c.created_at, table.c.id)


async def _rows(engine: AsyncEngine) -> Sequence[Row[Any]]:
    async with engine.connect() as connection:
        return (await connection.execute(_ORDERED)).all()


async def _establish(engine: AsyncEngine, encryption_key: SecretStr) -> None:
    """Makes the first rows. The digest key begins as what it was before there was a vault, so
    that older virtual keys stay valid. Of two processes one makes them."""
    wrapping = _Wrapping(encryption_key)
    made = [_NewKey(DIGEST, (), digest_key(encryption_key)), _NewKey(DATA, ())]
    try:
        async with engine.begin() as connection:
            await connection.execute(insert(table), [new.row(wrapping) for new in made])
    except IntegrityError:
        pass  # another process was first: its rows count


def _open_keys(rows: Sequence[Row[Any]], wrapping: "_Wrapping") -> tuple[bytes, dict[str, bytes]]:
    """The digest key, and the data keys that can be read, oldest first."""
    digest, data = None, {}
    for row in rows:
        try:
            key = wrapping.unwrap(row.sealed, _about_key(row.id, row.purpose))
        except Unreadable:
            if row.purpose == DATA:
                continue
            raise WrongEncryptionKey from None
        if row.purpose == DIGEST:
            digest = key
        else:
            data[row.id] = key
    if digest is None:
        message = "the vault of this database has lost its digest key; restore it from a backup"
        raise StorageError(message)
    return digest, data


class _Wrapping:
    """What wraps the vault's own rows."""

    def __init__(self, encryption_key: SecretStr) -> None:
        secret = encryption_key.get_secret_value().encode()
        self._pad = _derived(secret, b"turnout vault v1 pad")
        self._tag = _derived(secret, b"turnout vault v1 tag")

    def wrap(self, key: bytes, about: Sequence[str]) -> bytes:
        """Nonce, the key under its pad, tag."""
        named = os.urandom(NONCE) + _joined(about)
        nonce, padded = named[:NONCE], _xor(key, hmac.digest(self._pad, named, "sha256"))
        return nonce + padded + hmac.digest(self._tag, padded + named, "sha256")

    def unwrap(self, wrapped: bytes, about: Sequence[str]) -> bytes:
        """Raises `Unreadable`."""
        nonce, padded, tag = wrapped[:NONCE], wrapped[NONCE:-KEY], wrapped[-KEY:]
        named = nonce + _joined(about)
        if len(wrapped) != NONCE + 2 * KEY or not hmac.compare_digest(
            tag, hmac.digest(self._tag, padded + named, "sha256")
        ):
            raise Unreadable("it was changed, or wrapped under another encryption key")
        return _xor(padded, hmac.digest(self._pad, named, "sha256"))


def _derived(secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt, its first block: 32 bytes."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), info + b"\x01", "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _seal(key: bytes, secret: bytes, about: Sequence[str]) -> bytes:
    from proxy import aes

    return aes.seal(key, secret, _joined(about))


def _unseal(key: bytes | None, sealed: bytes, about: Sequence[str]) -> bytes:
    from proxy import aes

    opened = None if key is None else aes.unseal(key, sealed, _joined(about))
    if opened is None:
        raise Unreadable("there is no key for it, or it was changed, or is another's")
    return opened


def _joined(about: Sequence[str]) -> bytes:
    """Each part after its length: no two lists of parts are joined to the same bytes."""
    parts = [part.encode() for part in about]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _about_key(id: str, purpose: str) -> tuple[str, ...]:
    return ("vault", id, purpose)


def about_user_key(user_id: str, provider: str, origin: str) -> tuple[str, ...]:
    """What a user's key of a provider is bound to: whose it is, and the place it is sent to."""
    return ("user", user_id, provider, origin)


def about_provider(id: str) -> tuple[str, ...]:
    """What the key of a provider that was made through the API is bound to."""
    return ("provider", id)


def _about(stored: Table, row: Row[Any]) -> tuple[str, ...]:
    if stored is user_keys:
        return about_user_key(row.user_id, row.provider_name, row.origin)
    return about_provider(row.id)


def _live(stored: Table) -> Select[Any]:
    return select(stored).where(stored.c.deleted_at.is_(None)).order_by(*stored.primary_key)


def _at(stored: Table, row: Row[Any]) -> ColumnElement[bool]:
    return and_(*(column == row._mapping[column.name] for column in stored.primary_key))


def _name(stored: Table, row: Row[Any]) -> str:
    return "/".join([stored.name, *(row._mapping[column.name] for column in stored.primary_key)])


def _is_readable(vault: Vault, stored: Table, row: Row[Any]) -> bool:
    try:
        vault.unseal(row.sealed, row.vault_id, *_about(stored, row))
    except Unreadable:
        return False
    return True


def _now() -> int:
    return int(time.time() * 1000)
