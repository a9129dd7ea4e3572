"""Turns errors into answers. What nobody foresaw is a 500 with nothing of it but the request id."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import Internal, TurnoutError
from proxy.middleware.request_id import REQUEST_ID
from proxy.middleware.usage import RECORD

log = logging.getLogger("turnout.errors")


class Errors:
    """Answers every error in OpenAI's shape, unless the answer has already begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except TurnoutError as error:
            if started:
                raise
            await _answer(error, scope, send)
        except ClientDisconnect:
            return  # nobody to answer; the usage record says that the client left
        except Exception:
            log.exception("request %s failed in Turnout itself", scope.get(REQUEST_ID))
            if started:
                raise
            message = "Turnout itself failed; its log has the details under this request's id"
            await _answer(Internal(message), scope, send)


async def _answer(error: TurnoutError, scope: Scope, send: Send) -> None:
    record = scope.get(RECORD)
    if record is not None:
        record.error_code, record.error_message = error.code, error.message
    body = error.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *((name.encode(), value.encode()) for name, value in error.headers.items()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
