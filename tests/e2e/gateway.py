"""A whole gateway on a real socket with a real uvicorn, inside the test's own loop.

The same application and server class as `turnout serve`; in one process with the test, so that
tasks and descriptors can be counted. `test_serve.py` starts the command itself.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import uvicorn
from sqlalchemy import select

from proxy.app import build_app
from proxy.config import load
from proxy.home import Home
from proxy.server import Protocol
from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests

MASTER = "sk-turnout-master-for-the-tests-of-this-repository"


@dataclass
class Gateway:
    """A running gateway and what a test asks of it."""

    url: str
    home: Path
    config: Path
    key: str
    session: aiohttp.ClientSession

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    def client(self, **over: Any) -> openai.AsyncOpenAI:
        """The real SDK, without its own retries."""
        given = {"base_url": self.base_url, "api_key": self.key, "max_retries": 0} | over
        return openai.AsyncOpenAI(**given)

    async def post(self, body: Any, path: str = "/v1/chat/completions", **over: Any) -> "Answer":
        """One whole exchange; `body` is bytes or JSON."""
        headers = {"authorization": f"Bearer {self.key}"} | over.pop("headers", {})
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.session.post(self.url + path, headers=headers, **content, **over) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def call(self, method: str, path: str, body: Any = None, key: str = MASTER) -> "Answer":
        """A call of the control plane, with the master key."""
        headers = {"authorization": f"Bearer {key}"}
        url = self.url + path
        async with self.session.request(method, url, json=body, headers=headers) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def rows(self, count: int = 1) -> list[dict[str, Any]]:
        """The request rows, once there are `count` of them."""
        return await self._read(requests, count)

    async def attempts(self, count: int = 1) -> list[dict[str, Any]]:
        """The attempt rows, once there are `count` of them."""
        return await self._read(attempts, count)

    async def _read(self, table: Any, count: int) -> list[dict[str, Any]]:
        engine = await open_database("sqlite:///turnout.db", self.home)
        try:
            for _ in range(200):
                async with engine.connect() as connection:
                    found = (
                        await connection.execute(select(table).order_by(table.c.id))
                    ).mappings()
                    rows = [dict(row) for row in found]
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.02)
        finally:
            await engine.dispose()
        raise AssertionError(f"{len(rows)} rows in {table.name}, not {count}: {rows}")


@dataclass
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __post_init__(self) -> None:
        self.headers = {name.lower(): value for name, value in self.headers.items()}

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, type and code of an error in OpenAI's shape, which it is checked to have."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert self.headers["x-request-id"].startswith("req_")
        return self.status, error["type"], error["code"]


@asynccontextmanager
async def running(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, read_timeout: float = 15.0
) -> AsyncIterator[Gateway]:
    """A gateway with the configuration `text`, gone at the end with all its tasks."""
    path = folder / "config.yaml"
    path.write_text(text)
    home = Home(folder / "home")
    given = {"TURNOUT_MASTER_KEY": MASTER} | dict(environ or {})
    app = build_app(lambda: load(path, given), home)
    sock = socket.create_server(("127.0.0.1", 0))
    # uvloop does so by itself; on asyncio's loop each answer would wait 40 ms for an ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        http=type("Protocol", (Protocol,), {"read_timeout": read_timeout}),
        loop="none",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not server.started:
        if serving.done():
            serving.result()
            raise AssertionError("the gateway did not start")
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        async with aiohttp.ClientSession() as session:
            gateway = Gateway(url, home.path, path, "", session)
            made = await gateway.call("POST", "/api/v1/keys", {"name": "test"}, MASTER)
            assert made.status == 201, made.body
            gateway.key = made.json["key"]
            yield gateway
    finally:
        server.should_exit = True
        await serving
        sock.close()


def one_upstream(base_url: str, extra: str = "", provider: str = "") -> str:
    """A configuration with one provider `up` and the master key from the environment."""
    return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{base_url}", api_key: sk-up-secret{provider}}}
{extra}
"""


def two_upstreams(first: str, second: str, extra: str = "", provider: str = "") -> str:
    """Providers `one` and `two`, and the alias `both`: first the one, then the two."""
    return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  one: {{dialect: openai, base_url: "{first}", api_key: sk-one-secret{provider}}}
  two: {{dialect: openai, base_url: "{second}", api_key: sk-two-secret{provider}}}
models:
  both: [one/model-1, two/model-2]
{extra}
"""


def descriptors() -> int:
    """Open file descriptors of this process, without the books' own: their pool keeps as many
    connections as were ever needed at once, and the spool a segment or two."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own
        found += not (".db" in target or target.endswith(".spool"))
    return found
