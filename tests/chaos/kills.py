"""Row 38: `kill -9` at random moments under load, again and again; then the books are read."""

import asyncio
import os
import random
import signal
from pathlib import Path

import aiohttp

from tests.chaos import Report
from tests.chaos.books import faults, settled_ledger
from tests.chaos.load import Clients, Tally, counting
from tests.chaos.served import ORPHANS, Served, is_alive, up

TOGETHER = 16  # clients
LEAVE = 0.3
DRAIN = "server: {drain: 5s}"


async def kills(
    folder: Path,
    times: int,
    workers: int = 1,
    seed: int = 1,
    module: str = "proxy",
    patience: float = 20.0,
) -> Report:
    """`times` kills, of one worker and of the parent in turn where there are several. `patience`
    is the seconds in which all rows must be there."""
    report = Report(f"{times} kills, {workers} workers")
    chance = random.Random(seed)
    tally = Tally()
    orphans = 0
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        served = Served(folder, up(ups[0].base_url, DRAIN), workers, module)
        try:
            starting = [await served.start(session)]
            key = await served.new_key(session)
            clients = Clients(tally, session, served.url, key, leave=LEAVE, seed=seed)
            over = asyncio.Event()
            load = asyncio.ensure_future(clients.keep(TOGETHER, lambda: _word(chance), over))
            for turn in range(times):
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                if workers > 1 and turn % 2 == 0:
                    await _kill_one(served, chance, session)
                else:
                    orphans += await served.kill()
                    starting.append(await served.start(session))
            await asyncio.sleep(0.3)
            over.set()
            await load
            await _finish(served, session, tally, report, patience)
        finally:
            await served.close()
    report.demand(not orphans, f"{orphans} workers outlived their parent by {ORPHANS:g} s")
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    report.facts["asked upstream"] = f"{sum(tally.asked):,}"
    report.facts["starts"] = f"{len(starting)}, {max(starting):.1f} s the longest"
    return report


def _word(chance: random.Random) -> str:
    """A few are tried again, so that requests with several attempts die, too."""
    return "500" if chance.random() < 0.05 else "short"


async def _kill_one(served: Served, chance: random.Random, session: aiohttp.ClientSession) -> None:
    """One worker; the parent starts another within a second or so."""
    before = served.worker_pids()
    pid = chance.choice(before)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while is_alive(pid) or len(served.worker_pids()) < served.workers:
            await asyncio.sleep(0.02)
        while await served.health(session, "live") != 200:
            await asyncio.sleep(0.02)


async def _finish(
    served: Served,
    session: aiohttp.ClientSession,
    tally: Tally,
    report: Report,
    patience: float,
) -> None:
    """All spools are taken over, then it drains; the books are compared."""
    await settled_ledger(served.home, tally, seconds=patience)
    report.demand(await served.health(session, "ready") == 200, "not ready in the end")
    await served.stop()
    ledger = await settled_ledger(served.home, tally, seconds=0.25)
    report.faults += faults(tally, ledger, killed=True)
    report.demand(not served.spools(), f"left in the spool: {served.spools()}")
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
