"""What an operation declares is what it enforces."""

from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from pydantic import Field, SecretStr
from starlette.applications import Starlette
from starlette.responses import Response

from proxy.auth import Authenticator
from proxy.doors.api import (
    ADMIN,
    KNOWN,
    OPERATORS,
    PEOPLE,
    Api,
    Asked,
    Lenient,
    Operation,
    Strict,
    answer,
    nothing,
)
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.types import Principal, Role


class Body(Strict):
    name: str = Field(min_length=1)
    count: int = 1


class Loose(Lenient):
    name: str


class Query(Strict):
    days: int = Field(default=30, ge=1, le=365)


class Fixed:
    """Everybody is who they say."""

    async def identify_at(self, method: str, headers: Any) -> Principal:
        return Principal(Role(headers[b"x-role"].decode()))


def client(*operations: Operation, auth: Any = None) -> httpx.AsyncClient:
    live: Any = SimpleNamespace(current=SimpleNamespace(auth=auth or Fixed()))
    api = Api(live)
    routes = [api.route(operation) for operation in operations]
    app = RequestId(Errors(Starlette(routes=routes).router))
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def echo(asked: Asked) -> Response:
    said = {"role": asked.principal.role, "body": None, "query": None}
    for name, value in (("body", asked.body), ("query", asked.query)):
        if value is not None:
            said[name] = value.model_dump()
    return answer(said)


async def none(asked: Asked) -> Response:
    return nothing()


def operation(path: str = "/api/v1/x", **over: Any) -> Operation:
    given: dict[str, Any] = {"method": "POST", "handler": echo, "roles": ADMIN, "summary": "s"}
    return Operation(path=path, **(given | over))


ADMINS = {"x-role": "admin"}


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        (ADMIN, {"admin"}),
        (OPERATORS, {"admin", "service"}),
        (PEOPLE, {"admin", "user"}),
        (KNOWN, {"admin", "service", "user", "key"}),
    ],
)
async def test_only_the_roles_get_in(roles: frozenset[Role], allowed: set[str]) -> None:
    async with client(operation(roles=roles)) as http:
        for role in Role:
            reply = await http.post("/api/v1/x", headers={"x-role": role.value})
            assert reply.status_code == (200 if role.value in allowed else 403), role
            if role.value not in allowed:
                assert reply.json()["error"]["code"] == "forbidden"


async def test_an_open_one_asks_nobody() -> None:
    auth = Authenticator(SimpleNamespace(), SecretStr("m"))  # type: ignore[arg-type]
    async with client(operation(is_open=True), auth=auth) as http:
        assert (await http.post("/api/v1/x")).json()["role"] == "anonymous"


async def test_body_and_query_are_values() -> None:
    async with client(operation(body=Body, query=Query)) as http:
        reply = await http.post("/api/v1/x?days=7", content=b'{"name": "n"}', headers=ADMINS)
        assert reply.json()["body"] == {"name": "n", "count": 1}
        assert reply.json()["query"] == {"days": 7}
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/x", 422), ("/v2/x", 422), ("/api/llm", 400)]
)
@pytest.mark.parametrize(
    ("body", "query", "param", "code"),
    [
        (b"{}", "", "name", "invalid_value"),
        (b'{"name": ""}', "", "name", "invalid_value"),
        (b'{"name": "n", "count": "x"}', "", "count", "invalid_value"),
        (b'{"name": "n", "mane": 1}', "", "mane", "unknown_parameter"),
        (b'{"name": "n"}', "?days=0", "days", "invalid_value"),
        (b'{"name": "n"}', "?dys=1", "dys", "unknown_parameter"),
    ],
)
async def test_a_fault_names_its_field(
    path: str, status: int, body: bytes, query: str, param: str, code: str
) -> None:
    async with client(operation(path, body=Body, query=Query)) as http:
        reply = await http.post(path + query, content=body, headers=ADMINS)
        assert reply.status_code == status
        error = reply.json()["error"]
        assert (error["param"], error["code"]) == (param, code)
        assert ("detail" in reply.json()) == path.startswith("/v2")


async def test_no_text_has_a_nul_that_no_database_holds() -> None:
    async with client(operation(body=Body), operation("/api/v1/y/{id}", method="GET")) as http:
        for raw in (b'{"name": "a\\u0000b"}', b'{"name": "n", "a\\u0000": 1}'):
            reply = await http.post("/api/v1/x", content=raw, headers=ADMINS)
            assert reply.status_code == 422, raw
        told = await http.get("/api/v1/y/%00", headers=ADMINS)
        assert (told.status_code, told.json()["error"]["code"]) == (404, "not_found")


async def test_who_may_not_is_told_before_what_is_wrong() -> None:
    async with client(operation(body=Body)) as http:
        reply = await http.post("/api/v1/x", content=b"{", headers={"x-role": "key"})
        assert reply.status_code == 403


async def test_what_is_no_json_is_a_400() -> None:
    async with client(operation(body=Body)) as http:
        for raw in (b"", b"{", b"[]", b"\xff", b"NaN", b"[" * 10_000):
            reply = await http.post("/api/v1/x", content=raw, headers=ADMINS)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")


async def test_a_body_may_miss_where_it_is_said() -> None:
    optional = operation(body=Loose, body_may_miss=True)
    async with client(optional) as http:
        assert (await http.post("/api/v1/x", headers=ADMINS)).status_code == 422
        reply = await http.post("/api/v1/x", content=b'{"name": "n", "x": 1}', headers=ADMINS)
        assert reply.json()["body"] == {"name": "n"}


async def test_nothing_is_a_204() -> None:
    async with client(operation(handler=none)) as http:
        reply = await http.post("/api/v1/x", headers=ADMINS)
        assert (reply.status_code, reply.content) == (204, b"")


def test_a_value_is_answered_as_its_fields() -> None:
    reply = answer(Body(name="n"), 201)
    assert (reply.status_code, orjson.loads(reply.body)) == (201, {"name": "n", "count": 1})
