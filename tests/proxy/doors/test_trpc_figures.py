"""The books as the router's API reads them: whose they are, who served a model, what will come."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.doors import trpc_figures
from proxy.doors.owners import own_of
from proxy.doors.trpc_figures import Kept, LedgerFigures
from proxy.errors import DatabaseUnavailable, Forbidden
from proxy.ledger.analytics import Owner
from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.storage.engine import open_database
from proxy.types import Principal, Role
from tests.proxy.ledger.records import record


@pytest.mark.parametrize(
    ("principal", "owner"),
    [
        (Principal(Role.ADMIN, user_id="u"), None),
        (Principal(Role.SERVICE), None),
        (Principal(Role.USER, user_id="u"), Owner("user", "u")),
        (Principal(Role.KEY, "k"), Owner("key", "k")),
        (Principal(Role.KEY, "k", "u"), Owner("key", "k")),
    ],
)
def test_whose_figures(principal: Principal, owner: Owner | None) -> None:
    assert own_of(principal) == owner


@pytest.mark.parametrize("role", [Role.ANONYMOUS, Role.USER, Role.KEY])
def test_who_is_nobody_sees_nothing(role: Role) -> None:
    with pytest.raises(Forbidden):
        own_of(Principal(role))


def of(key: str, user: str | None = None, **over: Any) -> Any:
    return request_row(record(principal=Principal(Role.KEY, key, user), user=user, **over))


@pytest.fixture
async def figures(engine: AsyncEngine) -> LedgerFigures:
    """Ten requests: six of key a, three of key b of user u, and one of Turnout's own."""
    rows = [
        *(of("a", model="m", provider="one") for _ in range(2)),
        *(of("a", model="m", provider="two") for _ in range(3)),
        of("a", model="n", provider="two", cached=True, saved_nanousd=5_000_000),
        of("b", "u", model="m", provider="one"),
        of("b", "u", model="m", provider="one", cached=True, saved_nanousd=2_000_000),
        of("b", "u", model=None, provider=None),
        request_row(record(principal=None, service="turnout:shadow", model="m", provider="one")),
    ]
    await Books(engine).write(rows, [])
    return LedgerFigures(lambda: engine)


A, B, U = Owner("key", "a"), Owner("key", "b"), Owner("user", "u")


async def test_who_served_most_of_a_model(figures: LedgerFigures) -> None:
    assert await figures.providers_of(None, 7, ["m", "n"]) == {"m": "one", "n": "two"}
    assert await figures.providers_of(A, 7, ["m"]) == {"m": "two"}
    assert await figures.providers_of(B, 7, ["m"]) == {"m": "one"}
    assert await figures.providers_of(U, 7, ["m", "gone"]) == {"m": "one", "gone": ""}
    assert await figures.providers_of(None, 7, []) == {}


async def test_a_model_that_is_not_among_the_newest_rows(
    figures: LedgerFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trpc_figures, "SAMPLE", 1)
    assert await figures.providers_of(A, 7, ["m", "n"]) == {"m": "two", "n": "two"}


async def test_what_was_kept(figures: LedgerFigures) -> None:
    assert await figures.kept(None, 7) == Kept(9, 2, 0.007)
    assert await figures.kept(A, 7) == Kept(6, 1, 0.005)
    assert await figures.kept(U, 365) == Kept(3, 1, 0.002)
    assert await figures.kept(Owner("key", "nobody"), 7) == Kept(0, 0, 0.0)


def test_rates() -> None:
    assert (Kept(4, 1, 0.0).misses, Kept(4, 1, 0.0).hit_rate) == (3, 0.25)
    assert Kept(0, 0, 0.0).hit_rate == 0.0


async def test_groups_and_days_of_one(figures: LedgerFigures) -> None:
    found = {each.group: each.requests for each in await figures.groups(A, 7, "provider")}
    assert found == {"one": 2, "two": 4}
    mine = {each.group: each.requests for each in await figures.groups(U, 7, "model")}
    assert mine == {"m": 2, None: 1}
    assert sum(day.requests for day in await figures.daily(B, 1)) == 3


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///books.db", tmp_path)
    async with engine.begin() as connection:
        for table in ("rollups", "owner_rollups", "requests"):
            await connection.exec_driver_sql(f"DROP TABLE {table}")
    away = LedgerFigures(lambda: engine)
    try:
        for asked in (
            away.daily(None, 7),
            away.groups(A, 7, "model"),
            away.kept(None, 7),
            away.providers_of(None, 7, ["m"]),
            away.forecast(None, 7),
        ):
            with pytest.raises(DatabaseUnavailable):
                await asked
    finally:
        await engine.dispose()


async def test_a_forecast_is_of_the_owner(figures: LedgerFigures) -> None:
    for owner, cost in ((None, 0.01), (A, 0.006), (U, 0.003), (Owner("key", "nobody"), 0.0)):
        found = await figures.forecast(owner, 3)
        assert found.month_to_date == pytest.approx(cost)
        assert len(found.days) == 3
