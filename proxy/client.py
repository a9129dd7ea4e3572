"""The client's side of a request: what is written to it, and whether it is still there.

Writing waits while the client reads slowly (the server's flow control), for `send_timeout`
seconds at most; memory stays bounded by the server's and the socket's buffers.
"""

import asyncio
from collections.abc import Callable, Sequence

from starlette.types import Receive, Scope, Send

from proxy.lifeline import Cut, Lifeline

ABORT = "turnout.abort"
"""ASGI extension of our server: closes the client's connection without waiting for it."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Client:
    """The other end of one request."""

    __slots__ = ("_abort", "_receive", "_send", "_send_timeout", "_watcher", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self._receive = receive
        self._send = send
        self._send_timeout = send_timeout
        self._abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
        self._watcher: asyncio.Task[None] | None = None
        self.started = False

    def watch(self, lifeline: Lifeline) -> None:
        """From now on `lifeline` is cut when the client leaves. The body must have been read."""
        # Kept, and ended by `unwatch`; it raises nothing but what the server's receive does.
        loop = asyncio.get_running_loop()
        self._watcher = loop.create_task(self._wait_for_end(lifeline), name="client watch")

    def unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _wait_for_end(self, lifeline: Lifeline) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        lifeline.cut(Cut.CLIENT_GONE)

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
        # The server calls a finished response a disconnect too: that one is no news.
        self.unwatch()
        await self._send({"type": "http.response.body", "body": data})
        lifeline.release()

    async def abort(self) -> None:
        """Closes the connection at once: a client that does not read would hold its buffers."""
        self.unwatch()
        if self._abort is not None:
            self._abort()
            await asyncio.sleep(0)  # lets the server see it before it sees an unfinished answer
