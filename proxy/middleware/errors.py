"""Turns errors into answers. What nobody foresaw is a 500 with nothing of it but the request id."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.errors import Internal, MethodNotAllowed, NotFound, TurnoutError, anthropic_body
from proxy.middleware.request_id import REQUEST_ID
from proxy.middleware.usage import RECORD
from proxy.response import RESPONSE

ANTHROPIC = "/v1/messages"
"""Where Anthropic's API is: its SDKs want its own error shape."""

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
        except Exception:  # the last who can answer; logged with the request's id
            log.exception("request %s failed in Turnout itself", scope[REQUEST_ID])
            if scope[RESPONSE].status:
                raise
            message = "Turnout itself failed; its log has the details under this request's id"
            await _answer(Internal(message), scope, send)


def _ours(error: HTTPException, scope: Scope) -> TurnoutError:
    """Starlette's own refusals in our shape."""
    if error.status_code == 405:
        message = f"{scope['path']} does not take {scope['method']}"
        return MethodNotAllowed(message, headers=dict(error.headers or {}))
    return NotFound(f"there is nothing at {scope['path']}")


def _body(error: TurnoutError, scope: Scope) -> bytes:
    """In the shape of the API that was called."""
    if scope["path"].startswith(ANTHROPIC):
        return anthropic_body(error, "req_" + scope[REQUEST_ID])
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
