"""Gives each request its id and its `Response`, and the response its `x-request-id`."""

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.ids import uuid7
from proxy.response import RESPONSE, Response

REQUEST_ID = "turnout.request_id"
"""The key of the id in the ASGI scope."""


class RequestId:
    """The outermost layer. Ids are Turnout's own: one that a client sends could forge a line of
    somebody's log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id = scope[REQUEST_ID] = uuid7()
            send = scope[RESPONSE] = Response(send)
            named = b"req_" + request_id.encode()
            send.headers.append((b"x-request-id", named))
            if scope["path"].startswith("/v1/messages"):
                send.headers.append((b"request-id", named))  # Anthropic's SDKs look for it here
        await self._app(scope, receive, send)
