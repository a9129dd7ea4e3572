"""What processes tell each other: at once, at least within a second, and never an error."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.shared import board as module
from proxy.shared.board import Board
from proxy.shared.redis import Link
from tests.proxy.shared.conftest import eventually
from tests.proxy.shared.race import race
from tests.redis_server import RedisServer

NAME = "deployment/openai/gpt-4o mini"


class Heard:
    """What a board called back with."""

    def __init__(self) -> None:
        self.circuits: list[tuple[str, str, float]] = []
        self.keys: list[str] = []

    def adopt(self, name: str, state: str, until: float) -> None:
        self.circuits.append((name, state, until))


@asynccontextmanager
async def posted(
    server: RedisServer, bound: float = 2.0, runs: bool = True
) -> AsyncIterator[tuple[Board, Heard, Link]]:
    link, heard = Link(server.url, bound), Heard()
    board = Board(link, heard.adopt, heard.keys.append)
    running = asyncio.create_task(board.run()) if runs else None
    try:
        yield board, heard, link
    finally:
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await board.close()
        await link.close()


def subscribers(server: RedisServer) -> int:
    return int(server.ask("PUBSUB", "NUMSUB", module.CHANNEL)[1])


async def test_two_boards_see_each_others_circuits(server: RedisServer) -> None:
    async with posted(server) as (one, heard_one, _), posted(server) as (two, heard_two, _):
        until = time.time() + 30
        one.publish(NAME, "OPEN", until)
        assert await eventually(lambda: bool(heard_two.circuits)) < 1.5
        assert heard_two.circuits == [(NAME, "OPEN", pytest.approx(until, abs=1))]
        two.publish(NAME, "CLOSED", 0.0)
        assert await eventually(lambda: bool(heard_one.circuits)) < 1.5
        assert heard_one.circuits == [(NAME, "CLOSED", 0.0)]
        await asyncio.sleep(1.2)  # the look finds nothing that was not told yet
        assert len(heard_one.circuits) == len(heard_two.circuits) == 1


async def test_news_are_there_at_once(server: RedisServer) -> None:
    async with posted(server) as (one, _, _), posted(server) as (_, heard, _):
        await eventually(lambda: subscribers(server) == 2)
        one.publish(NAME, "OPEN", time.time() + 30)
        one.publish_revocation("key_1")
        assert await eventually(lambda: bool(heard.circuits and heard.keys)) < 0.5
        assert heard.keys == ["key_1"]


async def test_who_comes_later_sees_what_is_open(server: RedisServer) -> None:
    async with posted(server, runs=False) as (one, _, _):
        one.publish(NAME, "OPEN", time.time() + 20)
        one.publish("provider/short", "OPEN", time.time() + 0.1)
        one.publish("provider/groq", "OPEN", time.time() + 20)
        one.publish("provider/groq", "CLOSED", 0.0)
        await one.close()
        await asyncio.sleep(0.2)
        async with posted(server) as (_, heard, _):
            await eventually(lambda: len(heard.circuits) == 2)
            assert {(name, state) for name, state, _ in heard.circuits} == {
                (NAME, "OPEN"),
                ("provider/groq", "CLOSED"),
            }
    kept = server.ask("HKEYS", "turnout:{board}:circuits")
    assert sorted(kept) == [NAME.encode(), b"provider/groq"]  # the short one is forgotten


async def test_without_a_subscription_a_look_each_second_is_enough(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with posted(server, runs=False) as (one, _, _), posted(server) as (_, heard, _):
        await eventually(lambda: subscribers(server) == 1)
        monkeypatch.setattr(module, "AGAIN", (60.0, 60.0))
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        one.publish(NAME, "OPEN", time.time() + 30)
        assert await eventually(lambda: bool(heard.circuits)) < 1.5


async def test_a_broken_subscription_is_made_again(server: RedisServer) -> None:
    async with posted(server) as (_, _, _):
        await eventually(lambda: subscribers(server) == 1)
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: subscribers(server) == 1)


async def test_a_subscription_that_fell_silent_is_made_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.shared.redis.QUIET", 0.05)
    monkeypatch.setattr(module, "AGAIN", (0.05, 0.05))
    async with posted(server) as (_, _, link):
        await eventually(lambda: subscribers(server) == 1)
        first = server.ask("CLIENT", "LIST", "TYPE", "pubsub")
        await asyncio.sleep(0.3)  # its PING is answered
        assert [id_of(first)] == [id_of(server.ask("CLIENT", "LIST", "TYPE", "pubsub"))]
        server.halt()
        await asyncio.sleep(0.3)
        server.go_on()
        await eventually(lambda: link.is_up and subscribers(server) == 1)
        assert id_of(first) != id_of(server.ask("CLIENT", "LIST", "TYPE", "pubsub"))


def id_of(listed: bytes) -> bytes:
    return listed.split(b" ")[0]


async def test_times_do_not_depend_on_clocks(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    async with posted(server, runs=False) as (one, _, _):
        monkeypatch.setattr(time, "time", lambda: real() + 5000)
        one.publish(NAME, "OPEN", real() + 5030)
        await one.close()
    monkeypatch.setattr(time, "time", lambda: real() - 7000)
    async with posted(server) as (_, heard, _):
        await eventually(lambda: bool(heard.circuits))
        assert heard.circuits == [(NAME, "OPEN", pytest.approx(real() - 7000 + 30, abs=2))]


async def test_without_redis_nothing_fails_and_nothing_waits(server: RedisServer) -> None:
    server.kill()
    async with posted(server) as (one, heard, link), posted(server) as (_, other, _):
        await eventually(lambda: not link.is_up)
        began = time.perf_counter()
        until = time.time() + 60
        one.publish(NAME, "OPEN", until)
        one.publish("provider/over", "OPEN", time.time() + 0.1)
        one.publish_revocation("key_1")
        assert await one.lease("provider/openai", "a", 0, 10.0)
        one.give_back("provider/openai", "a")
        assert time.perf_counter() - began < 0.05
        server.start()
        await eventually(lambda: bool(other.circuits), 10)
        assert other.circuits == [(NAME, "OPEN", pytest.approx(until, abs=1))]
        assert heard.circuits == []
        await eventually(lambda: one._untold == {})


async def test_what_cannot_be_read_is_passed_over(server: RedisServer) -> None:
    async with posted(server) as (one, _, _), posted(server) as (_, heard, _):
        await eventually(lambda: subscribers(server) == 2)
        for odd in ("", "1 2", "1 2 {", "1 2 3", "x y {}", "1 2 {}", '1 2 {"by": "a"}', "\x00"):
            server.ask("PUBLISH", module.CHANNEL, odd)
        one.publish_revocation("key_2")
        await eventually(lambda: heard.keys == ["key_2"])


async def test_probes_are_leased(server: RedisServer) -> None:
    async with posted(server, runs=False) as (board, _, _):

        async def lease(holder: str, ttl: float = 30.0) -> bool:
            return await board.lease("provider/openai", holder, 2, ttl)

        assert [await lease(h) for h in ("a", "b", "c", "a")] == [True, True, False, True]
        board.give_back("provider/openai", "a")
        board.give_back("provider/openai", "never had one")
        await board.close()
        assert [await lease("c", 0.2), await lease("d")] == [True, False]
        await asyncio.sleep(0.25)
        assert await lease("d")
        assert await board.lease("provider/groq", "d", 2, 1.0)


async def test_a_cancelled_lease_is_given_back(server: RedisServer) -> None:
    async with posted(server, runs=False) as (board, _, _):
        assert await board.lease("provider/openai", "first", 2, 30.0)  # Redis knows the script now
        board.give_back("provider/openai", "first")
        for number in range(50):
            task = asyncio.create_task(board.lease("provider/openai", f"h{number}", 2, 30.0))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            if (await asyncio.gather(task, return_exceptions=True))[0] is True:
                board.give_back("provider/openai", f"h{number}")
        await board.close()
        assert server.ask("EXISTS", "turnout:{board}:lease:provider/openai") == 0


def test_two_processes_have_at_most_as_many_leases_together(server: RedisServer) -> None:
    ends = race(server.url, "leases")
    assert sum(end["leases"] for end in ends) == 2
    assert server.ask("ZCARD", "turnout:{board}:lease:provider/openai") == 2
