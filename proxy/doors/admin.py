"""The control plane under `/api/v1`, and health, which is open."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.doors import body as bodies
from proxy.errors import Forbidden, InvalidRequest, NotFound
from proxy.keys import KeyRow, KeyStore
from proxy.live import Live
from proxy.types import Principal, Role
from proxy.units import parse_duration

Handler = Callable[[Request], Awaitable[Response]]


class Books(Protocol):
    """The ledger's writer, as far as health needs it."""

    @property
    def pending(self) -> int: ...

    @property
    def lost(self) -> int: ...


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
                "ledger": {"pending": books.pending, "lost": books.lost},
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
        ready = not self._books().lost
        return _json({"status": "ok" if ready else "rows were lost"}, 200 if ready else 503)

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
        new = await self._keys().create(**_wanted(body))
        row = await self._keys().get(new.id)
        assert row is not None
        return _json({**_key(row), "key": new.secret}, 201)

    async def show_key(self, request: Request) -> Response:
        return _json(_key(await self._key(request)))

    async def revoke_key(self, request: Request) -> Response:
        row = await self._key(request)
        await self._keys().revoke(row.id)
        return Response(status_code=204)

    async def _key(self, request: Request) -> KeyRow:
        row = await self._keys().get(request.path_params["id"])
        if row is None:
            raise NotFound(f"there is no key {request.path_params['id']!r}")
        return row


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a new key; raises `InvalidRequest` naming the field."""
    known = {"name", "models", "expires", "user_id"}
    for field in body:
        if field not in known:
            message = f"unknown field {field!r}; known are {', '.join(sorted(known))}"
            raise InvalidRequest(message, param=field, code="unknown_parameter")
    models = body.get("models")
    if models is not None and not (
        isinstance(models, list) and all(isinstance(entry, str) for entry in models)
    ):
        raise InvalidRequest("'models' must be a list of names", param="models")
    return {
        "name": _optional_text(body, "name"),
        "models": None if models is None else tuple(models),
        "expires_at": _expiry(body.get("expires")),
        "user_id": _optional_text(body, "user_id"),
    }


def _optional_text(body: dict[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{field!r} must be a string", param=field)
    return value


def _expiry(value: Any) -> int | None:
    """A duration from now -> epoch milliseconds."""
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise InvalidRequest(f"'expires': {error}", param="expires") from None
    return int(1000 * (time.time() + seconds))


def _key(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "models": None if row.models is None else list(row.models),
        "user_id": row.user_id,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
