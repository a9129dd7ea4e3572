"""The quick form of `tests.proxy.ledger.million`: sums of big books are not made of their rows."""

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.analytics import GROUPS, daily, summarise
from tests.proxy.ledger import million

ROWS = 60_000
PATIENCE = 1000  # milliseconds: a scan of the rows would take longer on any machine


@pytest.fixture
async def loaded(engine: AsyncEngine) -> AsyncEngine:
    await million.load(engine, ROWS)
    return engine


async def test_big_books(loaded: AsyncEngine) -> None:
    """One test, as it takes longer to fill the books than to ask all of this."""
    await _sums_are_complete(loaded)
    await _owners_are_not_made_of_their_rows(loaded)
    await _questions_are_quick(loaded)
    await _endpoints_are_quick(loaded)


async def _sums_are_complete(loaded: AsyncEngine) -> None:
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


async def _questions_are_quick(loaded: AsyncEngine) -> None:
    asked: list[str] = []
    event.listen(loaded.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    for name, ask in million.QUESTIONS.items():
        asked.clear()
        assert await million.latency(loaded, ask, 3) < PATIENCE, name
        by_rows = any("FROM requests" in statement for statement in asked)
        if "with rows" not in name:  # from midnight to one there are no hours before the days
            assert by_rows is ("row" in name or name.startswith("…")), name


async def _endpoints_are_quick(loaded: AsyncEngine) -> None:
    app = million.door(loaded)
    for path in million.ENDPOINTS:
        for caller in million.CALLERS:
            took = await million.call(app, path, caller, calls=3)
            assert took.p50 < PATIENCE, (path, caller)
    for form, head in (("jsonl", 0), ("csv", 1)):
        found = await million.export(app, form)
        assert found.rows == ROWS + head
        assert found.grown < 30
        assert found.rows / found.seconds > 2000  # on any machine, whatever else it does


async def _owners_are_not_made_of_their_rows(loaded: AsyncEngine) -> None:
    """A tenth of all is one user's; but for a part of a day none of it is read."""
    asked: list[str] = []
    event.listen(loaded.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    for owner in (million.USER, million.KEY):
        (whole,) = await summarise(loaded, 31, owner=owner)
        assert 0.08 * ROWS < whole.requests < 0.12 * ROWS
        for by in GROUPS:
            groups = await summarise(loaded, 31, by, owner)
            assert sum(group.requests for group in groups) == whole.requests
    for statement in asked:
        if "FROM requests" in statement:
            assert "requests.created_at <" in statement
