"""One request, and what was tried for it."""

import time
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.analytics import Owner
from proxy.ledger.books import Books
from proxy.ledger.details import read_request
from proxy.storage.schema import attempts
from tests.proxy.ledger.synthetic import request

ONE, TWO = "0" * 31 + "1", "0" * 31 + "2"


def tried(id: str, number: int, **over: Any) -> dict[str, Any]:
    row = {
        "request_id": id, "number": number, "id": f"{id}{number}"[-32:], "created_at": 5,
        "provider_name": "up", "model": "m", "credential": 0, "outcome": "ok",
        "usage_source": "provider", "duration_ms": 7,
    }  # fmt: skip
    return row | over


async def test_a_request_and_its_attempts_in_their_order(engine: AsyncEngine) -> None:
    now = int(time.time() * 1000)
    rows = [request(ONE, now, key_id="k", user_id="u"), request(TWO, now, key_id="l")]
    await Books(engine).write(rows, [])
    async with engine.begin() as connection:
        for each in (tried(ONE, 2), tried(TWO, 1), tried(ONE, 1, outcome="failed")):
            await connection.execute(insert(attempts).values(each))
    for owner in (None, Owner("key", "k"), Owner("user", "u")):
        found = await read_request(engine, ONE, owner)
        assert found is not None
        assert found.request["id"] == ONE
        assert [(a["number"], a["outcome"]) for a in found.attempts] == [(1, "failed"), (2, "ok")]
    for owner in (Owner("key", "l"), Owner("user", "k"), Owner("user", "")):
        assert await read_request(engine, ONE, owner) is None
    assert await read_request(engine, "0" * 32) is None
