"""The oracle: what the upstream and the clients saw, against what the ledger says."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests, rollups
from tests.chaos.load import Tally, Told, usage_of

SQLITE = "sqlite:///turnout.db"
SHOWN = 5  # examples of each kind of fault


@dataclass
class Ledger:
    """The rows of a database, by request. Those without a job are of clients that left before
    all of their request had arrived."""

    jobless: int
    rows: dict[str, dict[str, Any]]
    tries: dict[str, list[dict[str, Any]]]
    summed: int  # requests in the roll-ups

    @property
    def jobs(self) -> Counter[int]:
        """How many request rows each number has."""
        return Counter(int(row["job_id"]) for row in self.rows.values())

    def outcomes(self) -> str:
        counts = Counter(row["outcome"] for row in self.rows.values())
        return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


async def read_ledger(home: Path, url: str = SQLITE) -> Ledger:
    """All rows whose request has a job, and the daily sums."""
    engine = await open_database(url, home)
    try:
        async with engine.connect() as connection:

            async def all_of(table: Table) -> list[dict[str, Any]]:
                found = await connection.execute(select(table))
                return [dict(row) for row in found.mappings()]

            every = await all_of(requests)
            rows = {row["id"]: row for row in every if row["job_id"]}
            tries: dict[str, list[dict[str, Any]]] = {each: [] for each in rows}
            for row in await all_of(attempts):
                tries.setdefault(row["request_id"], []).append(row)
            wanted = (rollups.c.grain == "day") & (rollups.c.dimension == "all")
            total = select(func.sum(rollups.c.requests)).where(wanted)
            summed = (await connection.execute(total)).scalar() or 0
    finally:
        await engine.dispose()
    return Ledger(len(every) - len(rows), rows, tries, int(summed))


async def settled_ledger(
    home: Path, tally: Tally, url: str = SQLITE, seconds: float = 20
) -> Ledger:
    """The ledger, once it has a row for all that were asked, or after `seconds`."""
    for _ in range(int(seconds / 0.25)):
        ledger = await read_ledger(home, url)
        jobs = ledger.jobs
        if all(number in jobs for number, times in enumerate(tally.asked) if times):
            break
        await asyncio.sleep(0.25)
    return ledger


def faults(tally: Tally, ledger: Ledger, killed: bool = False) -> list[str]:
    """How the ledger differs from what happened. `killed`: the process did not end by itself."""
    jobs = ledger.jobs
    found: dict[str, list[str]] = {}

    def note(kind: str, what: object) -> None:
        found.setdefault(kind, []).append(str(what))

    for number, told in enumerate(tally.told):
        asked, answered = tally.asked[number] > 0, told in (Told.DONE, Told.ERROR)
        if (asked or (answered and not killed)) and number not in jobs:
            note("upstream asked, or client answered, and no row", number)
        if told == Told.SILENT:
            note("a stream without an end", number)
    for number, times in jobs.items():
        if times > 1:
            note("several rows of one request", number)
    for request, row in ledger.rows.items():
        for kind in _row_faults(tally, row, ledger.tries[request], killed):
            note(kind, f"{row['job_id']} ({row['outcome']})")
    for request in ledger.tries.keys() - ledger.rows.keys():
        note("attempts of no request", request)
    written = len(ledger.rows) + ledger.jobless
    if ledger.summed != written:
        note("the roll-ups have another sum", f"{ledger.summed}, not {written}")
    return [
        f"{kind}: {len(what)}, such as {', '.join(what[:SHOWN])}" for kind, what in found.items()
    ]


def _row_faults(
    tally: Tally, row: dict[str, Any], tries: list[dict[str, Any]], killed: bool
) -> list[str]:
    number, outcome = int(row["job_id"]), row["outcome"]
    asked, told = tally.asked[number], tally.told[number]
    wrong = []
    if outcome == "unknown" and not killed:
        wrong.append("an unknown outcome without a death")
    if len(tries) != row["attempts"]:
        wrong.append("attempt rows are not as many as the request says")
    unsure = [one for one in tries if one["outcome"] in ("unknown", "client_closed")]
    # Put on the books and then not sent: the process died, or the client left, just between.
    if len(tries) != asked and not (len(tries) == asked + 1 and unsure):
        wrong.append(f"{len(tries)} attempts, and the upstream was asked {asked} times")
    if told == Told.DONE and outcome not in ("ok", "unknown"):
        wrong.append("the client had its answer")
    wrong += [fault for one in tries for fault in _try_faults(one, usage_of(number))]
    for column in ("input_tokens", "output_tokens"):
        if row[column] != sum(one[column] for one in tries):
            wrong.append(f"{column} are not the sum of the attempts'")
    return wrong


def _try_faults(one: dict[str, Any], said: tuple[int, int]) -> list[str]:
    """Tokens are what the upstream said, or marked as estimated."""
    tokens = one["input_tokens"], one["output_tokens"]
    source, outcome = one["usage_source"], one["outcome"]
    if source == "provider" and tokens != said:
        return [f"tokens {tokens} where the upstream said {said}"]
    if outcome == "ok" and source != "provider":
        return ["a finished attempt without the upstream's tokens"]
    if outcome in ("unknown", "client_closed") and source == "none":
        return ["an attempt that was sent, and counts nothing"]
    return []
