"""Old rows are deleted, a few at a time; the roll-ups stay."""

import asyncio
import time

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ids import earliest
from proxy.storage.schema import attempts, requests

BATCH = 500  # rows of one transaction
PAUSE = 0.05  # seconds between two, in which others write


async def sweep(engine: AsyncEngine, retention_seconds: float) -> int:
    """Deletes the requests that are older, with their attempts; gives the number of requests.

    Raises `SQLAlchemyError`; what was deleted until then stays deleted.
    """
    limit = earliest(time.time() - retention_seconds)
    swept = 0
    while True:
        async with engine.begin() as connection:
            end = await _end_of_batch(connection, limit)
            gone = await connection.execute(delete(requests).where(requests.c.id < end))
            await connection.execute(delete(attempts).where(attempts.c.request_id < end))
        swept += gone.rowcount
        if end == limit:
            return swept
        await asyncio.sleep(PAUSE)


async def _end_of_batch(connection: AsyncConnection, limit: str) -> str:
    """The id before which there are `BATCH` rows; the limit itself when there are fewer."""
    old = select(requests.c.id).where(requests.c.id < limit).order_by(requests.c.id)
    found = (await connection.execute(old.offset(BATCH).limit(1))).scalar()
    return found or limit
