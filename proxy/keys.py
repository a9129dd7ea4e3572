"""Virtual keys: made, found by their digest, revoked.

A key's secret has 256 bits and is shown once; the database has its HMAC only. Keys are held in
memory, so that a request with a known one waits for nothing.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.allowance import over, own_limits, shown
from proxy.errors import DatabaseUnavailable
from proxy.ids import uuid7
from proxy.storage.schema import keys as table
from proxy.tasks import end, spawn
from proxy.types import OwnCache, OwnLimits

PREFIX = "sk-turnout-"
DIGEST_VERSION = 1
REFRESH = 1.0  # seconds after which what another process changed is known here
UNKNOWN_FOR = 1.0  # seconds that a key the database does not know is not asked for again
PATIENCE = 2.0  # seconds that a request with a key that is not known here waits for the database
ASKING = 3  # requests that do so at a time
UNKNOWN_LIMIT = 10_000
NEWEST_CHANGE = "SELECT max(updated_at) FROM keys"  # an index look-up, a fifth of a select's CPU
OVERLAP = 2000  # milliseconds by which each refresh looks back, for clocks and slow commits

log = logging.getLogger("turnout.keys")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is stored. Times are epoch milliseconds."""

    id: str
    name: str | None
    digest: str
    models: tuple[str, ...] | None
    user_id: str | None
    created_at: int
    updated_at: int
    expires_at: int | None
    revoked_at: int | None
    limits: OwnLimits | None
    tags: tuple[str, ...]
    cache: OwnCache | None = None

    def is_live(self, now: float) -> bool:
        """Whether it opens doors; `now` in epoch seconds."""
        return self.revoked_at is None and (self.expires_at is None or now * 1000 < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the only time that its secret is there."""

    id: str
    secret: str
    name: str | None
    models: tuple[str, ...] | None
    created_at: int
    expires_at: int | None

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


Rows = list[KeyRow]


class KeyStore:
    """The keys of one database, digested under one secret."""

    def __init__(self, engine: AsyncEngine, digest_key: bytes) -> None:
        self._engine = engine
        self._digest_key = digest_key
        self._by_digest: dict[str, KeyRow] = {}
        self._digests: dict[str, str] = {}  # by id
        self._tag_key = secrets.token_bytes(32)
        self._tags: dict[bytes, str] = {}  # of known keys only, so as many as there are keys
        self._unknown: dict[str, float] = {}  # digest -> until when it is not asked for
        self._seen = 0
        self._asking = asyncio.Semaphore(ASKING)
        self._reading = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self.on_revoked: Callable[[str], None] | None = None  # told the ids of keys revoked here
        self.on_limits: Callable[[Rows], Awaitable[None]] | None = None  # told of new limits

    async def start(self) -> None:
        """Loads every key, and keeps up with other processes from then on."""
        await self.refresh()
        self._refreshing = spawn(self._keep_fresh(), "refresh keys")

    async def stop(self) -> None:
        if self._refreshing is not None:
            await end(self._refreshing)

    def find(self, secret: str) -> KeyRow | None:
        """A live key that is known here.

        A key seen before is known by a tag: a keyed hash of this process alone, at a tenth of
        the cost of the digest that the database has.
        """
        tag = hashlib.blake2b(secret.encode(errors="replace"), key=self._tag_key).digest()
        digest = self._tags.get(tag)
        if digest is None:
            digest = self._digest(secret)
            if digest in self._by_digest:
                self._tags[tag] = digest
        row = self._by_digest.get(digest)
        return row if row is not None and row.is_live(time.time()) else None

    async def lookup(self, secret: str) -> KeyRow | None:
        """A live key that may be new in the database. Asks for an unknown one once a second."""
        digest = self._digest(secret)
        now = time.monotonic()
        if digest in self._by_digest or self._unknown.get(digest, 0.0) > now:
            return self.find(secret)
        found, changed = await self._ask(digest)
        await self._tell(changed)
        if not found:
            if len(self._unknown) >= UNKNOWN_LIMIT:
                self._unknown.clear()
            self._unknown[digest] = now + UNKNOWN_FOR
        return self.find(secret)

    async def _ask(self, digest: str) -> tuple[Rows, Rows]:
        """What the database knows of a key. Raises `DatabaseUnavailable` when it is away or slow.

        Few ask at a time: whoever sends wrong keys may not take every connection of the pool.
        """
        try:
            async with asyncio.timeout(PATIENCE), self._asking:
                if digest in self._by_digest:  # who waited before has asked the same
                    return [self._by_digest[digest]], []
                return await self._read(table.c.digest == digest)
        except (SQLAlchemyError, OSError):  # a timeout is an OSError
            message = "the database is away, and this key was not seen before; try again"
            raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None

    async def create(
        self,
        name: str | None = None,
        models: tuple[str, ...] | None = None,
        expires_at: int | None = None,
        user_id: str | None = None,
        limits: OwnLimits | None = None,
        tags: tuple[str, ...] = (),
        cache: OwnCache | None = None,
    ) -> NewKey:
        """Makes a key. `models` None allows all; `expires_at` is in epoch milliseconds."""
        secret = PREFIX + secrets.token_urlsafe(32)
        now = _now()
        key_id = "key_" + uuid7()
        row = {
            "id": key_id,
            "name": name,
            "digest": self._digest(secret),
            "digest_version": DIGEST_VERSION,
            "models": models,
            "user_id": user_id,
            "created_at": now,
            "updated_at": now,
            "expires_at": expires_at,
            "revoked_at": None,
            "limits": shown(limits),
            "tags": tags,
            "cache": shown_cache(cache),
        }
        async with self._engine.begin() as connection:
            await connection.execute(insert(table).values(row))
        await self._take(table.c.id == key_id)
        return NewKey(key_id, secret, name, models, now, expires_at)

    def known(self) -> Rows:
        """Every key that is known here, in memory."""
        return list(self._by_digest.values())

    async def list(self, user_id: str | None = None) -> Rows:
        """Every key, or a user's, oldest first."""
        return await self._select(*_of(user_id))

    async def get(self, id: str, user_id: str | None = None) -> KeyRow | None:
        """The key of that id, if it is that user's."""
        found = await self._select(table.c.id == id, *_of(user_id))
        return found[0] if found else None

    async def change(self, id: str, values: Mapping[str, Any]) -> KeyRow | None:
        """Changes fields of `KeyRow`, here at once; None when there is no key of that id.

        Of `limits` the fields that are given change; None drops them all. `cache` changes whole.
        """
        by_id = table.c.id == id
        async with self._engine.begin() as connection:
            # The update comes first: it takes the write lock, so that no other change is lost.
            await connection.execute(update(table).where(by_id).values(updated_at=_now()))
            row = (await connection.execute(select(table).where(by_id))).one_or_none()
            if row is None:
                return None
            stored = dict(values)
            if "limits" in stored:
                stored["limits"] = shown(over(_key(row).limits, stored["limits"]))
            if "cache" in stored:
                stored["cache"] = shown_cache(stored["cache"])
            if stored:
                await connection.execute(update(table).where(by_id).values(stored))
        return (await self._take(by_id))[0]

    async def revoke(self, id: str) -> bool:
        """Ends a key, here at once; False when there is none of that id that is not ended."""
        now = _now()
        change = update(table).where(table.c.id == id, table.c.revoked_at.is_(None))
        async with self._engine.begin() as connection:
            done = await connection.execute(change.values(revoked_at=now, updated_at=now))
        await self._take(table.c.id == id)
        if self.on_revoked is not None:
            self.on_revoked(id)
        return done.rowcount == 1

    async def rotate(self, id: str) -> NewKey | None:
        """Gives a live key another secret: the old one opens nothing any more. None when there is
        no live key of that id."""
        secret = PREFIX + secrets.token_urlsafe(32)
        change = update(table).where(table.c.id == id, table.c.revoked_at.is_(None))
        values = {"digest": self._digest(secret), "digest_version": DIGEST_VERSION}
        async with self._engine.begin() as connection:
            done = await connection.execute(change.values(**values, updated_at=_now()))
        found = await self._take(table.c.id == id)
        if done.rowcount != 1:
            return None
        row = found[0]
        return NewKey(id, secret, row.name, row.models, row.created_at, row.expires_at)

    async def revoke_all(self, user_id: str) -> int:
        """Ends every key of a user; how many those were."""
        rows = await self._select(table.c.user_id == user_id, table.c.revoked_at.is_(None))
        return sum([await self.revoke(row.id) for row in rows])

    def end(self, id: str) -> None:
        """Another process has revoked a key: it opens nothing here any more, as of now."""
        for digest, row in self._by_digest.items():
            if row.id == id and row.revoked_at is None:
                self._by_digest[digest] = replace(row, revoked_at=_now())
                return

    async def refresh(self) -> None:
        """Takes over what has changed in the database since the last time."""
        async with self._engine.connect() as connection:
            newest = (await connection.exec_driver_sql(NEWEST_CHANGE)).scalar() or 0
        if newest == self._seen and newest < _now() - OVERLAP:
            return
        await self._take(table.c.updated_at > self._seen - OVERLAP)
        self._seen = newest

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self.refresh()
            except SQLAlchemyError as error:
                log.warning("keys could not be read again: %s", type(error).__name__)

    async def _select(self, *conditions: Any) -> Rows:
        query = select(table).where(*conditions).order_by(table.c.id)
        async with self._engine.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def _take(self, *conditions: Any) -> Rows:
        """Rows of the database, taken over here."""
        rows, changed = await self._read(*conditions)
        await self._tell(changed)
        return rows

    async def _read(self, *conditions: Any) -> tuple[Rows, Rows]:
        """Rows of the database, taken over here, and those whose limits are new. What was read
        before may not be taken over after what was read later."""
        async with self._reading:
            rows = await self._select(*conditions)
            return rows, self._remember(rows)

    async def _tell(self, changed: Rows) -> None:
        if changed and self.on_limits is not None:
            await self.on_limits(changed)

    def _remember(self, rows: Iterable[KeyRow]) -> Rows:
        """The rows whose limits are new."""
        changed = []
        for row in rows:
            old = self._digests.get(row.id)
            before = None if old is None else self._by_digest.get(old)
            if before is None or before.limits != row.limits:
                changed.append(row)
            if old is not None and old != row.digest:  # it was given another secret
                self._by_digest.pop(old, None)
            self._by_digest[row.digest] = row
            self._digests[row.id] = row.digest
            self._unknown.pop(row.digest, None)
        return changed

    def _digest(self, secret: str) -> str:
        return hmac.digest(self._digest_key, secret.encode(errors="replace"), "sha256").hex()


def _of(user_id: str | None) -> tuple[Any, ...]:
    return () if user_id is None else (table.c.user_id == user_id,)


class OwnCacheError(ValueError):
    """What a key can't say of the cache: the field, and what is wrong with it."""

    def __init__(self, field: str, fault: str) -> None:
        self.field = field
        super().__init__(f"{field!r} {fault}")


def own_cache(value: Any) -> OwnCache:
    """What a key says of the cache, from JSON: `{enabled, semantic}`, each true, false or null.

    Null, or a field that is left out, says nothing. Raises `OwnCacheError` naming the field.
    """
    if not isinstance(value, dict):
        raise OwnCacheError("cache", 'must be an object such as {"semantic": true}')
    for field, said in value.items():
        if field not in OwnCache._fields:
            known = ", ".join(OwnCache._fields)
            raise OwnCacheError(f"cache.{field}", f"is not known; known are {known}")
        if said is not None and not isinstance(said, bool):
            raise OwnCacheError(f"cache.{field}", "must be true, false or null")
    return OwnCache(**value)


def shown_cache(own: OwnCache | None) -> dict[str, bool | None] | None:
    """What a key says of the cache as JSON, as `own_cache` reads it."""
    return None if own is None else own._asdict()


def _key(row: Row[Any]) -> KeyRow:
    return KeyRow(
        id=row.id,
        name=row.name,
        digest=row.digest,
        models=None if row.models is None else tuple(row.models),
        user_id=row.user_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        limits=None if row.limits is None else own_limits(row.limits),
        tags=tuple(row.tags or ()),
        cache=None if row.cache is None else OwnCache(**row.cache),
    )


def _now() -> int:
    return int(time.time() * 1000)
