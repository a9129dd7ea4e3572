"""Lines of JSON that come while the calls are under way."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.types import Message

from proxy.batches import Batch
from proxy.client import CONNECTION, Heard
from proxy.doors.batches import Lines, error_of, streamed
from proxy.errors import LimitExceeded


class Line:
    """A connection that a test holds in its hand."""

    is_lost = False
    is_full = False
    on_lost: Any = None

    def abort(self) -> None:
        pass


async def sent(response: Any, line: Line) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await response({"type": "http", "extensions": {CONNECTION: line}}, None, send)
    return messages


async def test_each_result_is_a_line_with_the_progress_and_the_sums_come_last() -> None:
    async def job(_: Heard) -> str:
        return "done"

    line = Line()
    batch = Batch([job, job], 1)
    response = streamed(batch, lambda done: {"index": done.place}, lambda done: {"n": len(done)})
    start, *parts, end = await sent(response, line)
    assert start["status"] == 200
    assert (b"content-type", b"application/x-ndjson") in start["headers"]
    assert b"content-length" not in dict(start["headers"])
    assert [orjson.loads(part["body"]) for part in parts] == [
        {"index": 0, "done": 1, "total": 2},
        {"index": 1, "done": 2, "total": 2},
        {"summary": {"n": 2}},
    ]
    assert all(part["more_body"] and part["body"].endswith(b"\n") for part in parts)
    assert (end["body"], end["more_body"]) == (b"", False)
    assert line.on_lost is None


async def test_a_client_that_leaves_ends_it() -> None:
    line, begun = Line(), asyncio.Event()

    async def job(client: Heard) -> None:
        begun.set()
        while not client.gone:
            await asyncio.sleep(0.001)

    batch = Batch([job] * 5, 1)
    response = streamed(batch, lambda done: {"index": done.place}, lambda done: {})
    sending = asyncio.ensure_future(sent(response, line))
    await asyncio.wait_for(begun.wait(), 5)
    line.on_lost()
    _, *parts, _ = await asyncio.wait_for(sending, 5)
    assert [part["body"] for part in parts] == [
        b'{"index":0,"done":1,"total":5}\n',
        b'{"summary":{}}\n',
    ]


async def test_one_that_has_left_before_is_heard_too() -> None:
    line, left = Line(), []
    line.is_lost = True

    async def nothing() -> AsyncGenerator[bytes, None]:
        assert left == [True]
        yield b"{}\n"

    await sent(Lines(nothing(), lambda: left.append(True)), line)
    assert left == [True]


def test_an_error_among_results_says_its_status() -> None:
    assert error_of(LimitExceeded("slow down", param="x")) == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": "x",
        "code": "rate_limit_exceeded",
        "status": 429,
    }
