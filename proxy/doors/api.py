"""One operation of the control plane, or of a seed's API: who may call it, what it takes and gives.

What is declared here is what is enforced, and what the OpenAPI document says: the roles, the
query, the body, each a pydantic model. A fault names its field, with 422 under `/api/v1` and
`/v2`, 400 elsewhere.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from proxy.doors import body as bodies
from proxy.doors.controls import first_of_each
from proxy.errors import (
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TurnoutError,
    Unprocessable,
)
from proxy.live import Live
from proxy.types import Principal, Role

EVERYONE = frozenset({Role.ADMIN, Role.SERVICE, Role.USER, Role.KEY, Role.ANONYMOUS})
ADMIN = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.ADMIN, Role.SERVICE})
PEOPLE = frozenset({Role.ADMIN, Role.USER})
KNOWN = frozenset({Role.ADMIN, Role.SERVICE, Role.USER, Role.KEY})
"""Who may call. `PEOPLE` are those with an account, and the master key."""

NOBODY = Principal(Role.ANONYMOUS)
"""Who calls an operation that is open."""

_WHO = {
    ADMIN: "the master key or an admin",
    OPERATORS: "the master key, an admin or a service key",
    PEOPLE: "a user's token or the master key",
    KNOWN: "a key or a token",
}

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A body or a query: frozen, and a field that is not known is a fault."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )


class Lenient(BaseModel):
    """The same, where fields that are not known have always been left alone."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )


class Asked(NamedTuple):
    """A call that was let in and understood. `body` and `query` are of the declared types."""

    principal: Principal
    request: Request
    body: Any
    query: Any

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])


Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What can be called. `answer` is any type that pydantic knows, for the document."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role]
    summary: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: Any = None
    status: int = 200
    media_type: str = "application/json"
    also: tuple[str, ...] = ()  # other media types that it answers in when asked to
    body_may_miss: bool = False
    is_open: bool = False  # nobody is asked who they are; `roles` say nothing then
    takes: Any = None  # the type of a body that the handler reads itself, for the document
    errors: tuple[int, ...] = ()


class _Route(Route):
    """One of several at a path: who comes with a method that none takes hears which are."""

    allowed: set[str]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.allowed:
            message = f"{scope['path']} does not take {scope['method']}"
            raise MethodNotAllowed(message, headers={"allow": ", ".join(sorted(self.allowed))})
        await self.app(scope, receive, send)


class Api:
    """Makes routes of operations."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._allowed: dict[str, set[str]] = {}  # path -> the methods of all its routes

    def route(self, operation: Operation) -> Route:
        """The route; its endpoint has the operation as `operation`."""
        route = _Route(operation.path, self._endpoint(operation), methods=[operation.method])
        route.allowed = self._allowed.setdefault(operation.path, set())
        route.allowed |= route.methods or set()
        return route

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            principal = NOBODY
            if not operation.is_open:
                principal = await self.caller(request, operation.roles)
            fault = fault_at(operation.path)
            _refuse_nul(request, fault)
            query = None
            if operation.query is not None:
                query = validated(operation.query, dict(request.query_params), fault)
            body = None
            if operation.body is not None:
                body = validated(operation.body, await _given(request, operation), fault)
            return await operation.handler(Asked(principal, request, body, query))

        endpoint.operation = operation  # type: ignore[attr-defined]
        return endpoint

    async def caller(self, request: Request, roles: frozenset[Role]) -> Principal:
        """Who calls, if that is one of `roles`. Raises `Unauthenticated`, `Forbidden`."""
        headers = first_of_each(request.scope)
        principal = await self._live.current.auth.identify_at(request.method, headers)
        if principal.role not in roles:
            raise Forbidden(f"this needs {_WHO.get(roles, 'another role')}")
        return principal


Fault = Callable[[str, str | None], TurnoutError]
"""(message, field) -> the error that a wrong value is."""


def fault_at(path: str) -> Fault:
    """How an API says that a value is wrong: 422 under `/api/v1` and `/v2`, 400 elsewhere."""
    kind = Unprocessable if path.startswith(("/api/v1", "/v2")) else InvalidRequest
    return lambda message, param: kind(message, param=param)


def _refuse_nul(request: Request, fault: Fault) -> None:
    """PostgreSQL takes no NUL in a text, so there is nothing whose name has one."""
    if any("\0" in str(value) for value in request.path_params.values()):
        raise NotFound(f"there is nothing at {request.scope['path']!r}")
    for name, value in request.query_params.items():
        if "\0" in value:
            raise fault(f"{name!r}: must be a text without NUL", name)


async def _given(request: Request, operation: Operation) -> dict[str, Any]:
    raw = await bodies.read(request.receive)
    if not raw.strip() and operation.body_may_miss:
        return {}
    return bodies.parse(raw)


def _check_texts(given: Any, fault: Fault, field: str = "") -> None:
    """PostgreSQL holds no NUL. Raises what `fault` makes of the first text with one."""
    if isinstance(given, str) and "\0" in given:
        raise fault(f"{field!r} must be a text without NUL", field or None)
    if isinstance(given, dict):
        for name, value in given.items():
            _check_texts(name, fault, field)
            _check_texts(value, fault, f"{field}.{name}".lstrip("."))
    if isinstance(given, list):
        for value in given:
            _check_texts(value, fault, field)


def validated(model: type[M], given: Mapping[str, Any], fault: Fault) -> M:
    """The value of a body or query. Raises what `fault` makes of the first thing that is wrong."""
    if issubclass(model, Strict):
        _check_texts(given, fault)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            unknown = fault(f"unknown field {field!r}; known are {known}", field)
            unknown.code = "unknown_parameter"
            raise unknown from None
        words = first["msg"].removeprefix("Value error, ")
        where = f"{field!r}: " if field else ""
        raise fault(f"{where}{words[:1].lower()}{words[1:]}", field) from None


def answer(value: Any, status: int = 200) -> Response:
    """JSON; a pydantic value as its fields, times and enums as text."""
    content = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


def nothing() -> Response:
    """204."""
    return Response(status_code=204)
