"""One call through a layer, without a server."""

from typing import Any

from starlette.types import ASGIApp, Message

from proxy.middleware.request_id import RequestId


async def call(app: ASGIApp, body: list[bytes] | None = None, **scope: Any) -> list[Message]:
    """What a layered application sends for one request."""
    parts = body or [b""]
    sent: list[Message] = []

    async def receive() -> Message:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    given = {"type": "http", "method": "GET", "path": "/x", "headers": []} | scope
    await RequestId(app)(given, receive, send)
    return sent


async def ok(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers 200 with the path it saw."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
