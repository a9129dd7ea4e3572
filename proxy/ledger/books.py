"""The books in the database: rows in, idempotent, and the roll-ups with them.

A row that is there already is left alone and counts in no sum, so that what was sent twice is
written and counted once.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Integer, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.inserts import Row, add_up, insert_new
from proxy.ledger.rollups import (
    COLUMNS,
    DIMENSIONS,
    KEY_COLUMNS,
    LONGEST,
    OWNER_COLUMNS,
    OWNER_KEY_COLUMNS,
    added_up,
)
from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS
from proxy.storage.schema import attempts, outbox, owner_rollups, requests, rollups

LARGEST = 10**13  # of what no request has: as nano-dollars 10,000 USD, as a time the year 2286
LARGEST_SMALL = 2**31 - 1
OUTBOX_COLUMNS = ("sink", "request_id")

Limits = tuple[int | None, ...]


def _limits(table: Table, columns: Sequence[str]) -> Limits:
    return tuple(_limit(table.c[name]) for name in columns)


def _limit(column: Column[object]) -> int | None:
    """The largest number of a column, or the longest text; None where anything goes."""
    if isinstance(column.type, BigInteger):
        return LARGEST
    if isinstance(column.type, Integer):
        return LARGEST_SMALL
    return LONGEST if column.name in DIMENSIONS.values() else None


_REQUEST_LIMITS = _limits(requests, REQUEST_COLUMNS)
_ATTEMPT_LIMITS = _limits(attempts, ATTEMPT_COLUMNS)


class Books:
    """The tables of requests and attempts, and the roll-ups of the requests.

    For each of `sinks` a new request is noted in the outbox too: it is in both or in neither.
    """

    def __init__(self, engine: AsyncEngine, sinks: Sequence[str] = ()) -> None:
        self._engine = engine
        self._sinks = sorted(sinks)

    async def write(self, rows: Sequence[Row], tries: Sequence[Row]) -> None:
        """Request rows and attempt rows, in one transaction. Raises `SQLAlchemyError`."""
        try:
            await self._write(rows, tries)
        except (SQLAlchemyError, OverflowError, UnicodeError):  # perhaps of an odd value in a row
            written = [fitted(row, _REQUEST_LIMITS) for row in rows]
            tried = [fitted(row, _ATTEMPT_LIMITS) for row in tries]
            if (written, tried) == (list(rows), list(tries)):
                raise
            await self._write(written, tried)

    async def _write(self, rows: Sequence[Row], tries: Sequence[Row]) -> None:
        written = sorted(rows, key=lambda row: row[0])
        tried = sorted(tries, key=lambda row: row[:2])
        async with self._engine.begin() as connection:
            new = set(await insert_new(connection, requests, REQUEST_COLUMNS, written))
            await insert_new(connection, attempts, ATTEMPT_COLUMNS, tried)
            due = [(sink, request) for sink in self._sinks for request in sorted(new)]
            await insert_new(connection, outbox, OUTBOX_COLUMNS, due)
            sums = added_up(_first_of_each(written, new))
            await add_up(connection, rollups, len(KEY_COLUMNS), COLUMNS, sums.values)
            keys = len(OWNER_KEY_COLUMNS)
            await add_up(connection, owner_rollups, keys, OWNER_COLUMNS, sums.owners)


def _first_of_each(rows: list[Row], ids: set[str]) -> list[Row]:
    """The rows of these ids; of two with one id the first, which is the one that was written."""
    found = []
    for row in rows:
        if row[0] in ids:
            ids.remove(row[0])
            found.append(row)
    return found


def fitted(row: Row, limits: Limits) -> Row:
    """The row as every database takes it.

    One row that a database refuses would hold up all those behind it, and what is in it comes
    from strangers: PostgreSQL knows no NUL in a text, neither knows a number of 70 bits.
    """
    return tuple(map(_fit, row, limits))


def _fit(value: object, limit: int | None) -> object:
    if isinstance(value, str):
        return value.replace("\0", "")[:limit]
    if isinstance(value, int) and limit is not None and not -limit <= value <= limit:
        return limit if value > 0 else -limit
    return value
