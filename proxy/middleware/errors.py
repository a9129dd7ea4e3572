"""Turns errors into answers. What nobody foresaw is a 500 with nothing of it but the request id."""

import logging

import orjson
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.errors import (
    DatabaseUnavailable,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TurnoutError,
    anthropic_body,
    detail_body,
    trpc_error,
)
from proxy.ids import request_name
from proxy.middleware.request_id import REQUEST_ID
from proxy.middleware.usage import RECORD
from proxy.response import RESPONSE

ANTHROPIC = "/v1/messages"
"""Where Anthropic's API is: its SDKs want its own error shape."""

TRPC, V2 = "/api/trpc/", "/v2/"
"""Where APIs are that say their errors in their own way."""

AWAY = (SQLAlchemyError, ConnectionError, TimeoutError)
"""What a database raises that is away. Providers' connections have errors of their own."""

log = logging.getLogger("turnout.errors")


class Errors:
    """Answers every error in OpenAI's shape, unless the answer has already begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except TurnoutError as error:
            if scope[RESPONSE].status:
                raise
            await _answer(error, scope, send)
        except HTTPException as error:
            await _answer(_ours(error, scope), scope, send)
        except ClientDisconnect:
            return  # nobody to answer; the usage record says that the client left
        except AWAY as error:
            said = _of_database(error)
            log.warning("request %s: %s (%s)", scope[REQUEST_ID], said.code, type(error).__name__)
            if scope[RESPONSE].status:
                raise
            await _answer(said, scope, send)
        except Exception:  # the last who can answer; logged with the request's id
            log.exception("request %s failed in Turnout itself", scope[REQUEST_ID])
            if scope[RESPONSE].status:
                raise
            message = "Turnout itself failed; its log has the details under this request's id"
            await _answer(Internal(message), scope, send)


def _of_database(error: Exception) -> TurnoutError:
    """What a door's question to the database came to. The error itself may hold values."""
    if isinstance(error, DataError):
        return InvalidRequest("a value of this request is none that the database can hold")
    message = "the database is away, or too busy; try again"
    return DatabaseUnavailable(message, headers={"retry-after": "2"})


def _ours(error: HTTPException, scope: Scope) -> TurnoutError:
    """Starlette's own refusals in our shape."""
    if error.status_code == 405:
        message = f"{scope['path']} does not take {scope['method']}"
        return MethodNotAllowed(message, headers=dict(error.headers or {}))
    return NotFound(f"there is nothing at {scope['path']}")


def _body(error: TurnoutError, scope: Scope) -> bytes:
    """In the shape of the API that was called."""
    path = scope["path"]
    if path.startswith(ANTHROPIC):
        return anthropic_body(error, request_name(scope[REQUEST_ID]))
    if path.startswith(TRPC):
        return orjson.dumps(trpc_error(error, path[len(TRPC) :]))
    if path.startswith(V2):
        return detail_body(error)
    return error.body()


async def _answer(error: TurnoutError, scope: Scope, send: Send) -> None:
    record = scope.get(RECORD)
    if record is not None:
        record.error_code, record.error_message = error.code, error.message
    body = _body(error, scope)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *((name.encode(), value.encode()) for name, value in error.headers.items()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
