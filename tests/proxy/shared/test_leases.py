"""Leases in a real Redis: one process leads, a killed one for ten seconds at most."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.shared import leases as module
from proxy.shared.leases import SharedLeases
from proxy.shared.redis import Link
from tests.proxy.shared.conftest import eventually
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[3]
DIGEST = "0123456789abcdef0123456789abcdef"
KEY = "turnout:{cache}:l:" + DIGEST
SLACK = 0.3  # seconds by which a busy machine may be late

HOLDER = """
import asyncio, sys
from proxy.shared.leases import SharedLeases
from proxy.shared.redis import Link

async def main(url, digest):
    leases = SharedLeases(Link(url, 5.0))
    await leases._link.ask("PING")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(await leases.take(digest), flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def leasing(
    server: RedisServer, bound: float = 2.0
) -> AsyncIterator[tuple[SharedLeases, Link]]:
    link = Link(server.url, bound)
    leases = SharedLeases(link)
    try:
        yield leases, link
    finally:
        await leases.close()
        await link.close()


def is_there(server: RedisServer) -> bool:
    return bool(server.ask("EXISTS", KEY))


async def waited(leases: SharedLeases, seconds: float) -> float:
    """Seconds until another's flight landed."""
    began = time.perf_counter()
    await leases.landed(DIGEST, seconds)
    return time.perf_counter() - began


def holder(server: RedisServer) -> subprocess.Popen[str]:
    """A process that takes the lease at a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.url, DIGEST],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def killed(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


async def test_the_first_leads_until_it_gives_back(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        assert await one.take(DIGEST)
        assert not await other.take(DIGEST)
        assert await other.take("f" * 32)  # another request is no matter of theirs
        assert 9_000 < server.keys()[KEY] <= 10_000
        await one.give_back(DIGEST)
        assert not is_there(server)
        assert await other.take(DIGEST)
        assert not await one.take(DIGEST)


async def test_what_is_held_here_is_not_taken_twice(server: RedisServer) -> None:
    async with leasing(server) as (leases, _):
        assert await leases.take(DIGEST)
        assert not await leases.take(DIGEST)
        await leases.give_back(DIGEST)
        assert await leases.take(DIGEST)


async def test_of_many_at_once_one_leads(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        got = await asyncio.gather(*((one, other)[n % 2].take(DIGEST) for n in range(200)))
        assert sum(got) == 1


async def test_who_has_no_lease_gives_none_back(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        assert await one.take(DIGEST)
        assert not await other.take(DIGEST)
        await other.give_back(DIGEST)
        assert is_there(server)


async def test_a_lease_that_lapsed_is_not_given_back_for_another(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        assert await one.take(DIGEST)
        server.ask("DEL", KEY)
        assert await other.take(DIGEST)
        await one.give_back(DIGEST)
        assert is_there(server)
        await other.give_back(DIGEST)
        assert not is_there(server)


async def test_leases_are_renewed_while_they_are_held(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.1)
    monkeypatch.setattr(module, "LAPSE_MS", 400)
    monkeypatch.setattr(module, "BATCH", 7)
    names = [f"{number:032x}" for number in range(20)]
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        assert all([await one.take(name) for name in names])
        task = one._renewal
        await asyncio.sleep(1.2)
        assert one._renewal is task  # one for all of them
        assert not any([await other.take(name) for name in names])
        for name in names[:19]:
            await one.give_back(name)
        await asyncio.sleep(0.3)
        assert list(server.keys()) == ["turnout:{cache}:l:" + names[19]]
        await one.close()
        await asyncio.sleep(0.5)
        assert server.keys() == {}


async def test_the_renewal_ends_with_the_last_lease_and_begins_anew(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.05)
    monkeypatch.setattr(module, "LAPSE_MS", 300)
    async with leasing(server) as (leases, _):
        for _ in range(2):
            assert await leases.take(DIGEST)
            task = leases._renewal
            assert task is not None
            await asyncio.sleep(0.5)
            assert is_there(server)
            await leases.give_back(DIGEST)
            await eventually(task.done)


async def test_no_lease_is_renewed_for_ever(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.05)
    monkeypatch.setattr(module, "LAPSE_MS", 200)
    monkeypatch.setattr(module, "LONGEST", 0.4)
    async with leasing(server) as (leases, _):
        assert await leases.take(DIGEST)
        await asyncio.sleep(0.3)
        assert is_there(server)
        await eventually(lambda: not is_there(server), 2)
        assert leases._held == {}


async def test_a_lapsed_lease_is_not_made_longer_for_another(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.05)
    async with leasing(server) as (leases, _):
        assert await leases.take(DIGEST)
        server.ask("SET", KEY, "another's", "PX", "5000")
        await eventually(lambda: leases._held == {})
        assert server.keys()[KEY] <= 5000
        assert server.ask("GET", KEY) == b"another's"


async def test_followers_go_on_when_it_is_given_back(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        await one.take(DIGEST)
        waiting = [asyncio.create_task(waited(other, 60)) for _ in range(20)]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in waiting)
        await one.give_back(DIGEST)
        spent = await asyncio.gather(*waiting)
        assert all(0.5 <= seconds < 0.6 + SLACK for seconds in spent)


async def test_followers_wait_no_longer_than_they_said(server: RedisServer) -> None:
    async with leasing(server) as (one, _), leasing(server) as (other, _):
        assert await waited(other, 60) < SLACK  # nobody has it
        await one.take(DIGEST)
        assert 0.25 <= await waited(other, 0.25) < 0.25 + SLACK
        assert await waited(other, 0) < SLACK
        assert await waited(other, -1) < SLACK


# Two processes.


async def test_of_two_processes_one_leads_and_a_killed_one_lapses(server: RedisServer) -> None:
    two = [holder(server) for _ in range(2)]
    try:
        for process in two:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in two if process.stdout is not None]
        assert sorted(said) == ["False\n", "True\n"]
        leader = two[said.index("True\n")]
        async with leasing(server) as (leases, _):
            assert await waited(leases, 4) >= 4  # it is renewed after three seconds
            assert server.keys()[KEY] > 8000
            killed(leader)
            assert await waited(leases, 30) <= 10 + SLACK
            assert await leases.take(DIGEST)
            await leases.give_back(DIGEST)
    finally:
        for process in two:
            if process.poll() is None:
                killed(process)


# Without Redis.


@pytest.mark.parametrize("trouble", ["kill", "halt"])
async def test_without_redis_everybody_leads_at_once(server: RedisServer, trouble: str) -> None:
    async with leasing(server, bound=0.05) as (leases, link):
        await link.ask("PING")
        assert await leases.take("a" * 32)
        if trouble == "kill":
            server.kill()
            await eventually(lambda: link._line is None)
        else:
            server.halt()
        for number in range(5):
            began = time.perf_counter()
            assert await leases.take(f"{number:032x}")
            assert time.perf_counter() - began < 0.06 + SLACK
            assert await waited(leases, 60) < 0.06 + SLACK
        assert leases.failures == 10
        await leases.give_back("a" * 32)
        assert leases.failures == 11
        if trouble == "kill":
            server.start()


async def test_a_lease_that_redis_gave_too_late_is_given_back(server: RedisServer) -> None:
    async with leasing(server, bound=0.05) as (leases, _):
        await leases.take("a" * 32)
        server.ask("CLIENT", "PAUSE", "120")
        assert await leases.take(DIGEST)  # nobody can tell
        assert leases.failures == 1
        await eventually(lambda: is_there(server))
        await leases.give_back(DIGEST)
        assert not is_there(server)


async def test_who_is_cancelled_gives_back_what_it_may_have(server: RedisServer) -> None:
    async with leasing(server) as (leases, _):
        await leases.take("a" * 32)
        task = asyncio.create_task(leases.take(DIGEST))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: is_there(server))
        await leases.give_back(DIGEST)
        assert not is_there(server)


async def test_a_full_redis_makes_everybody_lead_and_keeps_its_link(server: RedisServer) -> None:
    async with leasing(server) as (leases, link):
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for number in range(10):
            assert await leases.take(f"{number:032x}")
        assert link.is_up
        assert leases.failures == 0


async def test_a_link_that_breaks_between_two_renewals_loses_no_lease(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.2)
    async with leasing(server, bound=0.05) as (leases, link):
        assert await leases.take(DIGEST)
        server.halt()
        await eventually(lambda: leases.failures == 1)
        server.go_on()
        await asyncio.sleep(0.3)
        assert link.is_up
        assert server.keys()[KEY] > 9_000
        await leases.give_back(DIGEST)
        assert not is_there(server)
