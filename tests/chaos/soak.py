"""Rows 36 and 38: bad weather for a long time; then everything is as it was at the start.

The gateway runs in this process, so that what it holds can be looked at.
"""

import asyncio
import ctypes
import gc
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import aiohttp
from starlette.applications import Starlette

from proxy import app, upstream
from proxy.gateway import Gateway
from tests.chaos import Report
from tests.chaos.books import faults, settled_ledger
from tests.chaos.load import BAD, ODD, Clients, Tally, counting
from tests.e2e import gateway as e2e
from tests.e2e.gateway import descriptors, running, two_upstreams
from tests.fakes.upstream import Upstream

TOGETHER = 24  # clients
LEAVE = 0.3
BAD_SHARE, ODD_SHARE = 0.25, 0.1
WARM_UP = 0.3  # of the time; what is made once is made in it
MEGABYTES = 15  # that the memory may have grown since
KEEP_ALIVE = 0.5  # seconds of an idle connection to an upstream, where the gateway has 30
LOOKS = 100  # a tenth of a second each, until what is under way has ended

CONFIG = """
retry: {backoff: [10ms, 50ms]}
breaker: {failures: 10, ratio: 0.9, window: 5s, open: 200ms, max_open: 500ms}
limits: {concurrency: 1000, rpm: 1000000}
"""
PATIENCE = ", timeout: {first_token: 300ms, response: 300ms, idle: 300ms}"

_libc = ctypes.CDLL(None)


class Level(NamedTuple):
    """What a process holds."""

    tasks: int
    descriptors: int
    connections: int  # to the upstreams
    megabytes: float


def level(ups: list[Upstream]) -> Level:
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGESIZE") / 2**20
    open_now = sum(up.connections_open for up in ups)
    return Level(len(asyncio.all_tasks()), descriptors(), open_now, round(megabytes, 1))


def held(gateway: Gateway) -> Mapping[str, int]:
    """What requests hold while they are under way; all zero when none is."""
    pipeline, breakers = gateway.pipeline, gateway.breakers
    return {
        "requests under way": pipeline._budget.requests,
        "retries under way": pipeline._budget.retries,
        "lifelines": len(pipeline._watch._out),
        "probes' leases": sum(len(each._leases) for each in breakers._circuits.values()),
        "reservations": len(gateway.counters._holders),  # type: ignore[union-attr]
        "intents without an end": len(gateway.writer._open),
        "rows that wait": gateway.writer.pending,
        "rows lost": gateway.writer.lost + gateway.writer.unspooled,
    }


@asynccontextmanager
async def inside(folder: Path, text: str) -> AsyncIterator[tuple[e2e.Gateway, Gateway]]:
    """A gateway on a socket, and what it is made of."""
    made: list[Starlette] = []

    def build(*given: Any) -> Starlette:
        made.append(app.build_app(*given))
        return made[0]

    with (
        mock.patch.object(e2e, "build_app", build),
        mock.patch.object(upstream, "KEEP_ALIVE", KEEP_ALIVE),
    ):
        async with running(folder, text) as outside:
            lifespan: Any = made[0].router.lifespan_context
            yield outside, lifespan.__self__


async def soak(folder: Path, seconds: float = 600.0, seed: int = 1) -> Report:
    report, tally = Report(f"a soak of {seconds:g} s"), Tally()
    chance = random.Random(seed)
    async with counting(tally, many=2) as ups:
        text = two_upstreams(ups[0].base_url, ups[1].base_url, CONFIG, PATIENCE)
        async with inside(folder, text) as (outside, gateway):
            await _weather(outside, tally, chance, 0.5)
            start = await _idle(gateway, ups, None)
            await _weather(outside, tally, chance, seconds * WARM_UP)
            warm = await _idle(gateway, ups, start)
            began = time.process_time()
            await _weather(outside, tally, chance, seconds * (1 - WARM_UP))
            busy = time.process_time() - began
            end = await _idle(gateway, ups, start)
            _compare(report, start, warm, end)
            for name, count in held(gateway).items():
                report.demand(not count, f"{name}: {count}")
            ledger = await settled_ledger(outside.home, tally)
            report.faults += faults(tally, ledger)
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    report.facts["asked upstream"] = f"{sum(tally.asked):,}"
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
    report.facts["CPU, all in one process"] = f"{busy / (seconds * (1 - WARM_UP)):.0%}"
    return report


async def _weather(
    outside: e2e.Gateway, tally: Tally, chance: random.Random, seconds: float
) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    async with aiohttp.ClientSession() as session:
        given = (tally, session, outside.url, outside.key)
        alone = Clients(*given, "one/model-1", LEAVE, chance.randrange(1000))
        both = Clients(*given, "both", LEAVE, chance.randrange(1000))
        words = _words(chance)
        await asyncio.gather(
            alone.keep(TOGETHER // 2, words, over), both.keep(TOGETHER // 2, words, over)
        )


def _words(chance: random.Random) -> Callable[[], str]:
    def word() -> str:
        luck = chance.random()
        if luck < BAD_SHARE:
            return chance.choice(BAD) + ("!" if chance.random() < 0.2 else "")
        return chance.choice(ODD) if luck < BAD_SHARE + ODD_SHARE else "short"

    return word


async def _idle(gateway: Gateway, ups: list[Upstream], start: Level | None) -> Level:
    """The level when nothing is under way and idle connections are closed."""
    for _ in range(LOOKS):
        await asyncio.sleep(0.1)
        now = level(ups)
        settled = start is None or (
            now.tasks <= start.tasks and now.descriptors <= start.descriptors
        )
        if settled and not now.connections and not any(held(gateway).values()):
            break
    return now


def _compare(report: Report, start: Level, warm: Level, end: Level) -> None:
    for name in ("tasks", "descriptors", "connections"):
        before, now = getattr(start, name), getattr(end, name)
        report.facts[f"{name}, start and end"] = f"{before}, {now}"
        report.demand(now <= before, f"{name}: {before} at the start, {now} in the end")
    report.facts["MB at start, warm, end"] = (
        f"{start.megabytes:.1f}, {warm.megabytes:.1f}, {end.megabytes:.1f}"
    )
    grown = end.megabytes - warm.megabytes
    report.demand(grown <= MEGABYTES, f"memory grew by {grown:.1f} MB")
