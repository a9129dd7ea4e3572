"""The link to Redis: bounded, left alone when it fails, and no answer is ever another's."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import SSLConnection

from proxy.shared import redis as module
from proxy.shared.redis import Away, Gate, Link, Script
from tests.proxy.shared.conftest import eventually
from tests.redis_server import RedisServer

SECRET = "h0rse-battery"
SLACK = 0.3  # seconds by which a busy machine may be late


@asynccontextmanager
async def linked(url: str, bound: float = 2.0) -> AsyncIterator[Link]:
    link = Link(url, bound)
    try:
        yield link
    finally:
        await link.close()


async def refused(link: Link) -> float:
    """Asks what is not answered; the seconds that it cost."""
    began = time.perf_counter()
    with pytest.raises(Away):
        await link.ask("PING")
    return time.perf_counter() - began


# The gate.


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_three_failures_in_ten_seconds_shut_the_gate() -> None:
    gate = Gate(middle)
    assert [gate.failed(now) for now in (0.0, 5.0, 10.5, 14.0)] == [False, False, False, True]
    assert not gate.is_open
    assert not gate.failed(14.1)


def test_pauses_double_and_begin_anew_after_a_good_while() -> None:
    gate = Gate(middle)
    for now in (0.0, 0.1, 0.2):
        gate.failed(now)
    assert [gate.pause() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    gate.reopen(100.0)
    assert [gate.failed(now) for now in (101.0, 101.1, 101.2)] == [False, False, True]
    assert gate.pause() == 30.0  # it was open for a moment only
    gate.reopen(200.0)
    assert [gate.failed(now) for now in (220.0, 220.1, 220.2)] == [False, False, True]
    assert gate.pause() == 1.0


def test_pauses_are_spread() -> None:
    pauses = {Gate().pause() for _ in range(100)}
    assert len(pauses) > 50
    assert min(pauses) >= 0.8
    assert max(pauses) <= 1.2


# The URL.


@pytest.mark.parametrize(
    "url",
    [f"http://u:{SECRET}@host", f"redis://u:{SECRET}@host:{SECRET}", f"redis://h/?db={SECRET}"],
)
def test_a_bad_url_is_refused_without_its_words(url: str) -> None:
    with pytest.raises(ValueError, match="no URL of Redis") as caught:
        Link(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_tls_and_its_options_pass_through() -> None:
    wire: Any = module._maker("rediss://u:p@h:1234/3?ssl_check_hostname=false&socket_timeout=9")()
    assert isinstance(wire, SSLConnection)
    assert (wire.host, wire.port, wire.db, wire.check_hostname) == ("h", 1234, 3, False)
    assert (wire.socket_timeout, wire.protocol) == (None, 2)


async def test_no_secret_in_logs_or_errors(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.ask("CONFIG", "SET", "requirepass", "another")
    server.password = "another"
    async with linked(f"redis://someone:{SECRET}@127.0.0.1:{server.port}/0") as link:
        for _ in range(4):
            with pytest.raises(Away) as caught:
                await link.ask("GET", "a")
            assert SECRET not in repr(caught.value)
            assert "someone" not in repr(caught.value)
        assert not link.is_up
    assert "AuthenticationError" in caplog.text
    for word in (SECRET, "someone", str(server.port)):
        assert word not in caplog.text


async def test_a_password_opens(server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "requirepass", SECRET)
    server.password = SECRET
    async with linked(server.url) as link:
        assert await link.ask("PING") == b"PONG"


# Scripts.


async def test_a_script_new_to_redis_is_sent_whole(server: RedisServer) -> None:
    script = Script.load("look")
    async with linked(server.url) as link:
        assert await link.run(script, ["a"], []) == []
        assert server.ask("SCRIPT", "EXISTS", script.sha) == [1]  # so the digest is the right one
        server.ask("SCRIPT", "FLUSH")
        assert await link.run(script, ["a"], []) == []
        server.kill()
        server.start()
        await eventually(lambda: link._line is None)
        assert await link.run(script, ["a"], []) == []
        assert link.is_up


async def test_a_fault_of_a_script_is_no_error_of_redis_alone(server: RedisServer) -> None:
    async with linked(server.url) as link:
        with pytest.raises(Away, match="ResponseError"):
            await link.run(Script("return nothing.there", "0" * 40), [], [])
        assert await link.ask("PING") == b"PONG"


# Nobody gets another's answer.


async def test_cancelled_commands_never_give_their_answer_to_another(server: RedisServer) -> None:
    chance = random.Random(7)
    right = cancelled = 0

    async def asker(link: Link, number: int) -> None:
        nonlocal right
        await asyncio.sleep(chance.random() / 50)
        assert await link.ask("ECHO", f"value {number}") == f"value {number}".encode()
        right += 1

    async with linked(server.url) as link:
        for turn in range(20):
            tasks = [asyncio.create_task(asker(link, turn * 200 + n)) for n in range(200)]
            while not all(task.done() for task in tasks):
                chance.choice(tasks).cancel()
                await asyncio.sleep(0)
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled += sum(isinstance(end, asyncio.CancelledError) for end in ended)
            assert [end for end in ended if isinstance(end, AssertionError | Away)] == []
        assert link.is_up
    assert right + cancelled == 4000
    assert right > 200
    assert cancelled > 200


async def test_a_late_answer_goes_to_nobody(server: RedisServer) -> None:
    async with linked(server.url, bound=0.05) as link:
        await link.ask("SET", "mine", "1", "PX", "60000")
        server.ask("CLIENT", "PAUSE", "150")
        with pytest.raises(Away, match="in time"):
            await link.ask("GET", "mine")
        await asyncio.sleep(0.3)
        for number in range(100):
            assert await link.ask("ECHO", str(number)) == str(number).encode()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def fake(serve: Serve) -> AsyncIterator[str]:
    tasks = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


async def word(reader: asyncio.StreamReader) -> bytes:
    """The argument of the next `ECHO <argument>`."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words[-1]


async def test_an_answer_after_the_timeout_is_read_by_nobody() -> None:
    connections = 0

    async def late_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            asked = await word(reader)
            if asked == b"first":
                await asyncio.sleep(0.1)
            writer.write(b"$%d\r\n%s\r\n" % (len(asked), asked))

    async with fake(late_once) as url, linked(url, bound=0.05) as link:
        with pytest.raises(Away):
            await link.ask("ECHO", "first")
        for number in range(20):
            assert await link.ask("ECHO", f"next {number}") == f"next {number}".encode()
            await asyncio.sleep(0.01)
    assert connections == 2


async def test_who_is_cancelled_keeps_the_place_of_the_answer() -> None:
    free = asyncio.Event()
    connections = 0

    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            asked = await word(reader)
            await free.wait()
            writer.write(b"$%d\r\n%s\r\n" % (len(asked), asked))

    async with fake(held) as url, linked(url) as link:
        tasks = [asyncio.create_task(link.ask("ECHO", str(n))) for n in range(10)]
        await asyncio.sleep(0.05)
        for task in tasks[:5]:
            task.cancel()
        await asyncio.sleep(0)
        free.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert ended[5:] == [b"5", b"6", b"7", b"8", b"9"]
    assert all(isinstance(end, asyncio.CancelledError) for end in ended[:5])
    assert connections == 1


async def test_an_answer_to_nothing_ends_the_connection() -> None:
    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await word(reader)
        writer.write(b"+%s\r\n+more\r\n" % asked)
        await reader.read()

    async with fake(chatty) as url, linked(url) as link:
        assert await link.ask("ECHO", "a") == b"a"
        await eventually(lambda: link._line is None)
        assert await link.ask("ECHO", "b") == b"b"


# Away, and back.


async def test_a_redis_that_hangs_costs_its_bound_three_times_and_then_nothing(
    server: RedisServer,
) -> None:
    back: list[float] = []
    async with linked(server.url, bound=0.05) as link:
        link.on_back(lambda: back.append(time.monotonic()))
        assert await link.ask("PING") == b"PONG"
        server.halt()
        slow = [await refused(link) for _ in range(3)]
        assert all(0.045 <= seconds < 0.05 + SLACK for seconds in slow)
        assert not link.is_up
        quick = sorted([await refused(link) for _ in range(200)])
        assert quick[100] < 0.001
        assert quick[-3] < 0.02  # a collection of garbage or two are slower
        server.go_on()
        await eventually(lambda: link.is_up)
        assert await link.ask("PING") == b"PONG"
    assert len(back) == 1


async def test_what_hangs_together_is_one_failure(server: RedisServer) -> None:
    async with linked(server.url, bound=0.05) as link:
        await link.ask("PING")
        server.halt()
        spent = await asyncio.gather(*(refused(link) for _ in range(100)))
        assert max(spent) < 0.05 + SLACK
        assert link.is_up
        server.go_on()


async def test_a_redis_that_is_killed_is_found_again(server: RedisServer) -> None:
    async with linked(server.url) as link:
        assert await link.ask("PING") == b"PONG"
        server.kill()
        await eventually(lambda: link._line is None)
        assert link.is_up  # an idle connection may close
        for _ in range(3):
            assert await refused(link) < SLACK
        assert not link.is_up
        server.start()
        await eventually(lambda: link.is_up)
        assert await link.ask("PING") == b"PONG"


async def test_while_redis_is_left_alone_only_one_probe_at_a_time_touches_it() -> None:
    under_way = most = connections = 0

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most, connections
        connections += 1
        under_way += 1
        most = max(most, under_way)
        try:
            await reader.read()
        finally:
            under_way -= 1

    async with fake(mute) as url, linked(url, bound=0.02) as link:
        for _ in range(3):
            await refused(link)
        await eventually(lambda: under_way == 0)
        before, most = connections, 0
        began = time.monotonic()
        while time.monotonic() - began < 3.6:  # pauses of 0.8 to 1.2 and 1.6 to 2.4 seconds
            await asyncio.gather(*(refused(link) for _ in range(20)))
            await asyncio.sleep(0.01)
        assert connections - before == 2
        assert most == 1


async def test_a_slow_connection_costs_the_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with fake(mute) as url, linked(url.replace("//", "//:pw@"), bound=0.05) as link:
        assert 0.045 <= await refused(link) < 0.05 + SLACK  # AUTH is not answered
        monkeypatch.setattr(module, "UNSENT", 5)
        spent = await asyncio.gather(*(refused(link) for _ in range(20)))
        assert max(spent) < 0.05 + SLACK
        assert len(link._unsent) <= 5


async def test_this_process_being_late_is_no_failure_of_redis(server: RedisServer) -> None:
    async with linked(server.url, bound=0.05) as link:
        await link.ask("PING")
        asking = [asyncio.create_task(link.ask("ECHO", str(n))) for n in range(5)]
        await asyncio.sleep(0)
        time.sleep(0.2)  # the loop stands still; the answers are there meanwhile
        assert await asyncio.gather(*asking) == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_closed_link_answers_nothing(server: RedisServer) -> None:
    async with linked(server.url) as link:
        asking = asyncio.create_task(link.ask("PING"))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(Away):
            await asking
        with pytest.raises(Away):
            await link.ask("PING")
        assert not link.is_up
