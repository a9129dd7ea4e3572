"""Row 38: SIGTERM under load. Who was let in gets an end, and a row."""

import asyncio
import random
from pathlib import Path

import aiohttp

from tests.chaos import Report
from tests.chaos.books import faults, settled_ledger
from tests.chaos.load import Clients, Tally, Told, counting
from tests.chaos.served import Served, up

TOGETHER = 30
LONG_SHARE, ENDLESS_SHARE = 0.15, 0.15  # streams that end within the drain, and that don't
DRAIN = 2  # seconds; a long stream takes one and a half
LAST = 4.0  # seconds beyond the drain that the end may take


async def drain(folder: Path, rounds: int = 10, workers: int = 1, seed: int = 1) -> Report:
    """`rounds` times: start, load, SIGTERM."""
    report, tally = Report(f"{rounds} times SIGTERM, {workers} workers"), Tally()
    chance = random.Random(seed)
    took = []
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        served = Served(folder, up(ups[0].base_url, f"server: {{drain: {DRAIN}s}}"), workers)
        key = ""
        try:
            for _ in range(rounds):
                await served.start(session)
                key = key or await served.new_key(session)
                clients = Clients(tally, session, served.url, key, leave=0.1, seed=seed)
                took.append(await _round(served, clients, chance))
                report.demand(not served.spools(), f"left in the spool: {served.spools()}")
        finally:
            await served.close()
        ledger = await settled_ledger(served.home, tally, seconds=0.25)
    report.faults += faults(tally, ledger)
    broken = [number for number in tally.of(Told.BROKEN) if tally.asked[number]]
    report.demand(not broken, f"sent upstream, and no end: {len(broken)}, such as {broken[:5]}")
    report.demand(max(took) < DRAIN + LAST, f"one end took {max(took):.1f} s")
    report.demand(tally.errors["in-band server_shutting_down"] > 0, "no stream was cut off")
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
    report.facts["ends"] = f"{max(took):.1f} s the longest"
    return report


async def _round(served: Served, clients: Clients, chance: random.Random) -> float:
    """Load, SIGTERM in the middle; seconds to the process's end."""
    over = asyncio.Event()
    loads = [asyncio.ensure_future(_keep(clients, _word(turn), over)) for turn in range(TOGETHER)]
    await asyncio.sleep(chance.uniform(0.8, 1.6))
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.3, over.set)  # some come too late
    await served.stop()
    took = loop.time() - began
    over.set()
    await asyncio.gather(*loads)
    return took


async def _keep(clients: Clients, word: str, over: asyncio.Event) -> None:
    while not over.is_set():
        if await clients.one(word, None if word == "short" else True) == Told.NOTHING:
            await asyncio.sleep(0.02)


def _word(turn: int) -> str:
    share = turn / TOGETHER
    if share < LONG_SHARE:
        return "long"
    return "endless" if share < LONG_SHARE + ENDLESS_SHARE else "short"
