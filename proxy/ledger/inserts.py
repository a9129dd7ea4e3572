"""Many rows in few statements.

SQLite's driver lets go of the interpreter lock for each statement and has to win it back. Row by
row under load that cost a request 40 µs and a context switch; with fifty rows a statement a
tenth of it. The statements are SQLAlchemy's own, compiled once for each number of rows.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

SIZES = (50, 10, 1)  # rows a statement; SQLite takes 32,766 values, a row has 30

DIALECT = sqlite.dialect(paramstyle="qmark")

Row = tuple[Any, ...]


async def insert_new(
    connection: AsyncConnection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Inserts rows given in the order of `columns`; one that is there already is left alone."""
    for part in _parts(rows):
        values = tuple(chain.from_iterable(part))
        await connection.exec_driver_sql(statement(table, columns, len(part)), values)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


@cache
def statement(table: Table, columns: tuple[str, ...], rows: int) -> str:
    """The INSERT of so many rows, with a question mark a value."""
    one = insert(table).values(dict.fromkeys(columns)).on_conflict_do_nothing()
    compiled = one.compile(dialect=DIALECT)
    assert compiled.positiontup is not None
    assert tuple(compiled.positiontup) == columns, "the table's order is the row's order"
    marks = f"({', '.join('?' * len(columns))})"
    head, found, tail = str(compiled).partition(marks)
    assert found
    return head + ", ".join([marks] * rows) + tail
