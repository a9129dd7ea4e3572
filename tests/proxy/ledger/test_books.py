"""Rows go in once, whatever is sent again."""

from pathlib import Path

from sqlalchemy import func, select

from proxy.ledger.books import Books
from proxy.ledger.rows import attempt_row, request_row
from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests
from tests.proxy.ledger.records import record


async def test_what_is_sent_twice_is_written_once(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    made = record()
    rows, tries = [request_row(made)], [attempt_row(made, made.attempts[0])]
    await Books(engine).write(rows, tries)
    await Books(engine).write(rows, tries)
    async with engine.connect() as connection:
        for table in (requests, attempts):
            count = await connection.execute(select(func.count()).select_from(table))
            assert count.scalar() == 1
    await engine.dispose()
