"""What waits for a sink, and who ships it."""

import asyncio

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.sinks.outbox import Outbox
from proxy.storage.schema import requests
from tests.proxy.sinks.rows import told, waiting, write


async def test_a_new_request_waits_for_each_sink_once(engine: AsyncEngine) -> None:
    row = request_row(told())
    books = Books(engine, ["firestore", "bigquery"])
    await books.write([row], [])
    await Outbox(engine, "bigquery").drop([row[0]])
    await books.write([row, row], [])  # known already: it has been shipped
    assert await waiting(engine, "bigquery") == []
    assert await waiting(engine, "firestore") == [row[0]]


async def test_without_sinks_nothing_waits(engine: AsyncEngine) -> None:
    await Books(engine).write([request_row(told())], [])
    assert await Outbox(engine, "bigquery").count() == 0


async def test_it_is_in_both_tables_or_in_neither(engine: AsyncEngine) -> None:
    row = request_row(told())
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE rollups RENAME TO away"))
    with pytest.raises(SQLAlchemyError):
        await Books(engine, ["bigquery"]).write([row], [])
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO rollups"))
    assert await waiting(engine, "bigquery") == []
    await Books(engine, ["bigquery"]).write([row], [])
    assert await waiting(engine, "bigquery") == [row[0]]


async def test_the_oldest_come_first(engine: AsyncEngine) -> None:
    ids = await write(engine, 5, "bigquery")
    await write(engine, 1, "firestore")
    outbox = Outbox(engine, "bigquery")
    rows, gone = await outbox.batch(3)
    assert ([row.request_id for row in rows], gone) == (ids[:3], [])
    assert (rows[0].job_id, rows[0].metadata, rows[0].output_tokens) == ("job_1", '{"team":"a"}', 4)
    assert await outbox.count() == 5
    await outbox.drop(ids[:3])
    assert [row.request_id for row in (await outbox.batch(3)).rows] == ids[3:]


async def test_rows_that_retention_took_are_named(engine: AsyncEngine) -> None:
    ids = await write(engine, 2, "bigquery")
    async with engine.begin() as connection:
        await connection.execute(delete(requests).where(requests.c.id == ids[0]))
    rows, gone = await Outbox(engine, "bigquery").batch(10)
    assert ([row.request_id for row in rows], gone) == ([ids[1]], [ids[0]])


async def test_what_is_set_aside_can_be_put_back(engine: AsyncEngine) -> None:
    ids = await write(engine, 3, "firestore")
    outbox = Outbox(engine, "firestore")
    await outbox.set_aside(ids[:2])
    await outbox.set_aside(ids[:2])  # by another process, a moment later
    assert await waiting(engine, "firestore") == ids[2:]
    assert await waiting(engine, "firestore-aside") == ids[:2]
    assert await outbox.put_back() == 2
    assert await outbox.put_back() == 0
    assert await waiting(engine, "firestore") == ids


async def test_one_at_a_time_may_ship(engine: AsyncEngine) -> None:
    now = 1000.0
    outbox = Outbox(engine, "bigquery", lambda: now)
    claims = await asyncio.gather(*(outbox.claim(holder, 60) for holder in "abcd"))
    assert sorted(claims) == [False, False, False, True]
    first = "abcd"[claims.index(True)]
    assert await Outbox(engine, "firestore", lambda: now).claim("other", 60)
    now += 50
    assert await outbox.claim(first, 60)  # longer: until 1110
    now += 55
    assert not await outbox.claim("late", 60)
    now += 10
    claims = await asyncio.gather(*(outbox.claim(holder, 60) for holder in "xyz"))
    assert sorted(claims) == [False, False, True]
    assert not await outbox.claim(first, 60)


async def test_who_ends_lets_another_one_ship(engine: AsyncEngine) -> None:
    outbox = Outbox(engine, "bigquery")
    assert await outbox.claim("a", 60)
    await outbox.resign("b")
    assert not await outbox.claim("b", 60)
    await outbox.resign("a")
    assert await outbox.claim("b", 60)
