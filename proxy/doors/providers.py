"""Providers under `/api/v1/providers`: those of the file, read-only, and those made here.

Who makes one here is not who runs the machine, so it may be at a public address only: a host that
plainly is at none, or whose name leads to none, is refused when it is saved, and every address is
looked at again when it is connected to (`proxy.addresses`). A key that was given for one place is
not sent to another: who moves a provider gives its key again.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.addresses import check_url, host_of, is_public, not_allowed
from proxy.config import Provider
from proxy.config_types import HttpUrl, Secret
from proxy.doors.api import OPERATORS, Api, Asked, Operation, Strict, answer, nothing
from proxy.errors import Conflict, InvalidRequest, NotFound, Unprocessable
from proxy.live import Live
from proxy.own_keys import origin_of
from proxy.registry import (
    Dialect,
    ProviderRow,
    ProviderSpec,
    ProviderStore,
    usual_dialect,
)
from proxy.storage.mirror import Taken
from proxy.times import iso
from proxy.vault import mask

PATH = "/api/v1/providers"
ONE = PATH + "/{provider_id}"

LOOK_UP = 3.0  # seconds that a host name may take to be looked up when a provider is saved
MOST = 2**31 - 1  # that a column holds
MOST_MODELS = 2000
PRIORITIES = 1_000_000

RESERVED = frozenset({"task"})
"""Names that begin other names than a provider's."""

NULLABLE = frozenset({"base_url", "rate_limit_rpm", "rate_limit_tpm"})

SHADOWED = "the configuration file has a provider of that name"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNWANTED = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\?#]")

Probe = Callable[[str], Awaitable[str | None]]
"""A provider's name -> what is wrong with it, None when nothing is."""


def plain(value: str) -> str:
    """A text as it was given. Raises `ValueError` for one that is empty or does not print."""
    if not value.strip() or _CONTROL.search(value):
        raise ValueError("must not be empty, and have no control characters")
    return value


def _free(value: str) -> str:
    if value in RESERVED:
        raise ValueError(f"{value!r} begins the names of something else")
    return value


def _url(value: str) -> str:
    if _UNWANTED.search(value) or "@" in urlsplit(value).netloc:
        raise ValueError("must be a URL in plain ASCII, without user, password, query or fragment")
    if urlsplit(value).port == 0:  # raises ValueError for what is no port
        raise ValueError("must have a port that can be connected to")
    return value


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$"), AfterValidator(_free)]
Title = Annotated[str, Field(max_length=200), AfterValidator(plain)]
Model = Annotated[str, Field(max_length=256), AfterValidator(plain)]
Models = Annotated[list[Model], Field(min_length=1, max_length=MOST_MODELS), AfterValidator(_once)]
Url = Annotated[HttpUrl, Field(max_length=2000), AfterValidator(_url)]
Rate = Annotated[int, Field(strict=True, gt=0, le=MOST)]
Priority = Annotated[int, Field(strict=True, ge=-PRIORITIES, le=PRIORITIES)]


class NewProvider(Strict):
    """A provider to be made. `base_url` null: the usual place of its name or dialect; a rate that
    is null is no limit."""

    name: Name
    display_name: Title
    api_key: Secret
    models: Models
    base_url: Url | None = None
    dialect: Dialect | None = None
    is_enabled: StrictBool = True
    rate_limit_rpm: Rate | None = 60
    rate_limit_tpm: Rate | None = 100_000
    priority: Priority = 10
    allow_private: StrictBool = False

    def spec(self) -> ProviderSpec:
        """A vendor's name says the dialect where neither that nor a place is said."""
        usual = usual_dialect(self.name) if self.base_url is None else "openai"
        given = self.model_dump(exclude={"api_key"})
        return ProviderSpec(
            **given | {"models": tuple(self.models), "dialect": self.dialect or usual}
        )


class ProviderChange(Strict):
    """What changes of a provider; what is left out stays. Null is the usual place as `base_url`,
    and no limit as a rate; elsewhere it is a fault."""

    name: Name | None = None
    display_name: Title | None = None
    api_key: Secret | None = None
    models: Models | None = None
    base_url: Url | None = None
    dialect: Dialect | None = None
    is_enabled: StrictBool | None = None
    rate_limit_rpm: Rate | None = None
    rate_limit_tpm: Rate | None = None
    priority: Priority | None = None
    allow_private: StrictBool | None = None

    def applied_to(self, spec: ProviderSpec) -> ProviderSpec:
        """Raises `Unprocessable` for a null where there has to be something."""
        given = self.model_dump(exclude_unset=True)
        for field in given:
            if given[field] is None and field not in NULLABLE:
                raise Unprocessable(f"{field!r}: must not be null", param=field)
        given.pop("api_key", None)
        if self.models is not None:
            given["models"] = tuple(self.models)
        return spec._replace(**given)


class ProviderEntry(Strict):
    """A provider. `id` is its name where `source` is `file`; `off` says why it is not asked;
    times are ISO 8601 in UTC, of the file's when it was read."""

    id: str
    name: str
    display_name: str
    base_url: str | None
    models: list[str]
    is_enabled: bool
    rate_limit_rpm: int | None
    rate_limit_tpm: int | None
    priority: int
    created_at: str
    updated_at: str
    source: Literal["file", "api"]
    dialect: str
    allow_private: bool
    off: str | None
    masked_key: str | None


Entries = list[ProviderEntry]


class Tested(Strict):
    """Whether a provider could be reached and took its key; else what was wrong."""

    success: bool
    error: str | None


class ProvidersDoor:
    """Handlers over the configuration in force and the store of what is made here."""

    def __init__(
        self, api: Api, live: Live, store: Callable[[], ProviderStore], probe: Probe
    ) -> None:
        self._api = api
        self._live = live
        self._made = store
        self._probe = probe

    @property
    def _store(self) -> ProviderStore:
        return self._made()

    def routes(self) -> list[BaseRoute]:
        who = OPERATORS
        operations = [
            Operation("GET", PATH, self.list, who, "List providers", answer=Entries),
            Operation(
                "POST",
                PATH,
                self.create,
                who,
                "Make a provider",
                body=NewProvider,
                answer=ProviderEntry,
                status=201,
                errors=(400, 409),
            ),
            Operation(
                "GET", ONE, self.show, who, "Show a provider", answer=ProviderEntry, errors=(404,)
            ),
            Operation(
                "PATCH",
                ONE,
                self.change,
                who,
                "Change a provider",
                body=ProviderChange,
                answer=ProviderEntry,
                errors=(400, 404, 409),
            ),
            Operation(
                "DELETE", ONE, self.remove, who, "Delete a provider", status=204, errors=(404, 409)
            ),
            Operation(
                "POST",
                ONE + "/test",
                self.test,
                who,
                "Try a provider and its key",
                answer=Tested,
                errors=(404,),
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def list(self, asked: Asked) -> Response:
        """The file's first, then those made here by age."""
        found = [self._of_file(name) for name in self._live.file.providers]
        found += [self._of_api(row) for row in self._store.list()]
        return answer([entry.model_dump() for entry in found])

    async def create(self, asked: Asked) -> Response:
        body: NewProvider = asked.body
        spec = body.spec()
        if spec.name in self._live.file.providers:
            raise _taken(spec.name)
        await self._check_place(spec)
        try:
            row = await self._store.create(spec, body.api_key)
        except Taken:
            raise _taken(spec.name) from None
        return answer(self._of_api(row), 201)

    async def show(self, asked: Asked) -> Response:
        name = asked.path("provider_id")
        if name in self._live.file.providers:
            return answer(self._of_file(name))
        return answer(self._of_api(self._row(name)))

    async def change(self, asked: Asked) -> Response:
        row, body = await self._changeable(asked), asked.body
        spec = body.applied_to(row.spec)
        if spec.name != row.spec.name and spec.name in self._live.file.providers:
            raise _taken(spec.name)
        if (spec.url, spec.allow_private) != (row.spec.url, row.spec.allow_private):
            await self._check_place(spec)
        if body.api_key is None and origin_of(spec.url or "") != origin_of(row.spec.url or ""):
            message = "'api_key': a provider that moves to another place needs its key again"
            raise Unprocessable(message, param="api_key")
        try:
            changed = await self._store.change(row, spec, body.api_key)
        except Taken:
            raise _taken(spec.name) from None
        if changed is None:
            raise _absent(row.id)
        return answer(self._of_api(changed))

    async def remove(self, asked: Asked) -> Response:
        row = await self._changeable(asked)
        if not await self._store.remove(row.id):
            raise _absent(row.id)
        return nothing()

    async def test(self, asked: Asked) -> Response:
        name = asked.path("provider_id")
        if name not in self._live.file.providers:
            name = self._row(name).spec.name
            if name in self._live.file.providers:
                return answer(Tested(success=False, error=SHADOWED))
        wrong = await self._probe(name)
        return answer(Tested(success=wrong is None, error=wrong))

    def _row(self, id_or_name: str) -> ProviderRow:
        row = self._store.get(id_or_name) or self._store.by_name(id_or_name)
        if row is None:
            raise _absent(id_or_name)
        return row

    async def _changeable(self, asked: Asked) -> ProviderRow:
        """A provider made here, as it is in the database now. Raises `Conflict`, `NotFound`."""
        name = asked.path("provider_id")
        if name in self._live.file.providers:
            raise Conflict(f"provider {name} is the configuration file's, and is changed there")
        await self._store.refresh()
        return self._row(name)

    async def _check_place(self, spec: ProviderSpec) -> None:
        """Raises `InvalidRequest`, `Unprocessable` for a place where it may not be."""
        if spec.url is None:
            message = f"'base_url': has to be said for a provider called {spec.name}"
            raise Unprocessable(message, param="base_url")
        if spec.allow_private:
            if not self._live.file.server.private_providers:
                message = "'allow_private' takes server.private_providers in the configuration file"
                raise InvalidRequest(message, param="allow_private", code="url_not_allowed")
            return
        check_url(spec.url)
        host = host_of(spec.url)
        if not all(map(is_public, await _addresses_of(host))):
            raise not_allowed(host)

    def _of_file(self, name: str) -> ProviderEntry:
        entry = self._live.file.providers[name]
        read_at = iso(int(self._live.loaded_at * 1000))
        return ProviderEntry(
            id=name,
            name=name,
            display_name=name,
            base_url=entry.base_url,
            models=list(entry.known_models),
            is_enabled=not entry.off,
            rate_limit_rpm=entry.rpm,
            rate_limit_tpm=entry.tpm,
            priority=entry.priority,
            created_at=read_at,
            updated_at=read_at,
            source="file",
            dialect=entry.dialect,
            allow_private=True,
            off=entry.off,
            masked_key=_masked(entry),
        )

    def _of_api(self, row: ProviderRow) -> ProviderEntry:
        spec = row.spec
        return ProviderEntry(
            id=row.id,
            **spec._asdict() | {"models": list(spec.models), "base_url": spec.url},
            created_at=iso(row.created_at),
            updated_at=iso(row.updated_at),
            source="api",
            off=self._why_off(spec),
            masked_key=row.hint,
        )

    def _why_off(self, spec: ProviderSpec) -> str | None:
        if spec.name in self._live.file.providers:
            return SHADOWED
        entry = self._live.current.config.providers.get(spec.name)
        return entry.off if entry is not None else "it is not in force; the log says why"


async def _addresses_of(host: str) -> list[str]:
    """Where a name leads now; nowhere when it can't be looked up in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_UP):
            found: Any = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a timeout is an OSError; a label may be too long
        return []
    return [str(address[0]) for *_, address in found]


def _masked(entry: Provider) -> str | None:
    return mask(entry.keys[0].get_secret_value()) if entry.keys else None


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a provider {name!r} already", param="name")


def _absent(id_or_name: str) -> NotFound:
    return NotFound(f"there is no provider {id_or_name!r}")
