"""Nothing that was submitted is lost while the process lives."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger import writer as writers
from proxy.ledger.books import Books
from proxy.ledger.writer import Writer
from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests
from tests.proxy.ledger.records import record


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await open_database("sqlite:///t.db", tmp_path)
    yield engine
    await engine.dispose()


async def counts(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        found = [
            (await connection.execute(select(func.count()).select_from(table))).scalar()
            for table in (requests, attempts)
        ]
    return found[0] or 0, found[1] or 0


async def test_records_are_written_once(engine: AsyncEngine) -> None:
    writer = Writer(Books(engine))
    await writer.start()
    twice = record()
    for made in [record() for _ in range(120)] + [twice, twice]:
        writer.submit(made)
    await writer.flush()
    assert await counts(engine) == (121, 121)
    assert (writer.pending, writer.lost) == (0, 0)
    await writer.stop()


async def test_the_end_writes_what_waits(engine: AsyncEngine) -> None:
    writer = Writer(Books(engine))
    await writer.start()
    for _ in range(30):
        writer.submit(record())
    await writer.stop()
    assert await counts(engine) == (30, 30)


async def test_a_locked_database_loses_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with sqlite3.connect(tmp_path / "t.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(1)
            other.execute("ROLLBACK")
        other.close()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    writer = Writer(Books(engine))
    await writer.start()
    before = time.monotonic()
    for _ in range(10):
        writer.submit(record())
    assert time.monotonic() - before < 0.1, "a request never waits for the database"
    await writer.flush()
    assert await counts(engine) == (10, 10)
    await writer.stop()
    holding.join()


async def test_a_database_that_fails_is_tried_again(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE attempts RENAME TO away")
    writer = Writer(Books(engine))
    await writer.start()
    with caplog.at_level(logging.ERROR):
        writer.submit(record())
        while "wait: the database failed" not in caplog.text:
            await asyncio.sleep(0.02)
    assert await counts_of(engine) == 0, "a request without its attempts is not written"
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO attempts")
    await writer.flush()
    assert await counts(engine) == (1, 1)
    await writer.stop()


async def counts_of(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        found = await connection.execute(select(func.count()).select_from(requests))
        return found.scalar() or 0


async def test_what_can_not_even_wait_is_counted_aloud(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writers, "LIMIT", 3)
    writer = Writer(Books(engine))
    for _ in range(5):
        writer.submit(record())
    assert (writer.pending, writer.lost) == (3, 2)
    assert "lost" in caplog.text
