"""The days that a forecast is made of, out of the books; and the same by other prices."""

import time
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Usage
from proxy.ids import earliest
from proxy.ledger import outlook
from proxy.ledger.analytics import Owner
from proxy.ledger.books import Books
from proxy.ledger.forecast import Estimate
from proxy.ledger.outlook import DayUse, Past, forecast_cost, forecast_of, past_of, repriced
from tests.proxy.ledger.synthetic import request

DAY = 86_400_000
NOON = 1_776_772_800_000  # 2026-04-21 12:00 UTC
FLAT = 2_000_000_000


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert datetime.fromtimestamp(NOON / 1000, UTC) == datetime(2026, 4, 21, 12, tzinfo=UTC)
    monkeypatch.setattr(outlook.time, "time", lambda: NOON / 1000)


def row(at: int, number: int, **over: Any) -> tuple[Any, ...]:
    return request(earliest(at / 1000)[:-4] + f"{number:04x}", at, **over)


@pytest.fixture
async def filled(engine: AsyncEngine) -> AsyncEngine:
    """Two dollars a day of ann's by key k, one of bob's, for the last 20 days and half of today."""
    rows = []
    for day in range(21):
        at = NOON - day * DAY
        rows.append(row(at, 1, user_id="ann", key_id="k", cost_nanousd=FLAT, input_tokens=10))
        rows.append(row(at, 2, user_id="bob", cost_nanousd=FLAT // 2, output_tokens=4, cached=True))
    rows.append(row(NOON - 181 * DAY, 3, user_id="ann", cost_nanousd=10**12))
    await Books(engine).write(rows, [])
    return engine


async def test_the_past(filled: AsyncEngine) -> None:
    past = await past_of(filled, None)
    assert (len(past.days), past.today) == (180, date(2026, 4, 21))
    assert past.so_far == DayUse(3_000_000_000, 2, 1, Usage(10, 4))
    assert past.days[-20:] == [past.so_far] * 20
    assert past.days[:-20] == [DayUse()] * 160
    ann = await past_of(filled, Owner("user", "ann"))
    assert {use.cost_nanousd for use in ann.days} == {0, FLAT}
    assert await past_of(filled, Owner("key", "k")) == ann
    assert {use.requests for use in (await past_of(filled, Owner("key", "ann"))).days} == {0}


async def test_the_cost_of_an_owner(filled: AsyncEngine) -> None:
    found = await forecast_cost(filled, Owner("user", "bob"), 30)
    assert (found.history_days, found.month_to_date) == (20, 21.0)
    assert found.month.expected == pytest.approx(30.0)
    assert [day.cost.expected for day in found.days] == pytest.approx([1.0] * 30)
    assert (await forecast_cost(filled, Owner("user", "eve"), 7)).month == Estimate(0, 0, 0)
    everybody = await forecast_cost(filled, None, 7)
    assert everybody.month.expected == pytest.approx(90.0)


def price(usage: Usage) -> int | None:
    """One nano-dollar a token in, ten a token out, and dearer above 1,000 in; 500 a picture."""
    return (
        usage.prompt * (1 if usage.prompt <= 1000 else 9)
        + 10 * usage.completion
        + (500 * usage.images)
    )


def past(*days: DayUse) -> Past:
    return Past(days, DayUse(), date(2026, 4, 21))


def test_other_prices() -> None:
    use = DayUse(777, 4, 0, Usage(3200, 400, images=3))
    other = repriced(past(use, DayUse()), price)
    assert other is not None
    assert [day.cost_nanousd for day in other.days] == [3200 + 4000 + 1500, 0]
    assert other.days[0].usage == use.usage


def test_kept_answers_cost_nothing() -> None:
    other = repriced(past(DayUse(777, 4, 1, Usage(3200, 400))), price)
    assert other is not None
    assert other.days[0].cost_nanousd == (3200 + 4000) * 3 // 4


def test_a_price_that_nobody_knows() -> None:
    assert repriced(past(DayUse(1, 1, 0, Usage(5))), lambda _: None) is None


async def test_a_forecast_takes_no_time_that_others_would_miss() -> None:
    uses = past(*[DayUse(FLAT + day) for day in range(180)])
    began = time.perf_counter()
    found = await forecast_of(uses, 365)
    assert time.perf_counter() - began < 1
    assert len(found.days) == 365
