"""Users' own keys of providers: `/api/v1/users/me/api-keys`, and the same under `/v2` as it has
always been called there. Secrets come in and never go out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.config import Provider
from proxy.doors.api import PEOPLE, Api, Asked, Operation, Strict, answer, nothing
from proxy.errors import NotFound, Unprocessable
from proxy.live import Live
from proxy.own_keys import OwnKeyRow, OwnKeyStore, takes_none

PATH = "/api/v1/users/me/api-keys"
V2_STATUS = "/v2/users/me/api-key-status"
V2_PATH = "/v2/users/me/api-key"

SUFFIX = "_api_key"
V2_NAMES = ("anthropic", "openai", "google")
"""Providers that the API under `/v2` has always had fields of."""

LONGEST = 4096  # characters of a secret

_PLAIN = re.compile(r"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")


class KeyProbe(Protocol):
    """Tries a key at its provider."""

    async def __call__(self, provider: str, secret: SecretStr) -> str | None:
        """None when the provider takes it, else what is wrong; never with the secret."""
        ...


class KeyChangesV2(BaseModel):
    """A field `<provider>_api_key` for each key to be saved; null removes that one. `test`: each
    is tried at its provider first, and none is saved when one is refused."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, SecretStr | None] = Field(init=False)

    test: bool = False


class KeyChanges(KeyChangesV2):
    """The same, where `keys` may have them too, by provider."""

    keys: dict[str, SecretStr | None] = {}


class OneOrAll(Strict):
    """Which key is removed: that of a provider, or all."""

    provider: str | None = Field(default=None, min_length=1, max_length=200)


class OwnKeyEntry(Strict):
    """A provider, and whose key its calls are made with. Times are epoch milliseconds."""

    provider: str
    is_set: bool
    masked_key: str | None
    source: str = Field(description="user, system or none")
    created_at: int | None
    updated_at: int | None


class KeyStatusV2(BaseModel):
    """The same, with `has_<provider>_api_key` and `<provider>_api_key`, masked, of each."""

    model_config = ConfigDict(frozen=True, extra="allow")

    providers: list[OwnKeyEntry]


class _Change(NamedTuple):
    """A key to be saved, or, None, to be removed. `field` is where the body has it."""

    field: str
    provider: str
    secret: SecretStr | None


class OwnKeysDoor:
    """Handlers over the store of users' keys."""

    def __init__(
        self, api: Api, keys: Callable[[], OwnKeyStore], live: Live, probe: KeyProbe
    ) -> None:
        self._api = api
        self._keys = keys
        self._live = live
        self._probe = probe

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                PATH,
                self.show,
                PEOPLE,
                "List own provider keys",
                answer=list[OwnKeyEntry],
                errors=(404,),
            ),
            Operation(
                "PATCH",
                PATH,
                self.change,
                PEOPLE,
                "Save or remove own provider keys",
                body=KeyChanges,
                answer=list[OwnKeyEntry],
                errors=(404,),
            ),
            Operation(
                "DELETE",
                PATH,
                self.remove,
                PEOPLE,
                "Remove one own provider key, or all",
                query=OneOrAll,
                status=204,
                errors=(404,),
            ),
            *self._v2(),
        ]
        return [self._api.route(operation) for operation in operations]

    def _v2(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                V2_STATUS,
                self.status,
                PEOPLE,
                "Own provider keys, masked",
                answer=KeyStatusV2,
                errors=(404,),
            ),
            Operation(
                "PATCH",
                V2_PATH,
                self.change_v2,
                PEOPLE,
                "Save or remove own provider keys",
                body=KeyChangesV2,
                answer=KeyStatusV2,
                errors=(404,),
            ),
            Operation(
                "DELETE",
                V2_PATH,
                self.remove_v2,
                PEOPLE,
                "Remove one own provider key, or all",
                query=OneOrAll,
                answer=KeyStatusV2,
                errors=(404,),
            ),
        ]

    async def show(self, asked: Asked) -> Response:
        return answer(await self._entries(_user(asked)))

    async def change(self, asked: Asked) -> Response:
        user_id, body = _user(asked), asked.body
        named = [_Change(f"keys.{name}", name, secret) for name, secret in body.keys.items()]
        await self._apply(user_id, [*_flat(body), *named], body.test)
        return answer(await self._entries(user_id))

    async def remove(self, asked: Asked) -> Response:
        await self._remove(_user(asked), asked.query.provider)
        return nothing()

    async def status(self, asked: Asked) -> Response:
        return answer(await self._status(_user(asked)))

    async def change_v2(self, asked: Asked) -> Response:
        user_id = _user(asked)
        await self._apply(user_id, _flat(asked.body), asked.body.test)
        return answer(await self._status(user_id))

    async def remove_v2(self, asked: Asked) -> Response:
        user_id = _user(asked)
        await self._remove(user_id, asked.query.provider)
        return answer(await self._status(user_id))

    async def _apply(self, user_id: str, changes: list[_Change], test: bool) -> None:
        """All is checked before anything is saved."""
        providers = self._live.current.config.providers
        saved = {row.provider for row in await self._keys().list(user_id)}
        seen: set[str] = set()
        for change in changes:
            fault = _fault(change, providers, saved)
            if change.provider in seen:
                fault = f"the key of {change.provider} is given twice"
            if fault:
                raise Unprocessable(f"{change.field!r}: {fault}", param=change.field)
            seen.add(change.provider)
        if test:
            await self._try(changes)
        for change in changes:
            if change.secret is None:
                await self._keys().remove(user_id, change.provider)
            else:
                base_url = providers[change.provider].base_url or ""
                await self._keys().save(user_id, change.provider, base_url, change.secret)

    async def _try(self, changes: list[_Change]) -> None:
        for change in changes:
            if change.secret is None:
                continue
            refused = await self._probe(change.provider, change.secret)
            if refused is not None:
                message = f"{change.field!r}: {refused}; nothing was saved"
                raise Unprocessable(message, param=change.field, code="key_refused")

    async def _remove(self, user_id: str, provider: str | None) -> None:
        removed = await self._keys().remove(user_id, provider)
        if provider is not None and not removed:
            raise NotFound(f"you have saved no key of {provider!r}", param="provider")

    async def _entries(self, user_id: str) -> list[dict[str, Any]]:
        """Every provider that there is, or could be, an own key of."""
        rows = {row.provider: row for row in await self._keys().list(user_id)}
        providers = self._live.current.config.providers
        able = [name for name, provider in providers.items() if takes_none(provider) is None]
        gone = [name for name in rows if name not in able]
        return [_entry(name, rows.get(name), providers.get(name)) for name in [*able, *gone]]

    async def _status(self, user_id: str) -> dict[str, Any]:
        entries = await self._entries(user_id)
        masked = dict.fromkeys(V2_NAMES)
        masked |= {entry["provider"]: entry["masked_key"] for entry in entries}
        flat: dict[str, Any] = {}
        for name, hint in masked.items():
            flat[f"has_{name}{SUFFIX}"] = hint is not None
            flat[name + SUFFIX] = hint
        return {**flat, "providers": entries}


def _user(asked: Asked) -> str:
    """Whose keys are meant: the caller's, nobody else's ever."""
    user_id = asked.principal.user_id
    if user_id is None:
        raise NotFound("the master key is no user, and has no keys of providers of its own")
    return user_id


def _flat(body: KeyChangesV2) -> list[_Change]:
    """What the fields named `<provider>_api_key` say. Raises `Unprocessable` for another."""
    changes = []
    for field, secret in (body.model_extra or {}).items():
        provider = field.removesuffix(SUFFIX)
        if provider == field or not provider:
            message = f"unknown field {field!r}; keys are given as <provider>{SUFFIX}"
            raise Unprocessable(message, param=field)
        changes.append(_Change(field, provider, secret))
    return changes


def _fault(change: _Change, providers: Mapping[str, Provider], saved: set[str]) -> str | None:
    """What is wrong with a change."""
    name = change.provider
    provider = providers.get(name)
    if change.secret is None:
        known = provider is not None or name in saved or name in V2_NAMES
        return None if known else _unknown(name, providers)
    if provider is None:
        return _unknown(name, providers)
    return takes_none(provider) or _wrong(change.secret.get_secret_value())


def _unknown(name: str, providers: Mapping[str, Provider]) -> str:
    able = [known for known, provider in providers.items() if takes_none(provider) is None]
    return f"there is no provider {name!r}; known are {', '.join(able)}"


def _wrong(secret: str) -> str | None:
    """What is wrong with a secret as such, without a character of it."""
    if not secret.strip():
        return "must not be empty; null removes a key"
    if len(secret) > LONGEST:
        return f"must have {LONGEST} characters at most"
    if not _PLAIN.fullmatch(secret):
        return "must be plain ASCII without control characters or spaces around it"
    return None


def _entry(name: str, row: OwnKeyRow | None, provider: Provider | None) -> dict[str, Any]:
    has_system = provider is not None and not provider.off and bool(provider.keys)
    entry = OwnKeyEntry(
        provider=name,
        is_set=row is not None,
        masked_key=row.hint if row else None,
        source="user" if row else "system" if has_system else "none",
        created_at=row.created_at if row else None,
        updated_at=row.updated_at if row else None,
    )
    return entry.model_dump()
