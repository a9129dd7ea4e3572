"""One log line a request, when `server.access_log` asks for it. The ledger is the record."""

import logging
import time
from collections.abc import Callable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.middleware.request_id import REQUEST_ID

log = logging.getLogger("turnout.access")


class AccessLog:
    """A JSON object a line: no query string and no header, which may carry secrets."""

    def __init__(self, app: ASGIApp, enabled: Callable[[], bool]) -> None:
        self._app = app
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._enabled():
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            line = {
                "request_id": scope.get(REQUEST_ID),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round(1000 * (time.monotonic() - began), 1),
            }
            log.info("%s", orjson.dumps(line).decode())
