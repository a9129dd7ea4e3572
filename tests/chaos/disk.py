"""Row 40: the disk of the spool is full. The spool lies on a small tmpfs that only the gateway
sees, in a mount namespace of its own; the test reaches it through /proc."""

import asyncio
import contextlib
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Literal

import aiohttp

from tests.chaos import Report
from tests.chaos.books import faults, settled_ledger
from tests.chaos.load import Clients, Tally, Told, counting
from tests.chaos.served import Served, up

SIZE = "256k"
ASKED = 30  # requests in each phase
GREEN = 10.0  # seconds in which it has to be ready again
MOUNT = f'mount -t tmpfs -o size={SIZE} spool "$0" && {{ FILL; exec "$@"; }}'


@cache
def namespace() -> tuple[str, ...] | None:
    """The command that gives a process mounts of its own; None where that is not allowed."""
    options = "-m" if os.geteuid() == 0 else "-rm"
    trial = ["unshare", options, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        done = subprocess.run(trial, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return ("unshare", options) if done.returncode == 0 else None


class Disk:
    """The small disk under a gateway's spool."""

    def __init__(self, folder: Path) -> None:
        self._spool = folder / "home" / "spool"
        self._spool.mkdir(parents=True)

    def inside(self, full: bool = False) -> tuple[str, ...]:
        """What to put before a command, so that it has the disk; it may be full at once."""
        found = namespace()
        assert found is not None
        fill = 'head -c 10000000 /dev/zero > "$0/filler" 2>/dev/null' if full else "true"
        return (*found, "sh", "-c", MOUNT.replace("FILL", fill), str(self._spool))

    def _filler(self, served: Served) -> Path:
        seen = Path(f"/proc/{served.process.pid}/root")
        return seen / self._spool.relative_to("/") / "filler"

    def fill(self, served: Served) -> None:
        """To the last byte that can be had."""
        with self._filler(served).open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self, served: Served) -> None:
        self._filler(served).unlink()


async def full(folder: Path, on_full: Literal["serve", "reject"], at_start: bool = False) -> Report:
    """The disk fills up while it serves, or is full when it starts; then there is room again."""
    when = "at the start" if at_start else "while it serves"
    report, tally = Report(f"a full disk {when}, on_full: {on_full}"), Tally()
    disk = Disk(folder)
    async with counting(tally) as ups, aiohttp.ClientSession() as session:
        config = up(ups[0].base_url, f"ledger: {{on_full: {on_full}}}")
        served = Served(folder, config, inside=disk.inside(at_start))
        try:
            await served.start(session)
            clients = Clients(tally, session, served.url, await served.new_key(session))
            if not at_start:
                await clients.steady(60, ASKED / 60)
                await clients.idle()
                await _expect_ready(served, session, report, True, "before")
                disk.fill(served)
            await _while_full(served, session, clients, report, on_full)
            disk.free(served)
            await _expect_ready(served, session, report, True, "with room again")
            first = len(tally)
            for _ in range(ASKED):
                await clients.one()
            again = set(tally.told[first:])
            report.demand(again == {Told.DONE}, f"with room again: {again}")
            report.facts["health in the end"] = (await _health(served, session, ""))[1]["ledger"]
            ledger = await settled_ledger(served.home, tally)
            await served.stop()
            report.faults += faults(tally, ledger)
        finally:
            await served.close()
    report.facts["requests"] = f"{len(tally):,}: {tally.counts()}"
    report.facts["asked upstream"] = f"{sum(tally.asked):,}"
    report.facts["rows"] = f"{len(ledger.rows):,}: {ledger.outcomes()}"
    return report


async def _while_full(
    served: Served,
    session: aiohttp.ClientSession,
    clients: Clients,
    report: Report,
    on_full: str,
) -> None:
    """What there is left of a page takes a few small frames yet, so the first ones don't count."""
    tally = clients.tally
    for _ in range(ASKED):
        await clients.one()
    first, asked = len(tally), sum(tally.asked)
    for _ in range(ASKED):
        await clients.one()
    told = set(tally.told[first:])
    sent = sum(tally.asked) - asked
    report.facts["sent upstream while full"] = f"{sent} of {ASKED}"
    if on_full == "serve":
        report.demand(told == {Told.DONE} and sent == ASKED, f"while full: {told}, {sent} sent")
    else:
        report.demand(told == {Told.ERROR} and not sent, f"while full: {told}, {sent} sent")
        codes = set(tally.errors)
        report.demand(codes == {"503 ledger_unavailable"}, f"errors: {codes}")
    await _expect_ready(served, session, report, False, "while full")
    status = (await _health(served, session, "ready"))[1]["status"]
    report.facts["readiness while full"] = status
    report.demand("No space left on device" in status, f"readiness says {status!r}")
    books = (await _health(served, session, ""))[1]["ledger"]
    report.facts["health while full"] = books
    report.demand(books["unspooled"] > 0, "what was not spooled is not counted")
    report.demand("not spooled" in served.log, "the log has no alarm")


async def _health(
    served: Served, session: aiohttp.ClientSession, which: str
) -> tuple[int, dict[str, Any]]:
    async with session.get(f"{served.url}/health/{which}".rstrip("/")) as reply:
        return reply.status, await reply.json()


async def _expect_ready(
    served: Served, session: aiohttp.ClientSession, report: Report, ready: bool, when: str
) -> None:
    wanted = 200 if ready else 503
    for _ in range(int(GREEN / 0.1)):
        if await served.health(session, "ready") == wanted:
            return
        await asyncio.sleep(0.1)
    report.demand(False, f"{when}: readiness is not {wanted}")
