"""The document says what the operations declare."""

from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Route

from proxy.doors.api import ADMIN, OPERATORS, Api, Asked, Operation, Strict
from proxy.doors.openapi import document, operations


class Inner(Strict):
    deep: int


class Body(Strict):
    name: str
    inner: Inner | None = None


class Query(Strict):
    days: int = 30


async def handler(asked: Asked) -> Response:
    return Response()


FOUND = [
    Operation("GET", "/api/v1/things", handler, OPERATORS, "List", query=Query, answer=list[Body]),
    Operation("POST", "/api/v1/things", handler, ADMIN, "Make", body=Body, answer=Body, status=201),
    Operation("DELETE", "/api/v1/things/{id:path}", handler, ADMIN, "End", status=204),
    Operation(
        "GET", "/health", handler, ADMIN, "Health", answer=Inner, is_open=True, errors=(503,)
    ),
]


def test_paths_and_methods() -> None:
    paths = document(FOUND)["paths"]
    assert {path: set(methods) for path, methods in paths.items()} == {
        "/api/v1/things": {"get", "post"},
        "/api/v1/things/{id}": {"delete"},
        "/health": {"get"},
    }
    assert paths["/api/v1/things"]["get"]["x-roles"] == ["admin", "service"]
    assert paths["/health"]["get"]["security"] == []


def test_what_is_taken_and_given() -> None:
    said = document(FOUND)
    made = said["paths"]["/api/v1/things"]["post"]
    reference = {"$ref": "#/components/schemas/Body"}
    assert made["requestBody"]["content"]["application/json"]["schema"] == reference
    assert made["requestBody"]["required"] is True
    assert set(made["responses"]) == {"201", "400", "401", "403", "413", "422"}
    listed = said["paths"]["/api/v1/things"]["get"]
    assert listed["parameters"][0]["name"] == "days"
    assert listed["parameters"][0]["schema"]["default"] == 30
    schemas = said["components"]["schemas"]
    assert set(schemas) == {"Error", "Inner", "Body"}
    assert schemas["Body"]["additionalProperties"] is False
    ended = said["paths"]["/api/v1/things/{id}"]["delete"]
    assert ended["responses"]["204"] == {"description": "It was done"}
    assert [p["in"] for p in ended["parameters"]] == ["path"]


def test_two_types_of_one_name_are_an_error() -> None:
    other: Any = type("Body", (Strict,), {"__annotations__": {"other": int}})
    clash = Operation("GET", "/x", handler, ADMIN, "s", answer=other)
    with pytest.raises(ValueError, match="two types are called Body"):
        document([*FOUND, clash])


def test_only_what_is_declared_is_told_of() -> None:
    api = Api(None)  # type: ignore[arg-type]
    routes = [api.route(FOUND[0]), Route("/v1/models", lambda request: Response())]
    assert list(operations(routes)) == [FOUND[0]]
