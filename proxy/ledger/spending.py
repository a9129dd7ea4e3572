"""What each key or user has cost since a time, from the books: a budget outlives the process."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.schema import rollups


async def spent(engine: AsyncEngine, since: float, dimension: str = "key") -> dict[str, int]:
    """Nano-dollars by key, or by user, since the UTC day that begins at `since` (epoch seconds).

    `dimension` is `key` or `user`.
    """
    table = rollups.c
    query = (
        select(table.value, func.sum(table.cost_nanousd))
        .where(
            table.grain == "day", table.dimension == dimension, table.bucket >= int(1000 * since)
        )
        .group_by(table.value)
    )
    async with engine.connect() as connection:
        return {row[0]: int(row[1]) for row in await connection.execute(query) if row[0]}
