"""The client's side of a request: what is written to it, and whether it is still there.

Writing waits while the client reads slowly (the server's flow control), for `send_timeout`
seconds at most; memory stays bounded by the server's and the socket's buffers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from starlette.types import Message, Scope

from proxy.lifeline import Cut, Lifeline
from proxy.response import RESPONSE, Response

CONNECTION = "turnout.connection"
"""ASGI extension of our server: the `Connection` that a request came by."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Connection(Protocol):
    """A client's connection. ASGI would tell of its end to a task that waits for it; to be called
    costs nothing."""

    is_lost: bool
    on_lost: Callable[[], None] | None

    @property
    def is_full(self) -> bool: ...

    def abort(self) -> None: ...


@contextmanager
def when_lost(connection: Connection, leave: Callable[[], None]) -> Iterator[None]:
    """`leave` is called when the client leaves, or at once where it has left already."""
    connection.on_lost = leave
    if connection.is_lost:
        leave()
    try:
        yield
    finally:
        connection.on_lost = None


class Client:
    """The other end of one request."""

    __slots__ = ("_body", "_connection", "_lifeline", "_send", "_send_timeout", "started")

    def __init__(self, scope: Scope, send_timeout: float) -> None:
        response: Response = scope[RESPONSE]
        self._connection: Connection = scope["extensions"][CONNECTION]
        self._send = response
        self._body = response.send_body
        self._send_timeout = send_timeout
        self._lifeline: Lifeline | None = None
        self.started = False

    def watch(self, lifeline: Lifeline) -> None:
        """From now on `lifeline` is cut when the client leaves, or has left, or does not read."""
        self._lifeline = lifeline
        if self._connection.is_lost:
            lifeline.cut(Cut.CLIENT_GONE)
        else:
            self._connection.on_lost = lambda: lifeline.cut(Cut.CLIENT_GONE)

    def unwatch(self) -> None:
        self._connection.on_lost = None

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> Awaitable[None]:
        """A part of the body. Waits, and is cut for it, only while the last ones are not read."""
        message = {"type": "http.response.body", "body": data, "more_body": True}
        if self._connection.is_full:
            return self._wait_and_send(message)
        return self._body(message)

    async def end(self, data: bytes) -> None:
        """The last part of the body; nothing is cut any more once it is down."""
        message = {"type": "http.response.body", "body": data}
        if self._connection.is_full:
            await self._wait_and_send(message)
        else:
            await self._body(message)
        self.unwatch()
        if self._lifeline is not None:
            self._lifeline.release()

    async def _wait_and_send(self, message: Message) -> None:
        lifeline = self._lifeline
        assert lifeline is not None, "written to without being watched"
        waits_for, patience = lifeline.waits_for, lifeline.patience
        lifeline.arm(Cut.CLIENT_SLOW, self._send_timeout)
        await self._body(message)
        lifeline.arm(waits_for, patience)

    async def abort(self) -> None:
        """Closes the connection at once: a client that does not read would hold its buffers."""
        self.unwatch()
        self._connection.abort()
        await asyncio.sleep(0)  # lets the server see it before it sees an unfinished answer


class Silent(Client):
    """The other end of a request that Turnout makes itself: nobody hears it, nobody leaves."""

    __slots__ = ("status",)

    def __init__(self) -> None:
        self._lifeline = None
        self.started = False
        self.status = 0

    def watch(self, lifeline: Lifeline) -> None:
        self._lifeline = lifeline

    def unwatch(self) -> None:
        pass

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started, self.status = True, status

    async def write(self, data: bytes) -> None:
        pass

    async def end(self, data: bytes) -> None:
        if self._lifeline is not None:
            self._lifeline.release()

    async def abort(self) -> None:
        pass


class Heard(Silent):
    """The other end of one of several calls: it listens, and can leave."""

    __slots__ = ("body", "cache", "gone", "whole")

    def __init__(self) -> None:
        super().__init__()
        self.body = b""
        self.cache = ""
        self.gone = False
        self.whole = False

    def watch(self, lifeline: Lifeline) -> None:
        super().watch(lifeline)
        if self.gone:
            lifeline.cut(Cut.CLIENT_GONE)

    def unwatch(self) -> None:
        self._lifeline = None

    def leave(self) -> None:
        """Nobody wants the answer any more."""
        self.gone = True
        if self._lifeline is not None:
            self._lifeline.cut(Cut.CLIENT_GONE)

    async def start(self, status: int, headers: RawHeaders) -> None:
        await super().start(status, headers)
        self.cache = cache_of(headers)

    async def write(self, data: bytes) -> None:
        self.body += data

    async def end(self, data: bytes) -> None:
        self.body, self.whole = self.body + data, True
        await super().end(data)
        self.unwatch()


def cache_of(headers: RawHeaders) -> str:
    """The value of `x-turnout-cache` among the headers of an answer."""
    return dict(headers).get(b"x-turnout-cache", b"").decode()
