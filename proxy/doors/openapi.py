"""`GET /api/v1/openapi.json`: the control plane and the seeds' APIs as an OpenAPI 3.1 document.

It is made of the operations that the routes enforce, so it can't say anything else than they do.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.doors.api import KNOWN, Api, Asked, Operation

REFS = "#/components/schemas/{model}"
REASONS = {
    200: "What was asked for",
    201: "It was made",
    204: "It was done",
    400: "The request is at fault",
    401: "No credential, or none that is known",
    403: "The caller may not do this",
    404: "There is no such thing, or none that the caller may see",
    409: "It is there already, or may not be changed here",
    413: "The body is too large",
    422: "A value is at fault; `param` names it",
    429: "A limit or a budget is reached; `retry-after` says until when",
    501: "It is not set up",
    502: "No provider gave an answer",
    503: "It can't be done now; try again",
    504: "It took too long",
}

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "detail": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["message", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
                "data": {"type": "object"},
            },
        },
    },
}

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


class OpenApiDoor:
    """Serves the document of `routes`, made at its first use."""

    def __init__(self, api: Api, routes: Callable[[], Iterable[BaseRoute]]) -> None:
        self._api = api
        self._routes = routes
        self._document: bytes | None = None

    def routes(self) -> list[BaseRoute]:
        operation = Operation(
            "GET",
            "/api/v1/openapi.json",
            self.show,
            KNOWN,
            "This document",
            answer=dict[str, Any],
        )
        return [self._api.route(operation)]

    async def show(self, asked: Asked) -> Response:
        if self._document is None:
            self._document = await asyncio.to_thread(self._made)  # some tenths of a second
        return Response(self._document, media_type="application/json")

    def _made(self) -> bytes:
        return orjson.dumps(document(operations(self._routes())))


def operations(routes: Iterable[BaseRoute]) -> Iterator[Operation]:
    """What the routes declare; routes of the data plane declare nothing."""
    for route in routes:
        operation = getattr(route.endpoint, "operation", None) if isinstance(route, Route) else None
        if operation is not None:
            yield operation


def document(found: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of operations."""
    schemas: dict[str, Any] = {"Error": ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for operation in found:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _said(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turnout", "version": version("turnout")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "service": {"type": "apiKey", "in": "header", "name": "X-Service-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": "session"},
            },
        },
        "security": [{"bearer": []}, {"service": []}, {"session": []}],
    }


def _said(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": _name_of(operation),
        "summary": operation.summary,
        "tags": [_tag_of(operation.path)],
        "parameters": [*_in_path(operation.path), *_in_query(operation, schemas)],
        "responses": _responses(operation, schemas),
    }
    if operation.is_open:
        said["security"] = []
    else:
        said["x-roles"] = sorted(operation.roles)
    taken = operation.takes if operation.body is None else operation.body
    if taken is not None:
        content = {"application/json": {"schema": schema_of(taken, schemas, "validation")}}
        said["requestBody"] = {"required": not operation.body_may_miss, "content": content}
    return said


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": REASONS[operation.status]}
    if operation.answer is not None:
        schema = schema_of(operation.answer, schemas, "serialization")
        said["content"] = {operation.media_type: {"schema": schema}}
    elif operation.status != 204:
        said["content"] = {operation.media_type: {}}
    for other in operation.also:
        said["content"][other] = {}
    refused = {"schema": {"$ref": REFS.format(model="Error")}}
    errors = {
        str(status): {
            "description": REASONS[status],
            "content": {"application/json": refused},
        }
        for status in sorted(_errors(operation))
    }
    return {str(operation.status): said, **errors}


def _errors(operation: Operation) -> set[int]:
    found = set(operation.errors)
    if not operation.is_open:
        found |= {401, 403}
    if operation.body is not None or operation.takes is not None:
        found |= {400, 413}
    if operation.body is not None or operation.query is not None or operation.takes is not None:
        found.add(422 if operation.path.startswith(("/api/v1", "/v2")) else 400)
    if "{" in operation.path:
        found.add(404)
    return found


def _in_path(path: str) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(operation: Operation, schemas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    schema = operation.query.model_json_schema(ref_template=REFS)
    for name, each in schema.get("$defs", {}).items():
        _add(schemas, name, each)
    required = schema.get("required", ())
    for name, kind in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in required, "schema": kind}


def schema_of(kind: Any, schemas: dict[str, Any], mode: Any) -> Mapping[str, Any]:
    """The JSON schema of a type; what it is made of goes among `schemas`."""
    schema = TypeAdapter(kind).json_schema(ref_template=REFS, mode=mode)
    for name, each in schema.pop("$defs", {}).items():
        _add(schemas, name, each)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        _add(schemas, kind.__name__, schema)
        return {"$ref": REFS.format(model=kind.__name__)}
    return schema


def _add(schemas: dict[str, Any], name: str, schema: Any) -> None:
    """Raises `ValueError` where two types of one name would take each other's place."""
    if schemas.setdefault(name, schema) != schema:
        raise ValueError(f"two types are called {name}")


def _name_of(operation: Operation) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", operation.path).strip("_")
    return f"{operation.method.lower()}_{words}"


def _tag_of(path: str) -> str:
    parts = path.strip("/").split("/")
    start = 2 if path.startswith("/api/v1") else 1
    return parts[min(start, len(parts) - 1)].partition(".")[0]
