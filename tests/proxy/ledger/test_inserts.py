"""Many rows in few statements, none twice."""

from pathlib import Path

import pytest
from sqlalchemy import event, func, select

from proxy.ledger.inserts import insert_new, statement
from proxy.ledger.rows import REQUEST_COLUMNS, request_row
from proxy.storage.engine import open_database
from proxy.storage.schema import requests
from tests.proxy.ledger.records import record


def test_a_statement_has_a_mark_a_value() -> None:
    text = statement(requests, REQUEST_COLUMNS, 3)
    assert text.count("?") == 3 * len(REQUEST_COLUMNS)
    assert "ON CONFLICT DO NOTHING" in text


@pytest.mark.parametrize(("rows", "statements"), [(0, 0), (1, 1), (9, 9), (50, 1), (163, 7)])
async def test_rows_and_statements(tmp_path: Path, rows: int, statements: int) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
    made = [request_row(record()) for _ in range(rows)]
    async with engine.begin() as connection:
        await insert_new(connection, requests, REQUEST_COLUMNS, made)
    assert len(sent) == statements
    async with engine.begin() as connection:
        await insert_new(connection, requests, REQUEST_COLUMNS, made)
        counted = await connection.execute(select(func.count()).select_from(requests))
        assert counted.scalar() == rows
    await engine.dispose()
