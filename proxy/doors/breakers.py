"""Circuit breakers under `/api/v1/breakers`: their states, and their reset."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.breaker import Breakers, BreakerStatus
from proxy.doors import body as bodies
from proxy.errors import Forbidden, InvalidRequest, Unprocessable
from proxy.live import Live
from proxy.types import Role

Handler = Callable[[Request], Awaitable[Response]]

ALLOWED = frozenset({Role.ADMIN, Role.SERVICE})


class BreakerDoor:
    """Handlers over the circuits of this process."""

    def __init__(self, live: Live, breakers: Breakers) -> None:
        self._live = live
        self._breakers = breakers

    def routes(self) -> list[BaseRoute]:
        """For the master key and service keys."""
        return [
            Route("/api/v1/breakers", self._guarded(self.show), methods=["GET"]),
            Route("/api/v1/breakers/reset", self._guarded(self.reset), methods=["POST"]),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            headers = dict(reversed(request.scope["headers"]))
            principal = await self._live.current.auth.identify(headers)
            if principal.role not in ALLOWED:
                raise Forbidden("this needs the master key or a service key")
            return await handler(request)

        return guarded

    async def show(self, request: Request) -> Response:
        found = self._breakers.snapshot(time.monotonic())
        return _json({"breakers": [_entry(status) for status in found]})

    async def reset(self, request: Request) -> Response:
        """Closes the circuits of one provider, or all."""
        raw = await bodies.read(request.receive)
        given = bodies.parse(raw) if raw.strip() else {}
        for field in given.keys() - {"provider"}:
            message = f"unknown field {field!r}; known is provider"
            raise InvalidRequest(message, param=field, code="unknown_parameter")
        provider = given.get("provider")
        known = self._live.current.config.providers
        if provider is not None and (not isinstance(provider, str) or provider not in known):
            raise Unprocessable(f"there is no provider {provider!r}", param="provider")
        return _json({"reset": self._breakers.reset(provider)})


def _entry(status: BreakerStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "kind": status.kind.value,
        "state": status.state.value,
        "failures": status.failures,
        "next_attempt_at": status.next_attempt_at,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
