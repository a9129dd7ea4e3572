"""Rows for the tests of the sinks."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Usage
from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.storage.schema import outbox
from tests.proxy.ledger.records import record


def told(**over: Any) -> Any:
    """A request with something in every field that is reported."""
    values = {
        "started_at": 1_767_225_600.125,
        "user": "u1",
        "job": "job_1",
        "task": "suggest",
        "service": "web",
        "usage": Usage(10, 7, reasoning=3),
        "cost_nanousd": 1_234_567,
        "duration": 1.5,
        "metadata": {"team": "a"},
    }
    return record(**(values | over))


async def write(engine: AsyncEngine, count: int, sink: str) -> list[str]:
    """The ids of so many requests in the books, which wait for a sink."""
    made = [told() for _ in range(count)]
    await Books(engine, [sink]).write([request_row(one) for one in made], [])
    return sorted(one.id for one in made)  # of one millisecond, some may be made out of order


async def waiting(engine: AsyncEngine, sink: str) -> list[str]:
    """The ids in the outbox, in their order."""
    query = select(outbox.c.request_id).where(outbox.c.sink == sink).order_by(outbox.c.request_id)
    async with engine.connect() as connection:
        return list((await connection.execute(query)).scalars())
