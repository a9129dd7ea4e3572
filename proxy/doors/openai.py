"""OpenAI's own API: chat, legacy completions, embeddings, and the list of models.

Each endpoint is a plain ASGI application: a stream is written as its chunks arrive, with no
response object between.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from adapters.base import Ask, Endpoint
from proxy import routing
from proxy.client import Client
from proxy.doors import body as bodies
from proxy.doors import controls
from proxy.errors import MethodNotAllowed, ModelNotFound
from proxy.middleware.usage import RECORD
from proxy.pipeline import Pipeline, Snapshot
from proxy.types import Call, Controls, Principal, Record

Current = Callable[[], Snapshot]
"""The configuration in force now."""

FORWARDED = (b"openai-beta",)
"""Client headers that mean something to a provider; nothing else of a client goes upstream."""


def routes(current: Current, pipeline: Pipeline) -> list[BaseRoute]:
    """The routes of this door."""
    models = Models(current)
    completions = [
        Route(f"/v1{endpoint}", Completions(endpoint, current, pipeline))
        for endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)
    ]
    return [
        *completions,
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{name:path}", models.show, methods=["GET"]),
    ]


class Completions:
    """One POST endpoint of the data plane."""

    def __init__(self, endpoint: Endpoint, current: Current, pipeline: Pipeline) -> None:
        self._endpoint = endpoint
        self._current = current
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            message = f"{scope['path']} takes POST, not {scope['method']}"
            raise MethodNotAllowed(message, headers={"allow": "POST"})
        snapshot = self._current()
        record: Record = scope[RECORD]
        headers = _first_of_each(scope)
        principal = await snapshot.auth.identify(headers)
        _admit(record, self._endpoint, principal)
        call = _understand(self._endpoint, principal, headers, await bodies.read(receive))
        _describe(record, call)
        client = Client(scope, snapshot.config.server.send_timeout)
        await self._pipeline.serve(snapshot, call, record, client)


def _first_of_each(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers by name; of one that is given twice the first counts."""
    return dict(reversed(scope["headers"]))


def _admit(record: Record, endpoint: Endpoint, principal: Principal) -> None:
    record.admitted = True
    record.endpoint = endpoint
    record.principal = principal


def _understand(
    endpoint: Endpoint, principal: Principal, headers: Mapping[bytes, bytes], raw: bytes
) -> Call:
    """Step 2: bytes -> a call. Raises `InvalidRequest`."""
    body = bodies.parse(raw)
    bodies.check(endpoint, body)
    name = body["model"]
    controls.check_forwardable(name, "model")
    options = body.get("stream_options") or {}
    ask = Ask(
        endpoint=endpoint,
        raw=raw,
        body=body,
        stream=body.get("stream") is True and endpoint is not Endpoint.EMBEDDINGS,
        wants_usage=options.get("include_usage") is True,
        drop=_own_fields(body),
        headers=_forwarded(headers),
    )
    return Call(principal, ask, name, controls.read(headers, body))


def _own_fields(body: Mapping[str, Any]) -> frozenset[str]:
    """`metadata` is Turnout's; OpenAI takes it with `store: true` only, and refuses it else."""
    if "metadata" in body and body.get("store") is not True:
        return frozenset({"metadata"})
    return frozenset()


def _forwarded(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    found = []
    for name in FORWARDED:
        if name in headers:
            value = headers[name].decode("latin-1")
            controls.check_forwardable(value, name.decode())
            found.append((name.decode(), value))
    return tuple(found)


def _describe(record: Record, call: Call) -> None:
    asked: Controls = call.controls
    record.name = call.name
    record.stream = call.ask.stream
    record.user = call.principal.user_id or asked.user
    record.service, record.job = asked.service, asked.job
    record.metadata = asked.metadata


class Models:
    """`GET /v1/models` and `GET /v1/models/{id}`: what the caller may use."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._created = int(time.time())

    async def list(self, request: Request) -> Response:
        snapshot = self._current()
        principal = await snapshot.auth.identify(_first_of_each(request.scope))
        names = [name for name in routing.names(snapshot.table) if principal.may_use(name)]
        entries = [self._entry(snapshot, name) for name in names]
        return _json({"object": "list", "data": [entry for entry in entries if entry]})

    async def show(self, request: Request) -> Response:
        snapshot = self._current()
        principal = await snapshot.auth.identify(_first_of_each(request.scope))
        name = request.path_params["name"].rstrip("/")
        entry = self._entry(snapshot, name) if principal.may_use(name) else None
        if entry is None:
            message = f"the model {name!r} does not exist or this key may not use it"
            raise ModelNotFound(message, param="model")
        return _json(entry)

    def _entry(self, snapshot: Snapshot, name: str) -> dict[str, Any] | None:
        """A model object in OpenAI's shape with `provider`, `pricing` and `context_window`."""
        resolved = routing.resolve(snapshot.table, name)
        first = resolved and routing.first_target(snapshot.table, resolved)
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
