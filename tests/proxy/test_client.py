"""The client's side: gone, slow, or there."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Message

from proxy.client import CONNECTION, Client, when_lost
from proxy.lifeline import Cut, Lifeline, Severed, Watch
from proxy.response import RESPONSE, Response


class Line:
    """A connection that a test holds in its hand."""

    is_lost = False
    is_full = False
    aborted = False
    on_lost: Callable[[], None] | None = None

    def abort(self) -> None:
        self.aborted = True


def client(line: Line, send: Any) -> tuple[Client, Lifeline]:
    scope = {RESPONSE: Response(send), "extensions": {CONNECTION: line}}
    made, lifeline = Client(scope, send_timeout=0.1), Lifeline(Watch(), 5)
    made.watch(lifeline)
    return made, lifeline


async def take(_: Message) -> None:
    """A server that takes all."""


async def never(_: Message) -> None:
    await asyncio.sleep(60)


async def test_a_client_that_leaves_cuts_the_request() -> None:
    line = Line()
    _, lifeline = client(line, take)
    assert line.on_lost is not None
    asyncio.get_running_loop().call_later(0.01, line.on_lost)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(asyncio.sleep(5))
    assert caught.value.cut is Cut.CLIENT_GONE
    lifeline.release()


async def test_a_client_that_has_left_already_does_too() -> None:
    line = Line()
    line.is_lost = True
    _, lifeline = client(line, take)
    with pytest.raises(Severed):
        await lifeline.guard(asyncio.sleep(5))
    lifeline.release()


async def test_one_that_does_not_read_is_cut_after_the_send_timeout() -> None:
    line = Line()
    line.is_full = True
    made, lifeline = client(line, never)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(made.write(b"x"))
    assert caught.value.cut is Cut.CLIENT_SLOW
    await made.abort()
    assert line.aborted
    lifeline.release()


async def test_a_slow_write_leaves_the_wait_for_content_as_it_was() -> None:
    line = Line()
    line.is_full = True
    made, lifeline = client(line, take)
    lifeline.arm(Cut.IDLE, 3)
    await lifeline.guard(made.write(b"x"))
    assert (lifeline.waits_for, lifeline.patience) == (Cut.IDLE, 3)
    lifeline.release()


async def test_nothing_is_watched_after_the_end() -> None:
    line = Line()
    made, lifeline = client(line, take)
    await made.start(200, [])
    assert made.started
    await lifeline.guard(made.end(b""))
    assert line.on_lost is None


def test_who_works_for_a_client_is_told_that_it_left() -> None:
    line = Line()
    left: list[bool] = []
    with when_lost(line, lambda: left.append(True)):
        assert line.on_lost is not None
        line.on_lost()
    assert line.on_lost is None
    line.is_lost = True
    with pytest.raises(ZeroDivisionError), when_lost(line, lambda: left.append(False)):
        raise ZeroDivisionError
    assert left == [True, False], "one that left before is told of at once"
    assert line.on_lost is None
