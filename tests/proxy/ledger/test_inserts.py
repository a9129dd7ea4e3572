"""Many rows in few statements, none twice; sums that add up whoever adds."""

import asyncio

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.inserts import add_up, insert_new, statement
from proxy.ledger.rollups import COLUMNS, KEY_COLUMNS, WIDTH
from proxy.ledger.rows import REQUEST_COLUMNS, request_row
from proxy.storage.schema import requests, rollups
from tests.proxy.ledger.records import record


def test_the_statements() -> None:
    made = [statement(dialect, "t", ("a", "b"), 2, "TAIL") for dialect in ("sqlite", "postgresql")]
    assert made == [
        'INSERT INTO t ("a", "b") VALUES (?, ?), (?, ?) TAIL',
        'INSERT INTO t ("a", "b") VALUES ($1, $2), ($3, $4) TAIL',
    ]


@pytest.mark.parametrize(("rows", "statements"), [(0, 0), (1, 1), (9, 9), (50, 1), (163, 7)])
async def test_rows_and_statements(engine: AsyncEngine, rows: int, statements: int) -> None:
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
    made = [request_row(record()) for _ in range(rows)]
    async with engine.begin() as connection:
        new = await insert_new(connection, requests, REQUEST_COLUMNS, made)
    assert len(sent) == statements
    assert sorted(new) == sorted(row[0] for row in made)
    async with engine.begin() as connection:
        assert await insert_new(connection, requests, REQUEST_COLUMNS, made) == []
        counted = await connection.execute(select(func.count()).select_from(requests))
        assert counted.scalar() == rows


async def test_of_old_and_new_the_new_are_told(engine: AsyncEngine) -> None:
    made = [request_row(record()) for _ in range(60)]
    async with engine.begin() as connection:
        await insert_new(connection, requests, REQUEST_COLUMNS, made[::2])
        again = [made[1], *made]
        new = await insert_new(connection, requests, REQUEST_COLUMNS, again)
    assert sorted(new) == sorted(row[0] for row in made[1::2])


def sums(*values: str) -> list[tuple[object, ...]]:
    return [("hour", "user", 0, value, *[1] * WIDTH) for value in values]


async def test_numbers_are_added_up(engine: AsyncEngine) -> None:
    for values in ("cab", "bd"):
        async with engine.begin() as connection:
            await add_up(connection, rollups, len(KEY_COLUMNS), COLUMNS, sums(*values))
    async with engine.connect() as connection:
        found = (await connection.execute(select(rollups).order_by(rollups.c.value))).all()
    assert [(row.value, set(row[4:])) for row in found] == [
        ("a", {1}),
        ("b", {2}),
        ("c", {1}),
        ("d", {1}),
    ]


async def test_opposite_orders_do_not_block_each_other(engine: AsyncEngine) -> None:
    """Unsorted, the two would each hold what the other waits for."""
    names = [f"{number:02}" for number in range(12)]

    async def add(values: list[str]) -> None:
        for _ in range(25):
            async with engine.begin() as connection:
                await add_up(connection, rollups, len(KEY_COLUMNS), COLUMNS, sums(*values))

    await asyncio.gather(add(names), add(names[::-1]))
    async with engine.connect() as connection:
        found = (await connection.execute(select(rollups.c.requests))).scalars().all()
    assert found == [50] * 12
