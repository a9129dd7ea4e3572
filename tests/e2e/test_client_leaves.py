"""Row 36: a client that leaves, at each phase, takes its upstream with it and leaks nothing."""

import asyncio
import gc
import os
from pathlib import Path

import orjson
import pytest

from tests.e2e.gateway import Gateway, descriptors, one_upstream, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

TOGETHER = 40
TIMES = int(os.environ.get("TURNOUT_TEST_LEAVES", "400")) // TOGETHER * TOGETHER
"""How often a client leaves in each phase; `TURNOUT_TEST_LEAVES=2520` is the long form."""


def request(gateway: Gateway, stream: bool) -> bytes:
    body = orjson.dumps(
        {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def leave_after(gateway: Gateway, sent: bytes, until: bytes) -> None:
    """Sends, reads up to `until`, and is gone."""
    port = int(gateway.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    if until:
        await reader.readuntil(until)
    else:
        await asyncio.sleep(0.02)
    writer.transport.abort()


async def many(gateway: Gateway, sent: bytes, until: bytes) -> None:
    for _ in range(TIMES // TOGETHER):
        leaving = (leave_after(gateway, sent, until) for _ in range(TOGETHER))
        await asyncio.gather(*leaving)


async def settled(before: tuple[int, int], up: Upstream) -> None:
    """Tasks and descriptors are back where they were, within a second of the last one."""
    for _ in range(50):
        gc.collect()
        now = (len(asyncio.all_tasks()), descriptors())
        if now[0] <= before[0] + 1 and now[1] <= before[1] + 2 and not up.connections_open:
            return
        await asyncio.sleep(0.04)
    raise AssertionError(f"tasks, descriptors: {before} before, {now} after")


@pytest.mark.parametrize("phase", ["half a body", "no answer", "no first token", "mid-stream"])
async def test_row_36_the_client_leaves(tmp_path: Path, phase: str) -> None:
    async with Upstream() as up, running(tmp_path, one_upstream(up.base_url)) as gateway:
        streams = phase in ("no first token", "mid-stream")
        sent, until = request(gateway, streams), b""
        if phase == "half a body":
            sent = sent[:-10]
        elif phase == "mid-stream":
            begun = list(fake.sse(*fake.chat_chunks(["Hello"])[:2], done=False))[:-1]
            up.script([*begun, fake.Stall()])
            until = b"Hello"
        else:
            up.script([fake.Stall()])
        await leave_after(gateway, sent, until)  # what is made once is made now
        await asyncio.sleep(0.2)
        before = (len(asyncio.all_tasks()), descriptors())
        await many(gateway, sent, until)
        await up.wait_until_closed(1)
        await settled(before, up)
        rows = await gateway.rows(TIMES + 1)
        assert len(rows) == TIMES + 1
        assert {row["outcome"] for row in rows} == {"client_closed"}
        if phase == "mid-stream":
            assert {row["usage_source"] for row in rows} == {"estimated"}


async def test_a_client_that_leaves_closes_its_upstream_within_a_second(
    tmp_path: Path, up: Upstream
) -> None:
    up.script([fake.Stall()])
    async with running(tmp_path, one_upstream(up.base_url)) as gateway:
        await leave_after(gateway, request(gateway, stream=True), b"")
        await up.wait_until_closed(1)
        assert up.closed_early == 1
