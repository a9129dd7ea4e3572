"""Row 39: the database is locked, halted or killed under a steady load; nobody may notice."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import asyncpg

from tests.chaos import Report
from tests.chaos.books import SQLITE, faults, settled_ledger
from tests.chaos.load import Clients, Tally, Told, counting, quantile
from tests.chaos.served import Served, children, up
from tests.servers import Postgres, postgres

BEFORE = 2.5  # seconds of load by which the latency is measured
AFTER = 1.0  # seconds of load when the database is back
CATCH_UP = 60.0  # seconds in which all rows must be there
TIMES, MORE = 3.0, 50.0  # the p99 may be so many times what it was, and so many ms more

Trouble = Callable[[], Awaitable[object]]
"""Takes the database away, waits, and gives it back."""


async def locked(folder: Path, seconds: float = 300.0, rate: float = 100.0) -> Report:
    """SQLite, with its write lock held by another connection."""

    async def lock() -> None:
        with closing(sqlite3.connect(folder / "home" / "turnout.db", timeout=30)) as other:
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(seconds)
            other.execute("ROLLBACK")

    return await _away(folder, f"SQLite locked for {seconds:g} s", SQLITE, lock, rate)


async def ended_while_locked(folder: Path, rate: float = 100.0) -> Report:
    """SQLite is locked, and the gateway is to end: the next one writes what this one could not."""
    report, tally = Report("SIGTERM while SQLite is locked"), Tally()
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        served = Served(folder, up(ups[0].base_url))
        try:
            await served.start(session)
            clients = Clients(tally, session, served.url, await served.new_key(session))
            await clients.steady(rate, 1.0)
            with closing(sqlite3.connect(served.home / "turnout.db", timeout=30)) as other:
                other.isolation_level = None
                other.execute("BEGIN EXCLUSIVE")
                await clients.steady(rate, 1.0)
                await clients.idle()
                began = time.monotonic()
                await served.stop()
                report.facts["end"] = f"{time.monotonic() - began:.1f} s"
            report.facts["left in the spool"] = ", ".join(served.spools())
            report.demand(bool(served.spools()), "nothing was left in the spool")
            await served.start(session)
            ledger = await settled_ledger(served.home, tally)
            await served.stop()
            report.faults += faults(tally, ledger)
            report.demand(not served.spools(), f"left in the spool: {served.spools()}")
        finally:
            await served.close()
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
    return report


async def postgres_away(
    folder: Path, halted: float = 60.0, killed: float = 60.0, rate: float = 100.0
) -> Report:
    """PostgreSQL: all its processes stand still, and go on; then they are killed, and it is
    started again. Each for so many seconds, if any."""
    server, url = await _database()

    async def halt_and_kill() -> None:
        if halted:
            await _halt(server, halted)
        if halted and killed:
            await asyncio.sleep(1)
        if killed:
            await _kill(server)
            await asyncio.sleep(killed)
            await asyncio.to_thread(server.start)

    name = f"PostgreSQL halted for {halted:g} s, killed for {killed:g} s"
    return await _away(folder, name, url, halt_and_kill, rate)


async def worker_dies(folder: Path, seconds: float = 15.0, rate: float = 50.0) -> Report:
    """PostgreSQL is killed, and then one of two workers: the other one serves on."""
    report, tally = Report("a worker dies while PostgreSQL is away"), Tally()
    server, url = await _database()
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        served = Served(folder, up(ups[0].base_url, f'storage: {{database: "{url}"}}'), workers=2)
        try:
            await served.start(session)
            clients = Clients(tally, session, served.url, await served.new_key(session))
            await asyncio.sleep(BEFORE)  # until both serve, and know the key
            await clients.steady(rate, 0.5)
            await clients.idle()
            await _kill(server)
            os.kill(served.worker_pids()[0], signal.SIGKILL)
            await asyncio.sleep(0.2)
            during = await clients.steady(rate, seconds)
            await clients.idle()
            await asyncio.to_thread(server.start)
            report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
            failed = [number for number in during if tally.told[number] != Told.DONE]
            report.demand(len(failed) < rate, f"{len(failed)} of {len(during)} requests failed")
            report.demand(served.process.poll() is None, "the gateway has ended")
            if served.process.poll() is None:
                ledger = await settled_ledger(served.home, tally, url, CATCH_UP)
                report.demand(len(served.worker_pids()) == 2, "it has no second worker again")
                report.faults += faults(tally, ledger, killed=True)
        finally:
            await served.close()
    return report


async def _database() -> tuple[Postgres, str]:
    server = await asyncio.to_thread(postgres)
    url = await server.new_database()
    # Else the server itself would lose its last commits when it is killed.
    connection = await asyncpg.connect(url)
    name = url.rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    await connection.close()
    return server, url


async def _halt(server: Postgres, seconds: float) -> None:
    pids = _processes(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def _kill(server: Postgres) -> None:
    for pid in _processes(server):
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(server.stop)  # there is nothing left to stop, but a zombie


def _processes(server: Postgres) -> list[int]:
    """The parent first: it starts no others then."""
    assert server._process is not None
    parent = server._process.pid
    return [parent, *children(parent)]


async def _away(folder: Path, name: str, database: str, trouble: Trouble, rate: float) -> Report:
    report, tally = Report(f"{name}, {rate:g} requests/s"), Tally()
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        storage = f'storage: {{database: "{database}"}}'
        served = Served(folder, up(ups[0].base_url, storage))
        try:
            await served.start(session)
            key = await served.new_key(session)
            clients = Clients(tally, session, served.url, key)
            await clients.steady(rate, 0.5)  # what is made once is made now
            before = await clients.steady(rate, BEFORE)
            over = asyncio.ensure_future(trouble())
            during = range(len(tally), len(tally))
            while not over.done():
                during = range(during.start, (await clients.steady(rate, 0.5)).stop)
            await over
            began = time.monotonic()
            after = await clients.steady(rate, AFTER)
            await clients.idle()
            ledger = await settled_ledger(served.home, tally, database, CATCH_UP)
            report.facts["caught up after"] = f"{time.monotonic() - began - AFTER:.1f} s more"
            report.demand(await served.health(session, "ready") == 200, "not ready in the end")
            await served.stop()
            ledger = await settled_ledger(served.home, tally, database, 0.25)
            report.faults += faults(tally, ledger)
            report.demand(not served.spools(), f"left in the spool: {served.spools()}")
        finally:
            await served.close()
    _compare(report, tally, before, during, after)
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
    return report


def _compare(report: Report, tally: Tally, before: range, during: range, after: range) -> None:
    """No request fails, and none is slow."""
    failed = [number for number, told in enumerate(tally.told) if told != Told.DONE]
    report.demand(not failed, f"{len(failed)} requests failed, such as {failed[:5]}")
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    p99 = {}
    for name, numbers in (("before", before), ("meanwhile", during), ("after", after)):
        millis = [tally.millis[number] for number in numbers]
        p99[name] = quantile(millis, 0.99)
        shown = f"p50 {quantile(millis, 0.5):.0f}, p99 {p99[name]:.0f}, longest {max(millis):.0f}"
        report.facts[f"milliseconds {name}"] = shown
    most = TIMES * p99["before"] + MORE
    for name in ("meanwhile", "after"):
        report.demand(p99[name] <= most, f"p99 {name}: {p99[name]:.0f} ms, over {most:.0f}")
