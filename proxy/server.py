"""Runs the application on uvicorn: sockets, workers, signals, and what is printed at start."""

import asyncio
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from proxy.app import build_app
from proxy.client import CONNECTION
from proxy.config import Config, load
from proxy.home import Home
from proxy.telemetry.logs import format_of, set_up_logging

KEEP_ALIVE = 75  # seconds; longer than the 60 of the usual load balancers, so that they close first
BACKLOG = 2048
SETTINGS = "TURNOUT_SERVE"
"""Environment variable by which worker processes learn what the first one was told."""


LOOK = 1.0  # seconds between looks at connections that are still being read
PACE = 16 * 1024  # bytes of body a second that a client has to send at least, once time is up
HEAD_LIMIT = 64 * 1024  # bytes of one request line with its headers
REFUSAL = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_SLOW = REFUSAL % b"408 Request Timeout"
TOO_LONG = REFUSAL % b"431 Request Header Fields Too Large"


class Readers:
    """The connections whose request has not arrived whole, looked at once a second: uvicorn would
    wait for ever, and a client that sends a byte now and then would hold its socket."""

    def __init__(self) -> None:
        self._open: set[Protocol] = set()
        self._looking_in: asyncio.AbstractEventLoop | None = None

    def add(self, protocol: "Protocol") -> None:
        self._open.add(protocol)
        if self._looking_in is not protocol.loop:
            self._looking_in = protocol.loop
            protocol.loop.call_later(LOOK, self._look, protocol.loop)

    def drop(self, protocol: "Protocol") -> None:
        self._open.discard(protocol)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for protocol in [each for each in self._open if each.is_late(now)]:
            protocol.refuse(TOO_SLOW)
        if self._open:
            loop.call_later(LOOK, self._look, loop)
        else:
            self._looking_in = None


class Protocol(HttpToolsProtocol):
    """uvicorn's own, with two extensions: a request has its connection (`proxy.client`), and has
    to arrive in time."""

    read_timeout = 15.0  # of the configuration in a process that serves
    readers = Readers()
    is_lost = False
    on_lost: Callable[[], None] | None = None
    _begun = 0.0
    _in_head = True
    _head_size = 0
    _body_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def _begin(self) -> None:
        self._begun = self.loop.time()
        self._head_size = self._body_size = 0
        self._in_head = True
        self.readers.add(self)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]
        self._begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT and not self.transport.is_closing():
                self.refuse(TOO_LONG)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_size += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.readers.drop(self)
        self._in_head = False

    def is_late(self, now: float) -> bool:
        """Whether the request should have arrived by now."""
        return now > self._begun + self.read_timeout + self._body_size / PACE

    def refuse(self, answer: bytes) -> None:
        """Says so, unless nothing was asked or an answer is under way, and closes."""
        self.readers.drop(self)
        cycle = self.cycle
        if self.scope is not None and (
            cycle is None or cycle.response_complete or not cycle.response_started
        ):
            self.transport.write(answer)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.readers.drop(self)
        self.is_lost = True
        if self.on_lost is not None:
            self.on_lost()

    @property
    def is_full(self) -> bool:
        """Whether the client has not read what was written last: the next write would wait."""
        return self.flow.write_paused

    def abort(self) -> None:
        """Closes the connection without waiting for what is still to be written."""
        self.transport.abort()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line chose over the configuration; None leaves it as it is."""

    config: str | None = None
    host: str | None = None
    port: int | None = None
    workers: int | None = None

    def load(self) -> Config:
        """The configuration with the command line's choices. Raises `ConfigError`."""
        path = None if self.config is None else Path(self.config)
        config = load(path, os.environ)
        return config.with_server(host=self.host, port=self.port, workers=self.workers)


class Server(uvicorn.Server):
    """Says that it is up once it really is."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def run(settings: Settings, config: Config, home: Home, announce: Callable[[str], None]) -> int:
    """Serves until a signal ends it; the exit code. `announce` is given the base URL."""
    sock = _bind(config.server.host, config.server.port)
    base_url = f"http://{_authority(sock)}/v1"
    if config.server.workers > 1:
        os.environ[SETTINGS] = json.dumps(
            [settings.config, settings.host, settings.port, settings.workers]
        )
        shared = _uvicorn("proxy.server:worker_app", config)
        sock.listen(BACKLOG)  # so that who is told the address can connect before a worker is up
        announce(base_url)
        Multiprocess(shared, sockets=[sock]).run()
        return 0
    Protocol.read_timeout = config.server.read_timeout
    app = build_app(settings.load, home)
    server = Server(_uvicorn(app, config), lambda: announce(base_url))
    server.run(sockets=[sock])
    return 0 if server.started else 3


def worker_app() -> Starlette:
    """The application of one of several worker processes."""
    settings = Settings(*json.loads(os.environ[SETTINGS]))
    config = settings.load()
    set_up_logging(format_of(config.telemetry.logs.format, os.environ))
    Protocol.read_timeout = config.server.read_timeout
    threading.Thread(target=_end_with_parent, name="watch the parent", daemon=True).start()
    return build_app(settings.load, Home.find(os.environ), waits=True)


def _end_with_parent() -> None:
    """A worker whose parent was killed would serve on, and hold the port against the next start."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _uvicorn(app: Starlette | str, config: Config) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http=Protocol,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(config.server.drain)),
        workers=config.server.workers,
    )


def _bind(host: str, port: int) -> socket.socket:
    """A listening address; raises `OSError` with the address in its words when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        message = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        raise OSError(message) from None
    sock.set_inheritable(True)
    return sock


def _authority(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
