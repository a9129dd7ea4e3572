"""One log line a request, when `server.access_log` asks for it. The ledger is the record."""

import logging
import time

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.middleware.request_id import REQUEST_ID
from proxy.response import RESPONSE
from proxy.telemetry.logs import FIELDS

PATH_LIMIT = 1000  # characters of a path that are written

log = logging.getLogger("turnout.access")


class AccessLog:
    """A JSON object a line, by itself or as members of a line that is one: no query string and no
    header, which may carry secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            line = {
                "request_id": scope[REQUEST_ID],
                "method": scope["method"],
                "path": scope["path"][:PATH_LIMIT],
                "status": scope[RESPONSE].status,
                "duration_ms": round(1000 * (time.monotonic() - began), 1),
            }
            said = orjson.dumps(line).decode()
            log.info("%s", said, extra={FIELDS: line | {"message": "request"}})
