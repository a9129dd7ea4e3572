"""Refuses a body over `server.body_limit`, and reads no further than that.

With a Content-Length it is known at once, and the HTTP parser holds the client to it; a chunked
body is counted as it comes.
"""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import TooLarge


class BodyLimit:
    """`limit` gives the bytes allowed now: the configuration may change."""

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit()
        length = _declared(scope)
        if length is None:
            receive = _counting(receive, limit)
        elif length > limit:
            raise _too_large(limit)
        await self._app(scope, receive, send)


def _declared(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return None


def _counting(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def receive_counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return receive_counting


def _too_large(limit: int) -> TooLarge:
    message = f"the body is over {limit} bytes (server.body_limit in the configuration)"
    return TooLarge(message, headers={"connection": "close"})
