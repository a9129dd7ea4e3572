"""The floor: what a Python proxy on this stack costs when it does nothing at all.

uvicorn in front, one aiohttp session behind, a body out and a body back. No key is checked,
nothing is parsed, routed, counted or retried. It is written the way one would write it: neither
slowed down nor tuned with tricks that a real service could not keep.
"""

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

UP = (b"content-type", b"accept", b"authorization")
DOWN = ("content-type", "content-length", "cache-control", "x-request-id")


class Forwarder:
    """A pure ASGI application that posts every request's body to the upstream."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session: aiohttp.ClientSession

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["path"] == "/health/live":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
        else:
            await self.forward(scope, receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        """Opens the session when the server starts and closes it when it ends."""
        await receive()
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=3),
            auto_decompress=False,
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: its body up, the answer down as it comes."""
        body = await read_body(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in UP}
        async with self.session.post(
            self.base_url + scope["path"], data=body, headers=headers
        ) as upstream:
            await send(
                {
                    "type": "http.response.start",
                    "status": upstream.status,
                    "headers": [
                        (name.encode(), upstream.headers[name].encode())
                        for name in DOWN
                        if name in upstream.headers
                    ],
                }
            )
            if "content-length" in upstream.headers:
                await send({"type": "http.response.body", "body": await upstream.read()})
                return
            async for chunk in upstream.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def read_body(receive: Receive) -> bytes:
    """The whole request body."""
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="base URL, without /v1")
    given = parser.parse_args()
    uvicorn.run(
        Forwarder(given.upstream),
        host="127.0.0.1",
        port=given.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
