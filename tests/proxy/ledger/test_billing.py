"""What one caller used, from rows of several, on both databases."""

import time

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger.billing import Payer, Used, by_model, together, used_by
from proxy.storage.schema import requests

DAY = 86_400_000
NOW = int(time.time() * 1000)
NOON = NOW // DAY * DAY - DAY + DAY // 2  # yesterday's


async def put(engine: AsyncEngine, at: int, **over: object) -> None:
    row = {
        "id": f"{int(earliest(at / 1000), 16) + next(NUMBERS):032x}",
        "created_at": at,
        "user_id": "u1",
        "key_id": None,
        "role": "user",
        "provider_name": "up",
        "model": "m",
        "stream": False,
        "status_code": 200,
        "outcome": "ok",
        "input_tokens": 100,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 10,
        "reasoning_tokens": 0,
        "usage_source": "provider",
        "cost_nanousd": 5000,
        "saved_nanousd": 0,
        "duration_ms": 1,
        "attempts": 1,
        "cached": False,
    }
    async with engine.begin() as connection:
        await connection.execute(insert(requests).values(row | over))


NUMBERS = iter(range(1, 1000))


async def test_only_whose_rows_they_are(engine: AsyncEngine) -> None:
    await put(engine, NOON)
    await put(engine, NOON, user_id="u2", cost_nanousd=1)
    await put(engine, NOON, user_id=None, key_id="k1", role="key", cost_nanousd=2)
    await put(engine, NOON, user_id=None, role="admin", cost_nanousd=3)
    await put(engine, NOON, user_id=None, role="service", cost_nanousd=4)
    await put(engine, NOON, user_id="u1", role="service", cost_nanousd=6)

    async def cost(payer: Payer) -> list[int]:
        return [day.used.cost_nanousd for day in await used_by(engine, payer, 30)]

    assert await cost(Payer(user_id="u1")) == [5006]
    assert await cost(Payer(user_id="u2")) == [1]
    assert await cost(Payer(user_id="u3")) == []
    assert await cost(Payer(key_id="k1")) == [2]
    assert await cost(Payer(role="admin")) == [3]
    assert await cost(Payer(role="service")) == [4]
    assert await cost(Payer(user_id="u1", role="service")) == [6]


async def test_by_day_and_model(engine: AsyncEngine) -> None:
    await put(engine, NOON)
    await put(engine, NOON + 1, provider_name="other", cost_nanousd=None)
    await put(engine, NOON - DAY)
    await put(engine, NOON - DAY, status_code=502, provider_name=None, model=None)
    await put(engine, NOON - 9 * DAY)
    used = await used_by(engine, Payer(user_id="u1"), 5)
    assert [day.day for day in used] == [NOON - DAY - DAY // 2] * 2 + [NOON - DAY // 2] * 2
    assert by_model(used) == [
        Used("up", "m", 2, 200, 20, 10000),
        Used(None, None, 1, 100, 10, 5000),
        Used("other", "m", 1, 100, 10, 0),
    ]
    assert together(day.used for day in used) == Used(None, None, 4, 400, 40, 15000)
    assert together(()) == Used(None, None, 0, 0, 0, 0)
