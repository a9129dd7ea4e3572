"""The client's side of a request: what is written to it, and whether it is still there.

Writing waits while the client reads slowly (the server's flow control), for `send_timeout`
seconds at most; memory stays bounded by the server's and the socket's buffers.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.types import Scope, Send

from proxy.lifeline import Cut, Lifeline

CONNECTION = "turnout.connection"
"""ASGI extension of our server: the `Connection` that a request came by."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Connection(Protocol):
    """A client's connection. ASGI would tell of its end to a task that waits for it; to be called
    costs nothing."""

    is_lost: bool
    on_lost: Callable[[], None] | None

    def abort(self) -> None: ...


class Client:
    """The other end of one request."""

    __slots__ = ("_connection", "_send", "_send_timeout", "started")

    def __init__(self, scope: Scope, send: Send, send_timeout: float) -> None:
        self._connection: Connection = scope["extensions"][CONNECTION]
        self._send = send
        self._send_timeout = send_timeout
        self.started = False

    def watch(self, lifeline: Lifeline) -> None:
        """From now on `lifeline` is cut when the client leaves, or has left."""
        if self._connection.is_lost:
            lifeline.cut(Cut.CLIENT_GONE)
        else:
            self._connection.on_lost = lambda: lifeline.cut(Cut.CLIENT_GONE)

    def unwatch(self) -> None:
        self._connection.on_lost = None

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, lifeline: Lifeline) -> None:
        """A part of the body; cut with `CLIENT_SLOW` when it can't be put down in time."""
        lifeline.arm(Cut.CLIENT_SLOW, lifeline.now() + self._send_timeout)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes, lifeline: Lifeline) -> None:
        """The last part of the body; nothing is cut any more once it is down."""
        lifeline.arm(Cut.CLIENT_SLOW, lifeline.now() + self._send_timeout)
        await self._send({"type": "http.response.body", "body": data})
        self.unwatch()
        lifeline.release()

    async def abort(self) -> None:
        """Closes the connection at once: a client that does not read would hold its buffers."""
        self.unwatch()
        self._connection.abort()
        await asyncio.sleep(0)  # lets the server see it before it sees an unfinished answer
