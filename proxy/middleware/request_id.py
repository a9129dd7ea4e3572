"""Gives each request its id and its `Response`, and the response its `x-request-id`."""

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.ids import request_name, uuid7
from proxy.response import RESPONSE, Response

REQUEST_ID = "turnout.request_id"
"""The key of the id in the ASGI scope."""

PRIVATE = ("/api/", "/v2/", "/metrics", "/health")
"""Where answers are of whoever asks, whose cookie a cache on the way does not look at."""

UNKEPT = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""No cache keeps such an answer, and no browser takes it for a page."""


class RequestId:
    """The outermost layer. Ids are Turnout's own: one that a client sends could forge a line of
    somebody's log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id = scope[REQUEST_ID] = uuid7()
            send = scope[RESPONSE] = Response(send)
            named = request_name(request_id).encode()
            send.headers.append((b"x-request-id", named))
            if scope["path"].startswith(PRIVATE):
                send.defaults = UNKEPT
            if scope["path"].startswith("/v1/messages"):
                send.headers.append((b"request-id", named))  # Anthropic's SDKs look for it here
        await self._app(scope, receive, send)
