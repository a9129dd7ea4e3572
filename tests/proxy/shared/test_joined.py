"""A process joins those that share a Redis, and hears of them."""

import asyncio
import time
from contextlib import AsyncExitStack

from proxy.counters import Kind, Want
from proxy.counters_local import LocalCounters
from proxy.shared.joined import Joined
from tests.redis_server import RedisServer


async def test_two_that_are_joined(server: RedisServer) -> None:
    heard: list[tuple[str, str]] = []
    revoked: list[str] = []
    async with AsyncExitStack() as stack:
        one, two = (Joined(server.url, LocalCounters(), 2) for _ in range(2))
        told = one.listen(stack, lambda *_: None, lambda _: None)
        two.listen(stack, lambda name, state, _: heard.append((name, state)), revoked.append)
        await asyncio.sleep(0.2)
        told.publish("provider/up", "OPEN", time.time() + 30)
        told.publish_revocation("key_1")
        for _ in range(100):
            if heard and revoked:
                break
            await asyncio.sleep(0.02)
        assert heard == [("provider/up", "OPEN")]
        assert revoked == ["key_1"]
        want = Want("key:a:rpm", Kind.SLIDING, 3, 2, 60.0)
        assert (await one.counters.reserve("a", [want])).blocked is None
        assert (await two.counters.reserve("b", [want])).blocked == 0
