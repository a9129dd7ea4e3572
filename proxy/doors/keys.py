"""Virtual keys under `/api/v1/keys`. An admin has all, a user the own ones."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.allowance import LimitsError, own_limits, shown
from proxy.doors.api import PEOPLE, Api, Asked, Operation, Strict, answer, nothing
from proxy.doors.body import NAME_LIMIT
from proxy.doors.owners import Name
from proxy.errors import Conflict, Forbidden, NotFound, Unprocessable
from proxy.keys import KeyRow, KeyStore, NewKey, OwnCacheError, own_cache, shown_cache
from proxy.types import Role
from proxy.units import parse_duration

PATH = "/api/v1/keys"
MOST_OWN = 100  # keys that a user may have, ended ones not counted
MOST_MODELS, MOST_TAGS = 1000, 50  # of one key: all processes have all keys in memory
LONGEST_LIFE = 100 * 365 * 86_400.0  # seconds; more is no number that a database takes

Model = Annotated[Name, Field(max_length=NAME_LIMIT)]
Tag = Annotated[Name, Field(max_length=100)]


class KeyChange(Strict):
    """What of a key can be changed; what is left out stays as it is.

    `expires` is a duration from now; `limits` and `cache` are as docs/limits.md and docs/cache.md
    say.
    """

    name: Annotated[Name, Field(max_length=200)] | None = None
    models: Annotated[tuple[Model, ...], Field(max_length=MOST_MODELS)] | None = None
    expires: str | float | None = None
    limits: dict[str, Any] | None = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=MOST_TAGS)] | None = ()
    cache: dict[str, Any] | None = None

    @field_validator("expires")
    @classmethod
    def _is_duration(cls, value: str | float | None) -> str | float | None:
        if value is not None and parse_duration(value) > LONGEST_LIFE:
            raise ValueError("must be 100 years at most; null is for ever")
        return value

    def fields(self) -> dict[str, Any]:
        """The fields of `KeyRow` that are given. Raises `Unprocessable` naming the one at fault."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            if given.get("limits") is not None:
                given["limits"] = own_limits(given["limits"])
            if given.get("cache") is not None:
                given["cache"] = own_cache(given["cache"])
        except (LimitsError, OwnCacheError) as error:
            raise Unprocessable(str(error), param=error.field) from None
        if "tags" in given:
            given["tags"] = given["tags"] or ()
        if "expires" in given:
            given["expires_at"] = _expiry(given.pop("expires"))
        return given


class NewKeyBody(KeyChange):
    """A key to be made; `user_id` is whose it is."""

    user_id: Annotated[Name, Field(min_length=1, max_length=256)] | None = None


class KeyEntry(Strict):
    """A key without its secret. Times are epoch milliseconds."""

    id: str
    name: str | None
    models: list[str] | None
    user_id: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    limits: dict[str, Any]
    tags: list[str]
    cache: dict[str, bool | None] | None


class KeyWithSecret(KeyEntry):
    """A key just made: the only time that its secret is shown."""

    key: str


class KeysDoor:
    """Handlers over the store of virtual keys."""

    def __init__(self, api: Api, keys: Callable[[], KeyStore]) -> None:
        self._api = api
        self._store = keys

    @property
    def _keys(self) -> KeyStore:
        return self._store()

    def routes(self) -> list[BaseRoute]:
        one = PATH + "/{id}"
        operations = [
            Operation("GET", PATH, self.list, PEOPLE, "List keys", answer=list[KeyEntry]),
            Operation(
                "POST",
                PATH,
                self.create,
                PEOPLE,
                "Make a key",
                body=NewKeyBody,
                answer=KeyWithSecret,
                status=201,
                body_may_miss=True,
            ),
            Operation("GET", one, self.show, PEOPLE, "Show a key", answer=KeyEntry),
            Operation(
                "PATCH", one, self.change, PEOPLE, "Change a key", body=KeyChange, answer=KeyEntry
            ),
            Operation("DELETE", one, self.revoke, PEOPLE, "End a key", status=204),
            Operation(
                "POST",
                one + "/rotate",
                self.rotate,
                PEOPLE,
                "Give a key another secret",
                answer=KeyWithSecret,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def list(self, asked: Asked) -> Response:
        return answer([_entry(row) for row in await self._keys.list(_owner(asked))])

    async def create(self, asked: Asked) -> Response:
        owner, body = _owner(asked), asked.body
        given = body.fields()
        if owner is not None:
            if given.setdefault("user_id", owner) != owner:
                raise Unprocessable("'user_id': your keys are your own", param="user_id")
            if given.get("limits") is not None:
                raise Forbidden("the limits of a key are set by an admin")
            now = time.time()
            if sum(row.is_live(now) for row in await self._keys.list(owner)) >= MOST_OWN:
                raise Conflict(f"you have {MOST_OWN} keys, and may have no more; end one first")
        new = await self._keys.create(**given)
        return answer(await self._with_secret(new), 201)

    async def show(self, asked: Asked) -> Response:
        return answer(_entry(await self._key(asked)))

    async def change(self, asked: Asked) -> Response:
        row = await self._key(asked)
        changes = asked.body.fields()
        if _owner(asked) is not None and "limits" in changes:
            raise Forbidden("the limits of a key are set by an admin")
        changed = await self._keys.change(row.id, changes)
        if changed is None:
            raise _no_key(asked.request)
        return answer(_entry(changed))

    async def revoke(self, asked: Asked) -> Response:
        row = await self._key(asked)
        await self._keys.revoke(row.id)
        return nothing()

    async def rotate(self, asked: Asked) -> Response:
        row = await self._key(asked)
        new = await self._keys.rotate(row.id)
        if new is None:
            raise _no_key(asked.request)
        return answer(await self._with_secret(new))

    async def _key(self, asked: Asked) -> KeyRow:
        row = await self._keys.get(asked.path("id"), _owner(asked))
        if row is None:
            raise _no_key(asked.request)
        return row

    async def _with_secret(self, new: NewKey) -> dict[str, Any]:
        row = await self._keys.get(new.id)
        assert row is not None
        return {**_entry(row), "key": new.secret}


def _owner(asked: Asked) -> str | None:
    """Whose keys the caller may see; None is everybody's."""
    principal = asked.principal
    return None if principal.role is Role.ADMIN else principal.user_id or ""


def _no_key(request: Request) -> NotFound:
    return NotFound(f"there is no key {request.path_params['id']!r}")


def _expiry(value: str | float | None) -> int | None:
    """A duration from now -> epoch milliseconds."""
    return None if value is None else int(1000 * (time.time() + parse_duration(value)))


def _entry(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "models": None if row.models is None else list(row.models),
        "user_id": row.user_id,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "limits": shown(row.limits) or {},
        "tags": list(row.tags),
        "cache": shown_cache(row.cache),
    }
