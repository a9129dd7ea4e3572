"""Gives each request an id, and each response its `x-request-id`."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.ids import uuid7

REQUEST_ID = "turnout.request_id"
"""The key of the id in the ASGI scope."""


class RequestId:
    """Ids are Turnout's own: one that a client sends could forge a line of somebody's log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = uuid7()
        header = (b"x-request-id", b"req_" + request_id.replace("-", "").encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [header, *message.get("headers", ())]
            await send(message)

        await self._app(scope, receive, send_with_id)
