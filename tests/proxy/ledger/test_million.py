"""The quick form of `tests.proxy.ledger.million`: sums of big books are not made of their rows."""

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.analytics import GROUPS, daily, summarise
from tests.proxy.ledger import million

ROWS = 200_000
PATIENCE = 1000  # milliseconds: a scan of the rows would take longer on any machine


@pytest.fixture
async def loaded(engine: AsyncEngine) -> AsyncEngine:
    await million.load(engine, ROWS)
    return engine


async def test_big_books(loaded: AsyncEngine) -> None:
    (total,) = await summarise(loaded, 31)
    assert total.requests == ROWS
    for by in GROUPS:
        groups = await summarise(loaded, 31, by)
        assert sum(group.requests for group in groups) == ROWS
        assert sum(group.input_tokens for group in groups) == total.input_tokens
    assert len(await summarise(loaded, 31, "model")) == 20
    assert len(await summarise(loaded, 31, "service")) == 50
    assert len(await summarise(loaded, 31, "user")) == 1000
    assert sum(day.requests for day in await daily(loaded, 31)) == ROWS
    asked: list[str] = []
    event.listen(loaded.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    for name, ask in million.QUESTIONS.items():
        asked.clear()
        assert await million.latency(loaded, ask, 3) < PATIENCE, name
        by_rows = any("FROM requests" in statement for statement in asked)
        assert by_rows is ("row" in name or name.startswith("…")), name
