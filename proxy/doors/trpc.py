"""`/api/trpc/…`: tRPC's protocol over HTTP, as its clients of versions 10 and 11 speak it.

    GET  /api/trpc/PATH?input=JSON             a query; its fields may also be plain parameters
    POST /api/trpc/PATH                        a mutation; the body is its input, bare
    GET  /api/trpc/A,B?batch=1&input={"0": …}  several calls of one kind; POST has them in its body

A call is answered with `{"result": {"data": …}}` or `{"error": …}`, several with a list of those,
in order. The status of several is theirs if they agree, else 207. What comes as superjson wraps
it, `{"json": …, "meta": …}`, is answered so too. Who is not known is told so without a look at
the body.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import GenericAlias
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.batches import Batch, Job
from proxy.client import CONNECTION, Connection, Heard, when_lost
from proxy.doors import body as bodies
from proxy.doors.api import EVERYONE, Api, Operation, validated
from proxy.doors.trpc_input import Call, read_many, read_one
from proxy.errors import (
    Forbidden,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TurnoutError,
    trpc_error,
)
from proxy.middleware.request_id import REQUEST_ID
from proxy.middleware.usage import RECORD
from proxy.types import Principal, Role

ROOT = "/api/trpc/"
AT_ONCE = 32  # of these under way at a time
MULTI_STATUS = 207

PARSE_ERROR = ("PARSE_ERROR", -32700)
"""What tRPC calls JSON that is none; it has the status of any other bad request."""

log = logging.getLogger("turnout.trpc")


class Kind(StrEnum):
    """What a procedure is; it decides the method that it is called by."""

    QUERY = "query"
    MUTATION = "mutation"


_KIND_OF = {"GET": Kind.QUERY, "POST": Kind.MUTATION}


class Departure:
    """Tells those who work on an HTTP request when its client leaves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told: list[Batch] = []

    def leave(self) -> None:
        for batch in list(self._told):
            batch.leave()

    @contextmanager
    def telling(self, batch: Batch) -> Iterator[None]:
        """For as long as a batch is under way; at once where the client has left already."""
        self._told.append(batch)
        if self._connection.is_lost:
            batch.leave()
        try:
            yield
        finally:
            self._told.remove(batch)


@contextmanager
def departure_of(connection: Connection) -> Iterator[Departure]:
    """The departure of a request's client, for as long as the request is worked on."""
    departure = Departure(connection)
    with when_lost(connection, departure.leave):
        yield departure


@dataclass(frozen=True, slots=True)
class Given:
    """A call that was let in and understood. `input` is of the declared type. `client` is there
    where the call is one of several, and is then what it is cut through."""

    principal: Principal
    request: Request
    input: Any
    departure: Departure
    client: Heard | None = None


Handler = Callable[[Given], Awaitable[Any]]
"""Gives a pydantic value, or what JSON can say. Raises `TurnoutError`."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """What can be called, by whom, with what. `answer` is any type that pydantic knows."""

    path: str
    kind: Kind
    handler: Handler
    roles: frozenset[Role]
    summary: str
    input: type[BaseModel]
    answer: Any
    errors: tuple[int, ...] = ()


class Visit(NamedTuple):
    """One HTTP request. `caller` is who makes it, or why nobody knows."""

    request: Request
    caller: Principal | TurnoutError
    departure: Departure


class Said(NamedTuple):
    """What a call came to."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


class TrpcDoor:
    """One endpoint for all procedures; each has a route of its own too, for the API's document."""

    def __init__(self, api: Api, procedures: Sequence[Procedure]) -> None:
        self._api = api
        self._procedures = {procedure.path: procedure for procedure in procedures}

    def routes(self) -> list[BaseRoute]:
        own = [self._documented(procedure) for procedure in self._procedures.values()]
        return [*own, Route(ROOT + "{path:path}", self.serve, methods=["GET", "POST"])]

    def _documented(self, procedure: Procedure) -> Route:
        async def endpoint(request: Request) -> Response:
            return await self.serve(request)

        endpoint.operation = _operation(procedure)  # type: ignore[attr-defined]
        return Route(ROOT + procedure.path, endpoint, methods=["GET", "POST"])

    async def serve(self, request: Request) -> Response:
        """Any call, or several of them."""
        path = request.scope["path"].removeprefix(ROOT)
        many = request.query_params.get("batch") == "1"
        caller = await self._caller(request)
        raw = None
        if request.method == "POST" and isinstance(caller, Principal):
            raw = await bodies.read(request.receive)
        if request.method == "HEAD" and isinstance(caller, Principal):
            return Response(status_code=204)
        query = request.query_params
        calls = read_many(path, query, raw) if many else [read_one(path, query, raw)]
        with departure_of(request.scope["extensions"][CONNECTION]) as departure:
            visit = Visit(request, caller, departure)
            if len(calls) > 1:
                return _answer(await self._all(calls, visit), many)
            said = await self._one(calls[0], visit, None)
        _note(request, said)
        return _answer([said], many)

    async def _caller(self, request: Request) -> Principal | TurnoutError:
        try:
            return await self._api.caller(request, EVERYONE)
        except TurnoutError as error:
            return error

    async def _all(self, calls: Sequence[Call], visit: Visit) -> list[Said]:
        """Several calls, each cut when the client leaves."""

        def job(call: Call) -> Job:
            async def answered(client: Heard) -> Said:
                return await self._guarded(call, visit, client)

            return answered

        batch = Batch([job(call) for call in calls], AT_ONCE)
        return [each for each in await gathered(batch, visit.departure) if isinstance(each, Said)]

    async def _guarded(self, call: Call, visit: Visit, client: Heard) -> Said:
        try:
            return await self._one(call, visit, client)
        except Exception as error:  # noqa: BLE001  (the others keep their answers)
            return _failed(broken(error, visit.request, call.path), call)

    async def _one(self, call: Call, visit: Visit, client: Heard | None) -> Said:
        """Calls a procedure; its error is an answer too. With a client it is one of several."""
        request, caller = visit.request, visit.caller
        try:
            if isinstance(caller, TurnoutError):
                raise caller
            procedure = self._procedure(call.path, request.method, caller)
            if call.fault is not None:
                raise call.fault
            given = validated(procedure.input, call.given, _fault)
            found = await procedure.handler(Given(caller, request, given, visit.departure, client))
        except TurnoutError as error:
            return _failed(error, call)
        return Said(200, {"result": {"data": _wrapped(_plain(found), call)}}, {})

    def _procedure(self, path: str, method: str, principal: Principal) -> Procedure:
        """Raises `NotFound`, `MethodNotAllowed`, `Forbidden`."""
        procedure = self._procedures.get(path)
        if procedure is None:
            raise NotFound(f'No procedure found on path "{path}"')
        if _KIND_OF.get(method) is not procedure.kind:
            message = f'Unsupported {method}-request to {procedure.kind} procedure at path "{path}"'
            allowed = next(name for name, kind in _KIND_OF.items() if kind is procedure.kind)
            raise MethodNotAllowed(message, headers={"allow": allowed})
        if principal.role not in procedure.roles:
            raise Forbidden(f"{path} is for {', '.join(sorted(procedure.roles))}")
        return procedure


def broken(error: Exception, request: Request, what: str) -> Internal:
    """Logs a fault of ours; what is said of it."""
    where = request.scope[REQUEST_ID]
    log.error("%s of request %s failed in Turnout itself", what, where, exc_info=error)
    return Internal("Turnout itself failed; its log has the details under this request's id")


async def gathered(batch: Batch, departure: Departure) -> list[Any]:
    """What each call of a batch came to, in order, its answer or its error. What was not begun
    when the client left is an error that nobody reads."""
    found: list[Any] = [Internal("the client left before this was asked")] * batch.total
    with departure.telling(batch):
        async with aclosing(batch.results()) as results:
            async for done in results:
                found[done.place] = done.answer if done.error is None else done.error
    return found


def _operation(procedure: Procedure) -> Operation:
    """What the API's document says of a procedure."""
    is_query = procedure.kind is Kind.QUERY

    async def handler(_: Any) -> Response:
        raise NotImplementedError("procedures are called by tRPC's protocol")

    return Operation(
        "GET" if is_query else "POST",
        ROOT + procedure.path,
        handler,
        procedure.roles,
        procedure.summary,
        body=None if is_query else procedure.input,
        query=procedure.input if is_query else None,
        answer=_enveloped(procedure.answer),
        errors=procedure.errors,
    )


def _enveloped(answer: Any) -> Any:
    """The type of an answer with what is around it."""
    data = GenericAlias(dict, (Literal["data"], answer))
    return GenericAlias(dict, (Literal["result"], data))


# What is answered.


def _fault(message: str, param: str | None) -> TurnoutError:
    return InvalidRequest(message, param=param)


def _plain(value: Any) -> Any:
    """A pydantic value, or several, as the names of the API have it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _wrapped(value: Any, call: Call) -> Any:
    return {"json": value} if call.is_super else value


def _failed(error: TurnoutError, call: Call) -> Said:
    said = trpc_error(error, call.path)["error"]
    if error.code == "invalid_json":
        said["data"]["code"], said["code"] = PARSE_ERROR
    return Said(error.status, {"error": _wrapped(said, call)}, error.headers)


def _note(request: Request, said: Said) -> None:
    """Puts the error of a call that has the request's own row on the books."""
    error = said.body.get("error")
    if error is not None:
        shape = error.get("json", error)
        record = request.scope[RECORD]
        record.error_code, record.error_message = shape["data"]["turnoutCode"], shape["message"]


def _answer(said: Sequence[Said], many: bool) -> Response:
    statuses = {each.status for each in said}
    status = statuses.pop() if len(statuses) == 1 else MULTI_STATUS
    bodies_said = [each.body for each in said]
    content = orjson.dumps(bodies_said if many else bodies_said[0])
    headers = dict(said[0].headers) if len(said) == 1 else {}
    return Response(content, status, headers, media_type="application/json")
