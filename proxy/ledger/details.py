"""One request of the books, with all its attempts."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.analytics import GROUPS, Owner
from proxy.storage.schema import attempts, requests


class Details(NamedTuple):
    """A row of `requests`, and its rows of `attempts` in their order."""

    request: RowMapping
    attempts: Sequence[RowMapping]


async def read_request(engine: AsyncEngine, id: str, owner: Owner | None = None) -> Details | None:
    """The request of an id; None where there is none, or none of `owner`. Raises
    `SQLAlchemyError`."""
    query = select(requests).where(requests.c.id == id)
    if owner is not None:
        query = query.where(GROUPS[owner.dimension] == owner.value)
    tried = select(attempts).where(attempts.c.request_id == id).order_by(attempts.c.number)
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        return Details(row, (await connection.execute(tried)).mappings().all())
