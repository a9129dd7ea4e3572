"""A process of its own that races for shares: `python -m tests.proxy.shared.racer URL MODE NAME`.

It says `ready`, begins at a line on its stdin, and prints what it got as JSON.
"""

import asyncio
import json
import sys
import time
from typing import Any

from proxy.counters import Kind, Want
from proxy.counters_local import LocalCounters
from proxy.shared.board import Board
from proxy.shared.counters import SharedCounters
from proxy.shared.redis import Link

BEGINS = 1_790_000_000.0
CENT = Want("budget:cent", Kind.FIXED, 10_000_000, 130_000, 31 * 86400.0, BEGINS)
CALLS = Want("calls", Kind.SLIDING, 1_000_000, 1, 3600.0)
AT_ONCE = 200
ROOMY = 5.0  # seconds to wait for Redis: this is about counting right, on a busy machine


async def budget(link: Link, name: str) -> dict[str, Any]:
    """200 at once reach for the last cent; then all settle for less, and 200 more reach."""
    counters = SharedCounters(link, LocalCounters(), 2)

    async def reach(holder: str) -> bool:
        return (await counters.reserve(holder, [CALLS, CENT])).blocked is None

    holders = [f"{name}-{number}" for number in range(AT_ONCE)]
    got = await asyncio.gather(*map(reach, holders))
    winners = [holder for holder, won in zip(holders, got, strict=True) if won]
    await asyncio.gather(*(counters.settle(w, [CALLS, CENT], [1, 30_000]) for w in winners))
    again = await asyncio.gather(*(reach(f"{holder}-again") for holder in holders))
    await counters.close()
    return {"first": len(winners), "again": sum(again)}


async def leases(link: Link, name: str) -> dict[str, Any]:
    """50 at once ask to probe."""
    board = Board(link, lambda *_: None, lambda _: None)
    asked = [board.lease("provider/openai", f"{name}-{n}", 2, 30.0) for n in range(50)]
    return {"leases": sum(await asyncio.gather(*asked))}


async def steady(link: Link, name: str) -> dict[str, Any]:
    """A request every 2 ms for 4 seconds, whatever becomes of Redis."""
    counters = SharedCounters(link, LocalCounters(), 2)
    spent: list[float] = []
    let_in = 0
    until = time.monotonic() + 4
    number = 0
    while time.monotonic() < until:
        number += 1
        began = time.perf_counter()
        grant = await counters.reserve(f"{name}-{number}", [CALLS, CENT._replace(amount=1000)])
        spent.append(time.perf_counter() - began)
        if grant.blocked is None:
            let_in += 1
            await counters.settle(f"{name}-{number}", [CALLS, CENT], [1, 1000])
        await asyncio.sleep(0.002)
    await asyncio.sleep(2.5)  # Redis is told what it has missed
    await counters.close()
    return {"let_in": let_in, "slow": sum(s > 0.02 for s in spent), "slowest": max(spent)}


async def main(url: str, mode: str, name: str) -> None:
    link = Link(url) if mode == "steady" else Link(url, ROOMY)
    await link.ask("PING")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    work = {"budget": budget, "leases": leases, "steady": steady}[mode]
    print(json.dumps(await work(link, name)), flush=True)
    await link.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
