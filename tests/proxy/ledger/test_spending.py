"""What keys have cost, from the roll-ups."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.ledger.spending import spent
from proxy.storage.engine import open_database
from proxy.storage.schema import requests
from proxy.types import Principal, Role
from tests.proxy.ledger.records import record
from tests.proxy.ledger.synthetic import request

DAY = 86400.0
FIRST = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


async def test_by_key_since_a_day(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    today = time.time() // DAY * DAY
    made = [record(cost_nanousd=5), record(cost_nanousd=7), record(cost_nanousd=11)]
    made[1].principal = Principal(Role.KEY, "key_2")
    made[2].principal = Principal(Role.ADMIN)
    old = record(cost_nanousd=100)
    old.started_at = today - 1
    rows = [request_row(one) for one in [*made, made[0], old]]
    await Books(engine).write(rows, [])
    assert await spent(engine, today) == {"key_1": 5, "key_2": 7}
    assert await spent(engine, today - DAY) == {"key_1": 105, "key_2": 7}
    assert await spent(engine, today + DAY) == {}
    await engine.dispose()


def row(number: int, at: float, key: str | None, cost: int | None) -> tuple[Any, ...]:
    return request(f"{number:032x}", round(at * 1000), key_id=key, cost_nanousd=cost)


async def test_the_day_begins_at_midnight(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    assert await spent(engine, FIRST) == {}
    rows = [
        row(1, FIRST - 0.001, "key_a", 1),  # the month before
        row(2, FIRST, "key_a", 20),
        row(3, FIRST + DAY - 0.001, "key_a", 300),
        row(4, FIRST + DAY, "key_a", 4_000),
        row(5, FIRST + 1.5 * DAY, "key_a", 2_000_000_000_000),  # over 2**31 and 2**40
        row(6, FIRST + DAY, None, 900),  # by the master key
        row(7, FIRST + DAY, "key_b", None),  # nobody knows what it cost
    ]
    await Books(engine).write(rows, [])
    for since, cost in ((-1, 4_321), (0, 4_320), (1, 4_000)):
        found = await spent(engine, FIRST + since * DAY)
        assert found.pop("key_b", 0) == 0
        assert found == {"key_a": 2_000_000_000_000 + cost}
    assert await spent(engine, FIRST + 2 * DAY) == {}
    await engine.dispose()


async def test_batches_add_up_and_outlive_their_rows(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    for number in range(5):
        await Books(engine).write([row(number, FIRST + number, "key_a", 10)], [])
    again = [row(4, FIRST + 4, "key_a", 10), row(5, FIRST + 5, "key_a", 10)]
    await Books(engine).write(again, [])  # the first of them is there already
    assert await spent(engine, FIRST) == {"key_a": 60}
    async with engine.begin() as connection:
        await connection.execute(delete(requests))
    assert await spent(engine, FIRST) == {"key_a": 60}
    await engine.dispose()


async def test_by_user(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    rows = [
        request(f"{number:032x}", round(FIRST * 1000), key_id=key, user_id=user, cost_nanousd=cost)
        for number, (key, user, cost) in enumerate(
            [("k", "ann", 1), ("l", "ann", 20), ("k", "bob", 300), ("k", None, 4000)]
        )
    ]
    await Books(engine).write(rows, [])
    assert await spent(engine, FIRST, "user") == {"ann": 21, "bob": 300}
    assert await spent(engine, FIRST, "key") == {"k": 4301, "l": 20}
    await engine.dispose()
