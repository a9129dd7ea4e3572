"""The books in the database: rows in, idempotent.

A row that is there already is left alone, so that what was sent twice is written once.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.inserts import Row, insert_new
from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS
from proxy.storage.schema import attempts, requests


class Books:
    """The tables of requests and attempts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, rows: Sequence[Row], tries: Sequence[Row]) -> None:
        """Request rows and attempt rows, in one transaction. Raises `SQLAlchemyError`."""
        async with self._engine.begin() as connection:
            await insert_new(connection, requests, REQUEST_COLUMNS, rows)
            await insert_new(connection, attempts, ATTEMPT_COLUMNS, tries)
