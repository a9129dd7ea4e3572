"""OpenAI's own API: chat, completions, Responses, embeddings, images, audio, moderations, and the
list of models."""

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from adapters.base import Endpoint
from proxy import routing
from proxy.auth import Authenticator
from proxy.doors.call import CallDoor, Current, Identify
from proxy.doors.controls import first_of_each
from proxy.errors import ModelNotFound
from proxy.pipeline import Pipeline, Snapshot
from proxy.types import OwnKeys

ENDPOINTS = tuple(
    endpoint for endpoint in Endpoint if endpoint not in (Endpoint.MESSAGES, Endpoint.COUNT_TOKENS)
)


def routes(current: Current, pipeline: Pipeline) -> list[BaseRoute]:
    """The routes of this door."""
    models = Models(current)
    calls = [
        Route(f"/v1{endpoint}", CallDoor(endpoint, current, pipeline)) for endpoint in ENDPOINTS
    ]
    return [
        *calls,
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{name:path}", models.show, methods=["GET"]),
    ]


class Models:
    """`GET /v1/models` and `GET /v1/models/{id}`: what the caller may use."""

    def __init__(self, current: Current, identify: Identify = Authenticator.identify) -> None:
        self._current = current
        self._identify = identify
        self._created = int(time.time())

    async def list(self, request: Request) -> Response:
        snapshot = self._current()
        principal = await self._identify(snapshot.auth, first_of_each(request.scope))
        known = routing.names(snapshot.table, principal.own)
        names = [name for name in known if principal.may_use(name)]
        entries = [self._entry(snapshot, name, principal.own) for name in names]
        return _json({"object": "list", "data": [entry for entry in entries if entry]})

    async def show(self, request: Request) -> Response:
        snapshot = self._current()
        principal = await self._identify(snapshot.auth, first_of_each(request.scope))
        name = request.path_params["name"].rstrip("/")
        may = principal.may_use(name)
        entry = self._entry(snapshot, name, principal.own) if may else None
        if entry is None:
            message = f"the model {name!r} does not exist or this key may not use it"
            raise ModelNotFound(message, param="model")
        return _json(entry)

    def _entry(self, snapshot: Snapshot, name: str, own: OwnKeys | None) -> dict[str, Any] | None:
        """A model object in OpenAI's shape with `provider`, `pricing` and `context_window`."""
        resolved = routing.resolve(snapshot.table, name)
        first = resolved and routing.first_target(snapshot.table, resolved, own)
        if not first:
            return None
        provider, model = first
        base_url = snapshot.config.providers[provider].base_url or ""
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": provider,
            "provider": provider,
            "pricing": snapshot.prices.catalogue_entry(provider, base_url, model),
            "context_window": snapshot.prices.context_window(provider, base_url, model),
        }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
