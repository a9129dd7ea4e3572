"""Users' own keys of providers: saved sealed, held in memory sealed, opened when one is sent.

A key is bound to its user, its provider, and the origin (scheme, host, port) that the provider had
when it was saved: a provider that moves elsewhere does not take users' keys along.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Auth
from proxy.config import Provider
from proxy.errors import Conflict, CredentialUnavailable
from proxy.storage.mirror import Mirror, Taken
from proxy.storage.schema import user_keys as table
from proxy.types import OwnKeys
from proxy.vault import Unreadable, Vault, about_user_key, mask

PORTS = {"http": 80, "https": 443}


SYSTEM = "system:"
"""Whose the system's keys are among the users': no user has this id."""


class OwnKeyRow(NamedTuple):
    """What may be shown of a saved key. Times are epoch milliseconds."""

    provider: str
    hint: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """A key as it is stored."""

    user_id: str
    provider: str
    sealed: bytes = field(repr=False)
    vault_id: str
    origin: str
    created_at: int


def takes_none(provider: Provider) -> str | None:
    """Why a provider can be given no key, the system's or a user's own; None when it can."""
    if provider.dialect == "llamacpp":
        return "the embedded model takes no key"
    if provider.sent_by is Auth.SIGV4:
        return "its requests are signed, and take no key"
    return None if provider.base_url else "it has no address yet"


class SavedKeys:
    """One user's keys: `proxy.types.OwnKeys`."""

    def __init__(self, vault: Vault, stored: Mapping[str, _Stored]) -> None:
        self._vault = vault
        self._stored = stored
        self.providers = frozenset(stored)

    def __repr__(self) -> str:
        return f"SavedKeys({sorted(self.providers)})"

    def open(self, provider: str, base_url: str) -> SecretStr:
        """The key; it is opened anew each time. Raises `CredentialUnavailable`."""
        stored = self._stored.get(provider)
        if stored is None:
            raise CredentialUnavailable(f"you have saved no key of {provider}")
        if stored.origin != origin_of(base_url):
            message = (
                f"the provider {provider} has moved since you saved your key of it, which is not "
                "sent to its new place; save the key again"
            )
            raise CredentialUnavailable(message)
        about = about_user_key(stored.user_id, provider, stored.origin)
        try:
            return self._vault.unseal(stored.sealed, stored.vault_id, *about)
        except Unreadable:
            message = (
                f"your key of {provider} can't be opened; save it again, or, if many can't be, "
                "ask who runs this gateway to see to its encryption key"
            )
            raise CredentialUnavailable(message) from None


class OwnKeyStore:
    """The keys of all users of one database."""

    def __init__(self, engine: AsyncEngine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._mirror: Mirror[_Stored] = Mirror(engine, table, _stored)
        self._mirror.on_change = self._forget
        self._by_user: dict[str, SavedKeys] | None = None
        self._system: list[_Stored] = []
        self.on_system_change: Callable[[], None] | None = None  # told of keys of `SYSTEM`

    async def start(self) -> None:
        """Loads every key, sealed, and keeps up with other processes from then on."""
        await self._mirror.start()

    async def stop(self) -> None:
        await self._mirror.stop()

    def of(self, user_id: str) -> OwnKeys | None:
        """The keys of a user; None when there are none. A look-up in memory."""
        if self._by_user is None:
            self._by_user = self._sorted()
        return self._by_user.get(user_id)

    async def save(
        self, user_id: str, provider: str, base_url: str, secret: SecretStr
    ) -> OwnKeyRow:
        """Saves a key, in the place of the one there was. Raises `CredentialUnavailable` when the
        vault's keys were rotated while this process ran, `Conflict`."""
        await self._vault.ensure_current()
        origin, plain = origin_of(base_url), secret.get_secret_value()
        sealed = self._vault.seal(plain, *about_user_key(user_id, provider, origin))
        values = {
            "user_id": user_id,
            "provider_name": provider,
            **sealed._asdict(),
            "origin": origin,
            "hint": mask(plain),
        }
        before = self._mirror.get(user_id, provider)
        if before is not None:
            values["created_at"] = before.created_at
        try:
            await self._mirror.put(values, replace=True)
        except Taken:
            message = f"another request saves a key of {provider} just now; try again"
            raise Conflict(message) from None
        try:
            await self._vault.ensure_current()
        except CredentialUnavailable:  # a rotation came in between
            await self.remove(user_id, provider)
            raise
        return next(row for row in await self.list(user_id) if row.provider == provider)

    async def remove(self, user_id: str, provider: str | None) -> int:
        """Removes a user's key of a provider, or all; how many those were. Nothing of them stays
        in the table but that they were there."""
        now = _now()
        which = [table.c.user_id == user_id, table.c.deleted_at.is_(None)]
        if provider is not None:
            which.append(table.c.provider_name == provider)
        gone = {"sealed": b"", "hint": "", "deleted_at": now, "updated_at": now}
        async with self._engine.begin() as connection:
            done = await connection.execute(update(table).where(*which).values(gone))
        await self._mirror.take(table.c.user_id == user_id)
        return done.rowcount

    async def list(self, user_id: str) -> list[OwnKeyRow]:
        """What a user has saved, by provider."""
        query = (
            select(table.c.provider_name, table.c.hint, table.c.created_at, table.c.updated_at)
            .where(table.c.user_id == user_id, table.c.deleted_at.is_(None))
            .order_by(table.c.provider_name)
        )
        async with self._engine.connect() as connection:
            return [OwnKeyRow(*row) for row in await connection.execute(query)]

    def _forget(self) -> None:
        self._by_user = None
        system = [stored for stored in self._mirror.values() if stored.user_id == SYSTEM]
        if system != self._system:
            self._system = system
            if self.on_system_change is not None:
                self.on_system_change()

    def _sorted(self) -> dict[str, SavedKeys]:
        found: dict[str, dict[str, _Stored]] = {}
        for stored in self._mirror.values():
            found.setdefault(stored.user_id, {})[stored.provider] = stored
        return {user_id: SavedKeys(self._vault, keys) for user_id, keys in found.items()}


def origin_of(base_url: str) -> str:
    """`scheme://host:port` of a URL, the port always written; '' for none."""
    parts = urlsplit(base_url)
    if not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or PORTS.get(parts.scheme, 0)}"


def _stored(row: Row[Any]) -> _Stored:
    return _Stored(
        user_id=row.user_id,
        provider=row.provider_name,
        sealed=bytes(row.sealed),
        vault_id=row.vault_id,
        origin=row.origin,
        created_at=row.created_at,
    )


def _now() -> int:
    return int(time.time() * 1000)
