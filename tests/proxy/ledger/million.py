"""`python -m tests.proxy.ledger.million --rows N [--postgres | --database URL]`: how fast big
books answer.

Loads N made-up rows of the last 30 days (20 models, 50 services, 1,000 customers, 40 keys) and asks
every endpoint of `/api/v1/usage`, through the door that serves them, as an admin, as the user who
made a tenth of all requests and as the key that did; then exports rows. The database is a new
SQLite file, or a PostgreSQL of its own. Rows go in by COPY, or by executemany into SQLite; the
roll-ups are made by the code that always makes them.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from proxy.config_types import PricingSection
from proxy.doors.forecast import ForecastDoor
from proxy.doors.usage import UsageDoor
from proxy.ledger.analytics import Chosen, Owner, daily, read_rows, summarise
from proxy.ledger.inserts import add_up
from proxy.ledger.rollups import (
    COLUMNS,
    KEY_COLUMNS,
    OWNER_COLUMNS,
    OWNER_KEY_COLUMNS,
    added_up,
)
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.live import Live
from proxy.storage.engine import open_database
from proxy.storage.schema import owner_rollups, requests, rollups
from proxy.types import Budget, Principal, Role
from tests.proxy.ledger.synthetic import many
from tests.servers import postgres

BATCH = 300_000  # rows of one transaction: about those of a day of ten million
DAYS = 30
TIMES = 7  # each question of the quick form is asked so often; the median counts
CALLS = 25  # of each endpoint by each caller
EXPORTED = 1_000_000  # rows, of an export
DAY = 86_400_000

USER = Owner("user", "customer-0")
KEY = Owner("key", "key_0")
"""Who asked a tenth of all."""

Ask = Callable[[AsyncEngine], Awaitable[Any]]

QUESTIONS: dict[str, Ask] = {
    "summary": lambda engine: summarise(engine, DAYS),
    "summary of one key": lambda engine: summarise(engine, DAYS, owner=KEY),
    "daily": lambda engine: daily(engine, DAYS),
    "by model": lambda engine: summarise(engine, DAYS, "model"),
    "by service": lambda engine: summarise(engine, DAYS, "service"),
    "by customer": lambda engine: summarise(engine, DAYS, "user", percentiles=False),
    "by model, of one user, with rows": lambda engine: summarise(engine, DAYS, "model", USER),
    "by customer, of one key, with rows": lambda engine: summarise(engine, DAYS, "user", KEY),
    "first page of 50 rows": lambda engine: read_rows(engine, Chosen(DAYS, {}), 50),
    "… of one customer": lambda engine: read_rows(
        engine, Chosen(DAYS, {"user": "customer-999"}), 50
    ),
    "… of one model": lambda engine: read_rows(engine, Chosen(DAYS, {"model": "model-3"}), 50),
}

ENDPOINTS = (
    "summary",
    "by-provider",
    "by-model",
    "by-service",
    "by-customer",
    "by-task",
    "by-key",
    "daily",
    "forecast",
    *(f"series?period={period}" for period in ("1h", "6h", "24h", "7d", "30d", "90d")),
    "requests",
    "requests?service=service-7",
    "requests?model=none",
    "summary?days=365",
    "by-model?days=365",
    "daily?days=365",
)

CALLERS: Mapping[str, Principal] = {
    "admin": Principal(Role.ADMIN),
    "one user": Principal(Role.USER, None, USER.value),
    "one key": Principal(Role.KEY, KEY.value),
}


class Took(NamedTuple):
    """Milliseconds."""

    p50: float
    p95: float


async def load(engine: AsyncEngine, count: int) -> float:
    """Fills empty books; gives the seconds it took."""
    now = int(time.time() * 1000)
    rows = many(count, now - DAYS * DAY, now)
    began, done = time.monotonic(), 0
    while batch := list(islice(rows, BATCH)):
        sums = added_up(batch)  # before: PostgreSQL ends who is idle in a transaction
        async with engine.begin() as connection:
            await _insert(connection, batch)
            await add_up(connection, rollups, len(KEY_COLUMNS), COLUMNS, sums.values)
            keys = len(OWNER_KEY_COLUMNS)
            await add_up(connection, owner_rollups, keys, OWNER_COLUMNS, sums.owners)
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


class Callers:
    """Knows the callers by their names."""

    async def identify_at(self, method: str, headers: Mapping[bytes, bytes]) -> Principal:
        return CALLERS[headers[b"authorization"].decode()]


def door(engine: AsyncEngine) -> ASGIApp:
    """The usage API over the books."""
    config = SimpleNamespace(pricing=PricingSection())
    live = cast("Live", SimpleNamespace(current=SimpleNamespace(auth=Callers(), config=config)))

    usage = UsageDoor(live, lambda: engine).routes()
    forecast = ForecastDoor(live, lambda: engine, lambda _: Budget(10**12)).routes()
    return Starlette(routes=[*usage, *forecast])


async def call(app: ASGIApp, path: str, caller: str, calls: int = CALLS) -> Took:
    """How long an endpoint takes, from the request to the last byte."""
    took = []
    transport = httpx.ASGITransport(app)
    headers = {"authorization": caller}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for _ in range(calls + 1):
            began = time.perf_counter()
            answer = await client.get(f"/api/v1/usage/{path}", headers=headers)
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
    del took[0]  # the caches are cold
    return Took(statistics.median(took), statistics.quantiles(took, n=20)[-1])


class Exported(NamedTuple):
    """Rows, seconds, and by how much the process grew meanwhile, in MB."""

    rows: int
    seconds: float
    grown: float


async def export(app: ASGIApp, form: str, most: int = EXPORTED) -> Exported:
    """The first rows of an export by the admin, taken as they come."""
    before = largest = _resident()
    rows, began = 0, time.perf_counter()
    async for chunk in _chunks(app, form):
        rows += chunk.count(b"\n")
        largest = max(largest, _resident())
        if rows >= most:
            break
    return Exported(rows, time.perf_counter() - began, (largest - before) / 1e6)


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def _chunks(app: ASGIApp, form: str) -> AsyncIterator[bytes]:
    chunks: asyncio.Queue[bytes] = asyncio.Queue(2)
    gone = asyncio.Event()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/usage/export",
        "query_string": f"format={form}".encode(),
        "headers": [(b"authorization", b"admin")],
    }

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not gone.is_set():
            await chunks.put(message["body"])

    running = asyncio.ensure_future(app(scope, receive, send))
    try:
        while chunk := await chunks.get():
            yield chunk
    finally:
        gone.set()
        while not chunks.empty():
            chunks.get_nowait()
        await running


async def counts(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return {
            table.name: int(
                (await connection.execute(text(f"SELECT count(*) FROM {table.name}"))).scalar_one()
            )
            for table in (requests, rollups, owner_rollups)
        }


async def lines(app: ASGIApp) -> AsyncIterator[str]:
    """A row of the table for each endpoint."""
    for path in ENDPOINTS:
        took = [await call(app, path, caller) for caller in CALLERS]
        yield f"| `{path}` | " + " | ".join(f"{t.p50:.1f} / {t.p95:.1f}" for t in took) + " |"


def _heads() -> Iterator[str]:
    yield "| endpoint, p50 / p95 in ms | " + " | ".join(CALLERS) + " |"
    yield "|---" * (len(CALLERS) + 1) + "|"


async def main(count: int, url: str | None) -> None:
    with tempfile.TemporaryDirectory() as home:
        engine = await open_database(url or "sqlite:///million.db", Path(home))
        took = await load(engine, count)
        kind = engine.dialect.name
        print(f"{kind}: {count:,} rows in {took:,.0f} s, {count / took:,.0f} a second", flush=True)
        print(await counts(engine), flush=True)
        app = door(engine)
        print("", *_heads(), sep="\n", flush=True)
        async for line in lines(app):
            print(line, flush=True)
        for form in ("jsonl", "csv"):
            found = await export(app, form)
            speed = found.rows / found.seconds
            print(
                f"\n{form}: {found.rows:,} rows, {speed:,.0f} a second, {found.grown:.1f} MB more"
            )
        await engine.dispose()


async def _database(asked: argparse.Namespace) -> str | None:
    return await postgres().new_database() if asked.postgres else asked.database


async def _run(asked: argparse.Namespace) -> None:
    await main(asked.rows, await _database(asked))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--postgres", action="store_true", help="a new PostgreSQL, not SQLite")
    parser.add_argument("--database", metavar="URL", help="an empty database")
    asyncio.run(_run(parser.parse_args()))
