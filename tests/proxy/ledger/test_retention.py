"""Old rows go, a few at a time; the rest stays, and so do all sums."""

import time

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger import retention
from proxy.ledger.analytics import summarise
from proxy.ledger.books import Books
from proxy.ledger.rows import attempt_row
from proxy.storage.schema import attempts, requests
from tests.proxy.ledger.records import record
from tests.proxy.ledger.synthetic import request

DAY = 86_400


async def fill(engine: AsyncEngine, ages: list[float]) -> None:
    """Requests of these ages in days, each with one attempt."""
    now = time.time()
    rows, tries = [], []
    for number, age in enumerate(ages):
        at = now - age * DAY
        row_id = earliest(at)[:-4] + f"{number:04x}"
        rows.append(request(row_id, int(at * 1000), cost_nanousd=10))
        made = record(id=row_id)
        tries.append(attempt_row(made, made.attempts[0]))
    await Books(engine).write(rows, tries)


async def ids(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        counts = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (requests, attempts)
        ]
    return counts[0], counts[1]


@pytest.mark.parametrize("old", [0, 1, 9, 10, 11, 35])
async def test_what_is_old_goes(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "PAUSE", 0)
    await fill(engine, [30.01 + number / 100 for number in range(old)] + [29.99, 1, 0])
    before = await summarise(engine, 60)
    assert before[0].requests == old + 3
    assert await retention.sweep(engine, 30 * DAY) == old
    assert await ids(engine) == (3, 3)
    assert await summarise(engine, 60) == before
    assert await retention.sweep(engine, 30 * DAY) == 0


async def test_attempts_without_their_request_go_too(engine: AsyncEngine) -> None:
    await fill(engine, [40, 1])
    async with engine.begin() as connection:
        await connection.execute(delete(requests))
    assert await retention.sweep(engine, 30 * DAY) == 0
    assert await ids(engine) == (0, 1)
