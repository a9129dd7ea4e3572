"""What operators make through the API: providers beside those of the file, and overrides.

Both are small tables in memory. A provider's key is sealed in the database, bound to its row; it
is opened when a configuration is put together, and never shown.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from pydantic import SecretStr, ValidationError
from sqlalchemy import Row, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config import Config, Provider
from proxy.config_types import DEFAULT_URLS
from proxy.errors import CredentialUnavailable, DatabaseUnavailable
from proxy.ids import uuid7
from proxy.presets import PRESETS
from proxy.storage import schema
from proxy.storage.mirror import Mirror
from proxy.vault import Unreadable, Vault, about_provider, mask

Dialect = Literal["openai", "anthropic", "gemini", "ollama"]
DIALECTS: tuple[str, ...] = get_args(Dialect)
"""What a provider may speak that is made through the API."""

USUAL_URLS = {"openai": "https://api.openai.com/v1"} | DEFAULT_URLS

DISABLED = "it is disabled"
UNREADABLE = "its key can't be read"

log = logging.getLogger("turnout.registry")


def usual_dialect(name: str) -> str:
    """What a provider speaks of which neither dialect nor place was said: what the vendor of
    that name does, `openai` when there is none."""
    preset = PRESETS.get(name)
    return preset.dialect if preset is not None and preset.dialect in DIALECTS else "openai"


def usual_url(name: str, dialect: str) -> str | None:
    """Where a provider is of which no place was said: where the vendor of that name is, if that
    is its dialect; else where the dialect comes from. None where that has to be said."""
    preset = PRESETS.get(name)
    if preset is not None and (preset.dialect == dialect or preset.dialect not in DIALECTS):
        return preset.base_url
    return USUAL_URLS[dialect]


class ProviderSpec(NamedTuple):
    """What an operator says of a provider, without its key. `base_url` None: the usual one."""

    name: str
    display_name: str
    models: tuple[str, ...]
    dialect: str = "openai"
    base_url: str | None = None
    is_enabled: bool = True
    rate_limit_rpm: int | None = 60
    rate_limit_tpm: int | None = 100_000
    priority: int = 10
    allow_private: bool = False

    @property
    def url(self) -> str | None:
        """Where it is."""
        return self.base_url or usual_url(self.name, self.dialect)


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider as it is stored. `hint` is what may be shown of its key; times are epoch
    milliseconds."""

    id: str
    spec: ProviderSpec
    sealed: bytes = field(repr=False)
    vault_id: str
    hint: str
    created_at: int
    updated_at: int


class ProviderStore:
    """The providers made through the API. `start` before use."""

    def __init__(self, engine: AsyncEngine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._mirror = Mirror(engine, schema.providers, _provider_row)

    @property
    def on_change(self) -> Callable[[], None] | None:
        """Is told when any provider is another, also by another process."""
        return self._mirror.on_change

    @on_change.setter
    def on_change(self, told: Callable[[], None] | None) -> None:
        self._mirror.on_change = told

    async def start(self) -> None:
        await self._mirror.start()

    async def stop(self) -> None:
        await self._mirror.stop()

    async def refresh(self) -> None:
        """Takes over what other processes have changed. Raises `DatabaseUnavailable`."""
        with _database():
            await self._mirror.refresh()

    def get(self, id: str) -> ProviderRow | None:
        return self._mirror.get(id)

    def by_name(self, name: str) -> ProviderRow | None:
        return next((row for row in self._mirror.values() if row.spec.name == name), None)

    def display_name(self, name: str) -> str:
        """What people call the provider of a name; the name itself where nothing was said."""
        row = self.by_name(name)
        return name if row is None else row.spec.display_name

    def list(self) -> list[ProviderRow]:
        """All, the oldest first."""
        return self._mirror.values()

    async def create(self, spec: ProviderSpec, secret: SecretStr) -> ProviderRow:
        """Raises `Taken` when the name is, `CredentialUnavailable`, `DatabaseUnavailable`."""
        made = uuid7()
        with _database():
            await self._vault.ensure_current()
            row = await self._mirror.put(
                {"id": made, **_columns(spec), **self._sealed(made, secret)}
            )
            try:
                await self._vault.ensure_current()
            except CredentialUnavailable:  # rotated meanwhile: nobody could open it
                await self._mirror.drop((made,))
                raise
        return row

    async def change(
        self, row: ProviderRow, spec: ProviderSpec, secret: SecretStr | None = None
    ) -> ProviderRow | None:
        """Writes what of `spec` is not as in `row`, and the key if one is given; None when the
        row is gone. Raises as `create` does."""
        before, after = _columns(row.spec), _columns(spec)
        changes = {name: value for name, value in after.items() if value != before[name]}
        if secret is not None:
            changes |= self._sealed(row.id, secret)
        with _database():
            if secret is not None:
                await self._vault.ensure_current()
            changed = await self._mirror.change((row.id,), changes)
            if secret is not None:
                await self._vault.ensure_current()
        return changed

    async def remove(self, id: str) -> bool:
        """Deletes a provider, and its key from the database; whether it was there."""
        table = schema.providers
        gone = update(table).where(table.c.id == id, table.c.deleted_at.is_not(None))
        with _database():
            removed = await self._mirror.drop((id,))
            async with self._engine.begin() as connection:
                await connection.execute(gone.values(sealed=b"", hint=""))
        return removed

    def entries(self, trusts_private: bool = False) -> dict[str, Provider]:
        """Each as an entry of a configuration. `trusts_private`: those that `allow_private` may be
        at any address."""
        made = {}
        for row in self._mirror.values():
            entry = self._entry(row, trusts_private)
            if entry is not None:
                made[row.spec.name] = entry
        return made

    def merged(self, config: Config) -> Config:
        """The configuration of a file with these providers; the file's own names are the file's."""
        made = self.entries(config.server.private_providers)
        for name in sorted(made.keys() & config.providers.keys()):
            log.warning("provider %s of the API gives way to the file's of that name", name)
        added = {name: entry for name, entry in made.items() if name not in config.providers}
        if config.drop_params:
            update = {"drop_params": True}
            added = {name: entry.model_copy(update=update) for name, entry in added.items()}
        return config.model_copy(update={"providers": {**config.providers, **added}})

    def _sealed(self, id: str, secret: SecretStr) -> dict[str, Any]:
        text = secret.get_secret_value()
        sealed, vault_id = self._vault.seal(text, *about_provider(id))
        return {"sealed": sealed, "vault_id": vault_id, "hint": mask(text)}

    def _entry(self, row: ProviderRow, trusts_private: bool) -> Provider | None:
        spec = row.spec
        key, off = None, None if spec.is_enabled else DISABLED
        try:
            key = self._vault.unseal(row.sealed, row.vault_id, *about_provider(row.id))
        except Unreadable:
            off = off or UNREADABLE
        try:
            entry = Provider(
                dialect=spec.dialect,  # type: ignore[arg-type]  # pydantic checks it
                base_url=spec.url,
                api_key=key,
                models=spec.models,
                priority=spec.priority,
                rpm=spec.rate_limit_rpm,
                tpm=spec.rate_limit_tpm,
                allow_private=spec.allow_private and trusts_private,
            )
        except ValidationError:  # written by a newer version, or by hand
            log.error("provider %s, made through the API, can't be used as it is stored", spec.name)
            return None
        if not entry.allow_private:
            entry = entry.kept_public()
        return entry if off is None else entry.switched_off(off, is_locked=off == UNREADABLE)


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """Where a customer's calls go instead. `service_name` None is all services; times are epoch
    milliseconds."""

    id: str
    user_id: str
    service_name: str | None
    provider_name: str
    model_name: str
    created_at: int
    updated_at: int


_ByUser = dict[str, list[OverrideRow]]


class OverrideStore:
    """The overrides. `start` before use."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._mirror = Mirror(engine, schema.overrides, _override_row)
        self._mirror.on_change = self._forget
        self._by_user: _ByUser | None = None

    async def start(self) -> None:
        await self._mirror.start()

    async def stop(self) -> None:
        await self._mirror.stop()

    def list(self, user_id: str | None = None) -> list[OverrideRow]:
        """All, or one customer's, the oldest first."""
        if user_id is None:
            return self._mirror.values()
        return list(self._indexed().get(user_id, ()))

    def find(self, user_id: str, service: str | None = None) -> OverrideRow | None:
        """The override that holds: one for the service before one for all, the newest of
        several."""
        rows = self._indexed().get(user_id, ())
        fitting = [row for row in rows if row.service_name in (None, service)]
        return max(
            fitting,
            key=lambda row: (row.service_name is not None, row.created_at, row.id),
            default=None,
        )

    async def create(
        self, user_id: str, service_name: str | None, provider_name: str, model_name: str
    ) -> OverrideRow:
        """Raises `DatabaseUnavailable`."""
        values = {
            "id": uuid7(),
            "user_id": user_id,
            "service_name": service_name,
            "provider_name": provider_name,
            "model_name": model_name,
        }
        with _database():
            return await self._mirror.put(values)

    async def remove(self, id: str) -> bool:
        """Whether it was there. Raises `DatabaseUnavailable`."""
        with _database():
            return await self._mirror.drop((id,))

    def _forget(self) -> None:
        self._by_user = None

    def _indexed(self) -> "_ByUser":
        if self._by_user is None:
            self._by_user = {}
            for row in self._mirror.values():
                self._by_user.setdefault(row.user_id, []).append(row)
        return self._by_user


@contextmanager
def _database() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        log.warning("the database took no change: %s", type(error).__name__)
        message = "the database is away, and nothing was changed; try again"
        raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None


def _columns(spec: ProviderSpec) -> dict[str, Any]:
    return spec._asdict() | {"models": list(spec.models)}


def _provider_row(row: Row[Any]) -> ProviderRow:
    fields = row._mapping
    given = {name: fields[name] for name in ProviderSpec._fields}
    return ProviderRow(
        id=row.id,
        spec=ProviderSpec(**given | {"models": tuple(row.models)}),
        sealed=row.sealed,
        vault_id=row.vault_id,
        hint=row.hint,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _override_row(row: Row[Any]) -> OverrideRow:
    fields = row._mapping
    return OverrideRow(**{name: fields[name] for name in OverrideRow.__slots__})
