"""The control plane under `/api/v1`, and health, which is open."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.allowance import LimitsError, own_limits, shown
from proxy.doors import body as bodies
from proxy.errors import Forbidden, InvalidRequest, NotFound
from proxy.keys import KeyRow, KeyStore, OwnCacheError, own_cache, shown_cache
from proxy.live import Live
from proxy.types import OwnCache, OwnLimits, Principal, Role
from proxy.units import parse_duration

Handler = Callable[[Request], Awaitable[Response]]
Read = Callable[[str, Any], Any]
"""(field, its value in a body) -> the value; raises `InvalidRequest`."""


class Books(Protocol):
    """The ledger's writer, as far as health needs it."""

    @property
    def pending(self) -> int: ...

    @property
    def lost(self) -> int: ...

    @property
    def unspooled(self) -> int: ...

    @property
    def degraded(self) -> str | None: ...


class Admin:
    """Handlers over the services that the gateway has made."""

    def __init__(
        self, live: Live, keys: Callable[[], KeyStore], books: Callable[[], Books]
    ) -> None:
        self._live = live
        self._keys = keys
        self._books = books

    def routes(self) -> list[BaseRoute]:
        """Each route names who may call it."""
        health = [
            Route(prefix + path, handler, methods=["GET"])
            for prefix in ("", "/api/v1")
            for path, handler in (
                ("/health", self.health),
                ("/health/live", self.alive),
                ("/health/ready", self.ready),
                ("/health/providers", self.providers),
            )
        ]
        return [
            *health,
            Route("/api/v1/keys", self._for_admin(self.list_keys), methods=["GET"]),
            Route("/api/v1/keys", self._for_admin(self.create_key), methods=["POST"]),
            Route("/api/v1/keys/{id}", self._for_admin(self.show_key), methods=["GET"]),
            Route("/api/v1/keys/{id}", self._for_admin(self.change_key), methods=["PATCH"]),
            Route("/api/v1/keys/{id}", self._for_admin(self.revoke_key), methods=["DELETE"]),
        ]

    def _for_admin(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            principal = await self._caller(request)
            if principal.role is not Role.ADMIN:
                raise Forbidden("this needs the master key")
            return await handler(request)

        return guarded

    async def _caller(self, request: Request) -> Principal:
        headers = dict(reversed(request.scope["headers"]))
        return await self._live.current.auth.identify(headers)

    async def health(self, request: Request) -> Response:
        books = self._books()
        return _json(
            {
                "status": "ok",
                "service": "turnout",
                "database": "ok" if not books.lost else "rows were lost",
                "ledger": {
                    "pending": books.pending,
                    "lost": books.lost,
                    "unspooled": books.unspooled,
                    "degraded": books.degraded,
                },
                "config": {
                    "version": self._live.current.config.version,
                    "loaded_at": int(self._live.loaded_at),
                    "error": self._live.error,
                },
            }
        )

    async def alive(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        books = self._books()
        fault = books.degraded or ("rows were lost" if books.lost else None)
        return _json({"status": fault or "ok"}, 503 if fault else 200)

    async def providers(self, request: Request) -> Response:
        await self._caller(request)
        config = self._live.current.config
        entries = [
            {
                "name": name,
                "display_name": name,
                "is_enabled": not provider.off,
                "models_count": len(provider.models),
            }
            for name, provider in config.providers.items()
        ]
        return _json({"providers": entries})

    async def list_keys(self, request: Request) -> Response:
        return _json([_key(row) for row in await self._keys().list()])

    async def create_key(self, request: Request) -> Response:
        body = bodies.parse(await bodies.read(request.receive))
        new = await self._keys().create(**_wanted(body, _FIELDS))
        row = await self._keys().get(new.id)
        assert row is not None
        return _json({**_key(row), "key": new.secret}, 201)

    async def show_key(self, request: Request) -> Response:
        return _json(_key(await self._key(request)))

    async def change_key(self, request: Request) -> Response:
        """What is left out stays as it is."""
        body = bodies.parse(await bodies.read(request.receive))
        changes = _wanted(body, _CHANGEABLE)
        row = await self._keys().change(request.path_params["id"], changes)
        if row is None:
            raise _no_key(request)
        return _json(_key(row))

    async def revoke_key(self, request: Request) -> Response:
        row = await self._key(request)
        await self._keys().revoke(row.id)
        return Response(status_code=204)

    async def _key(self, request: Request) -> KeyRow:
        row = await self._keys().get(request.path_params["id"])
        if row is None:
            raise _no_key(request)
        return row


def _no_key(request: Request) -> NotFound:
    return NotFound(f"there is no key {request.path_params['id']!r}")


def _wanted(body: dict[str, Any], known: Mapping[str, Read]) -> dict[str, Any]:
    """The fields of a key that a body gives; raises `InvalidRequest` naming the one at fault."""
    for field in body:
        if field not in known:
            message = f"unknown field {field!r}; known are {', '.join(sorted(known))}"
            raise InvalidRequest(message, param=field, code="unknown_parameter")
    read = {field: known[field](field, value) for field, value in body.items()}
    if "expires" in read:
        read["expires_at"] = read.pop("expires")
    return read


def _text(field: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{field!r} must be a string", param=field)
    return value


def _names(field: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        raise InvalidRequest(f"{field!r} must be a list of names", param=field)
    return tuple(value)


def _tags(field: str, value: Any) -> tuple[str, ...]:
    return _names(field, value) or ()


def _limits(field: str, value: Any) -> OwnLimits | None:
    try:
        return None if value is None else own_limits(value)
    except LimitsError as error:
        raise InvalidRequest(str(error), param=error.field) from None


def _cache(field: str, value: Any) -> OwnCache | None:
    try:
        return None if value is None else own_cache(value)
    except OwnCacheError as error:
        raise InvalidRequest(str(error), param=error.field) from None


def _expiry(field: str, value: Any) -> int | None:
    """A duration from now -> epoch milliseconds."""
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise InvalidRequest(f"{field!r}: {error}", param=field) from None
    return int(1000 * (time.time() + seconds))


_CHANGEABLE: dict[str, Read] = {
    "name": _text,
    "models": _names,
    "expires": _expiry,
    "limits": _limits,
    "tags": _tags,
    "cache": _cache,
}
_FIELDS: dict[str, Read] = {**_CHANGEABLE, "user_id": _text}
"""How each field of a key is read."""


def _key(row: KeyRow) -> dict[str, Any]:
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


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
