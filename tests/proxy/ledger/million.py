"""`python -m tests.proxy.ledger.million --rows N [--database URL]`: how fast big books
answer.

Loads N made-up rows of the last 30 days (20 models, 50 services, 1,000 customers, 40 keys) and
times every question that the API asks. Without a URL it starts a PostgreSQL of its own. Rows go in
by COPY, or by executemany into SQLite; the roll-ups are made by the code that always makes them.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.analytics import Chosen, daily, read_rows, summarise
from proxy.ledger.inserts import add_up
from proxy.ledger.rollups import COLUMNS, KEY_COLUMNS, added_up
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.storage.engine import open_database
from proxy.storage.schema import requests, rollups
from tests.proxy.ledger.synthetic import many
from tests.servers import postgres

BATCH = 50_000  # rows of one transaction
DAYS = 30
TIMES = 7  # each question is asked so often; the median counts
DAY = 86_400_000

Ask = Callable[[AsyncEngine], Awaitable[Any]]

QUESTIONS: dict[str, Ask] = {
    "summary": lambda engine: summarise(engine, DAYS),
    "summary of one key": lambda engine: summarise(engine, DAYS, key_id="key_7"),
    "daily": lambda engine: daily(engine, DAYS),
    "by provider (5)": lambda engine: summarise(engine, DAYS, "provider"),
    "by model (20)": lambda engine: summarise(engine, DAYS, "model"),
    "by service (50)": lambda engine: summarise(engine, DAYS, "service"),
    "by key (40)": lambda engine: summarise(engine, DAYS, "key"),
    "by task (4)": lambda engine: summarise(engine, DAYS, "task"),
    "by customer (1,000)": lambda engine: summarise(engine, DAYS, "user", percentiles=False),
    "first page of 50 rows": lambda engine: read_rows(engine, Chosen(DAYS, {}), 50),
    "… of one customer": lambda engine: read_rows(
        engine, Chosen(DAYS, {"user": "customer-999"}), 50
    ),
    "… of one model": lambda engine: read_rows(engine, Chosen(DAYS, {"model": "model-3"}), 50),
}

SLOW: dict[str, Ask] = {
    "by model, of one key (from its rows)": lambda engine: summarise(
        engine, DAYS, "model", "key_7"
    ),
    "page of a model that is not there": lambda engine: read_rows(
        engine, Chosen(DAYS, {"model": "none"}), 50
    ),
}
"""What no roll-up answers."""


async def load(engine: AsyncEngine, count: int) -> float:
    """Fills empty books; gives the seconds it took."""
    now = int(time.time() * 1000)
    rows = many(count, now - DAYS * DAY, now)
    began, done = time.monotonic(), 0
    while batch := list(islice(rows, BATCH)):
        async with engine.begin() as connection:
            await _insert(connection, batch)
            await add_up(connection, rollups, len(KEY_COLUMNS), COLUMNS, added_up(batch))
        done += len(batch)
        if sys.stderr.isatty():
            print(f"\r{done:,} rows", end="", file=sys.stderr, flush=True)
    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        await connection.commit()
    return time.monotonic() - began


async def _insert(connection: AsyncConnection, batch: list[tuple[Any, ...]]) -> None:
    if connection.dialect.name == "postgresql":
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        await connection.execute(text("SELECT 1"))  # so that COPY is part of the transaction
        await raw.copy_records_to_table("requests", records=batch, columns=list(REQUEST_COLUMNS))
    else:
        marks = ", ".join("?" * len(REQUEST_COLUMNS))
        await connection.exec_driver_sql(f"INSERT INTO requests VALUES ({marks})", batch)


async def latency(engine: AsyncEngine, ask: Ask, times: int = TIMES) -> float:
    """The median in milliseconds, after one try that does not count."""
    await ask(engine)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask(engine)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


async def counts(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return {
            table.name: int(
                (await connection.execute(text(f"SELECT count(*) FROM {table.name}"))).scalar_one()
            )
            for table in (requests, rollups)
        }


def lines(found: dict[str, float]) -> Iterator[str]:
    for name, took in found.items():
        yield f"| {name} | {took:,.1f} |"


async def main(count: int, url: str | None) -> None:
    with tempfile.TemporaryDirectory() as home:
        engine = await open_database(url or await postgres().new_database(), Path(home))
        took = await load(engine, count)
        print(
            f"{engine.dialect.name}: {count:,} rows in {took:,.0f} s, {count / took:,.0f} a second"
        )
        print("asking …", file=sys.stderr)
        found = {name: await latency(engine, ask) for name, ask in QUESTIONS.items()}
        found |= {name: await latency(engine, ask, 2) for name, ask in SLOW.items()}
        print("\n| question | ms |\n|---|---|", *lines(found), sep="\n")
        print(f"\n{await counts(engine)}")
        await engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", metavar="URL", help="an empty one; default: a new PostgreSQL")
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.database))
