"""A gateway for tests that send it anything: real sockets, on a thread of its own.

Nothing gets off this machine: the loop of the gateway resolves no names and connects to loopback
only. What it logs is kept; what went to a provider is in the fake upstream's log.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.gateway import MASTER, running
from tests.fakes.upstream import Upstream

SERVICE = "a-service-key-of-the-tests"
PASSWORD = "a long secret of these tests"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PATIENCE = 30.0  # seconds that a gateway may take to start

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [{service}]}}
storage: {{database: "{database}"}}
retry: {{attempts: 1}}
breaker: {{failures: 1000000, ratio: 100%}}
providers:
  up: {{dialect: openai, base_url: "{up}", api_key: sk-up-secret, models: [m-1, m-2]}}
  openai: {{dialect: openai, base_url: "{up}", api_key: sk-openai-secret, models: [gpt-4o-mini]}}
  keyless: {{dialect: openai, base_url: "{up}"}}
models: {{"*": up, both: [up/m-1, up/m-2]}}
tasks:
  echo: {{targets: [up/m-1]}}
backends:
  video: {{base_url: "{up}"}}
"""


class Fenced(asyncio.SelectorEventLoop):
    """A loop without a way out."""

    async def getaddrinfo(self, host: Any, port: Any, **over: Any) -> Any:
        if host not in LOOPBACK:
            raise socket.gaierror(socket.EAI_NONAME, "no names are resolved in tests")
        return await super().getaddrinfo(host, port, **over)

    async def create_server(self, *args: Any, **over: Any) -> asyncio.Server:
        """asyncio leaves Nagle's algorithm on where a socket doesn't say its protocol, and each
        answer on a kept connection would take 40 ms."""
        if (listening := over.get("sock")) is not None:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return await super().create_server(*args, **over)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise ConnectionRefusedError("tests connect to this machine only")
        await super().sock_connect(sock, address)


@dataclass
class Stage:
    """Where a gateway listens, and who may call it; `up` is the provider that it has."""

    url: str
    up: Upstream
    headers: dict[str, dict[str, str]]  # the caller -> what says who calls

    def client(self, who: str = "master") -> httpx.Client:
        """A caller of the gateway, that trusts nothing of this machine's environment."""
        headers = self.headers[who]
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@contextmanager
def staged(folder: Path, database: str = "sqlite:///t.db") -> Iterator[Stage]:
    """A gateway with its provider; callers are `master`, `user`, `service` and `key`."""
    begun, over = threading.Event(), asyncio.Event()
    found: list[Any] = []
    loop = Fenced()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            up = await stack.enter_async_context(Upstream())
            text = CONFIG.format(up=up.base_url, database=database, service=SERVICE)
            gateway = await stack.enter_async_context(running(folder, text))
            found.extend((gateway.url, up, gateway.key))
            begun.set()
            await over.wait()

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=serve, name="gateway")
    thread.start()
    try:
        assert begun.wait(PATIENCE), "the gateway did not start"
        url, up, key = found
        yield _peopled(url, up, key)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)


def _peopled(url: str, up: Upstream, key: str) -> Stage:
    """The stage, once somebody has an account."""
    master = {"authorization": f"Bearer {MASTER}"}
    who = {"email": "someone@example.com", "password": PASSWORD}
    with httpx.Client(base_url=url, trust_env=False) as client:
        made = client.post("/api/v1/users", json=who, headers=master)
        assert made.status_code == 201, made.text
        token = client.post("/api/v1/login", json=who).json()["access_token"]
    callers = {
        "master": master,
        "user": {"authorization": f"Bearer {token}"},
        "service": {"x-service-key": SERVICE},
        "key": {"authorization": f"Bearer {key}"},
    }
    return Stage(url, up, callers)
