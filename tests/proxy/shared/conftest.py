"""A real Redis for each test, and what every test must leave behind."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, redis_server

Eventually = Callable[..., object]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """No test may leave a key without an end."""
    with redis_server(tmp_path) as server:
        yield server
        server.go_on()
        endless = [name for name, ttl in server.keys().items() if ttl == -1]
        assert endless == []


async def eventually(is_so: Callable[[], bool], seconds: float = 5.0) -> float:
    """Waits until something is so; returns the seconds that it took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, "it did not come about"
        await asyncio.sleep(0.01)
    return time.monotonic() - began
