"""The books, summed; and their rows, page by page."""

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger import analytics
from proxy.ledger.analytics import GROUPS, Chosen, Period, daily, read_rows, summarise
from proxy.ledger.books import Books
from proxy.ledger.rows import REQUEST_COLUMNS, request_row
from proxy.storage.engine import open_database
from proxy.types import Outcome
from tests.proxy.ledger.records import record
from tests.proxy.ledger.synthetic import many, request

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_700_056_800_000 + 1_000_000  # 2023-11-15 14:16:40 UTC
FIELDS = {name: number for number, name in enumerate(REQUEST_COLUMNS)}


@pytest.fixture
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics.time, "time", lambda: NOW / 1000)


def row(at: int, number: int = 0, **over: Any) -> tuple[Any, ...]:
    return request(earliest(at / 1000)[:-4] + f"{number:04x}", at, **over)


async def test_sums(engine: AsyncEngine) -> None:
    assert await summarise(engine, 30) == []
    month_ago = time.time() - 40 * 86_400
    made = (
        record(service="a", duration=1.0, first_token=0.5),
        record(service="a", outcome=Outcome.FAILED, cost_nanousd=None, duration=3.0),
        record(service=None, cost_nanousd=5_000_000),
        record(id=earliest(month_ago), started_at=month_ago),
    )
    await Books(engine).write([request_row(one) for one in made], [])
    (total,) = await summarise(engine, 30)
    assert (total.group, total.requests, total.errors, total.total_tokens) == (None, 3, 1, 45)
    assert (total.cost_usd, total.avg_first_token_ms) == (0.006, 500.0)
    by_service = {group.group: group for group in await summarise(engine, 30, "service")}
    assert (by_service["a"].requests, by_service["a"].avg_latency_ms) == (2, 2000.0)
    assert 2000 / 1.5 <= by_service["a"].p99_ms * 2 / 3 <= 3000
    assert (by_service[None].cost_usd, by_service[None].avg_first_token_ms) == (0.005, None)
    for by in GROUPS:
        assert sum(group.requests for group in await summarise(engine, 60, by)) == 4


@pytest.mark.usefixtures("_at_noon")
def test_a_period_is_hours_up_to_midnight_and_days_from_there() -> None:
    period = Period.last(2)
    assert (
        datetime.fromtimestamp(period.first / 1000, UTC).isoformat() == "2023-11-13T14:00:00+00:00"
    )
    assert (len(period.hours), period.midnight) == (10, period.first + 10 * HOUR)
    assert list(period.days)[:2] == [period.midnight, period.midnight + DAY]


@pytest.mark.usefixtures("_at_noon")
@pytest.mark.parametrize("key_id", [None, "k"])
async def test_the_edges_of_a_period(engine: AsyncEngine, key_id: str | None) -> None:
    start = NOW - 1_000_000 - 2 * DAY
    midnight = start + 10 * HOUR
    times = [start - 1, start, midnight - 1, midnight, midnight + DAY - 1, midnight + DAY, NOW]
    rows = [row(at, number, key_id="k", model=str(number)) for number, at in enumerate(times)]
    await Books(engine).write(rows, [])
    (total,) = await summarise(engine, 2, key_id=key_id)
    assert total.requests == 6
    models = await summarise(engine, 2, "model", key_id)
    assert {group.group for group in models} == {"1", "2", "3", "4", "5", "6"}
    days = [(day.group, day.requests) for day in await daily(engine, 2, key_id)]
    assert days == [("2023-11-13", 2), ("2023-11-14", 2), ("2023-11-15", 2)]
    assert len(await read_rows(engine, Chosen(2, {}, key_id), 100)) == 6


@pytest.mark.usefixtures("_at_noon")
async def test_days_without_requests_are_days(engine: AsyncEngine) -> None:
    await Books(engine).write([row(NOW - 3 * DAY)], [])
    days = [(day.group, day.requests, day.p50_ms) for day in await daily(engine, 4)]
    assert [day[1] for day in days] == [0, 1, 0, 0, 0]
    assert days[-1] == ("2023-11-15", 0, 0.0)


@pytest.fixture
async def filled(engine: AsyncEngine) -> tuple[AsyncEngine, list[tuple[Any, ...]]]:
    """Rows of the last ten days, and the rows themselves."""
    now = int(time.time() * 1000)
    rows = list(many(1200, now - 10 * DAY, now))
    for start in range(0, len(rows), 200):
        await Books(engine).write(rows[start : start + 200], [])
    return engine, rows


async def test_the_groups_of_a_key_are_those_of_its_rows(
    filled: tuple[AsyncEngine, list[tuple[Any, ...]]],
) -> None:
    """By rows and by roll-ups the same comes out: all the key's are one group there."""
    engine, rows = filled
    own = [row for row in rows if row[FIELDS["key_id"]] == "key_7"]
    (whole,) = [group for group in await summarise(engine, 20, "key") if group.group == "key_7"]
    assert whole.requests == len(own) > 10
    assert await summarise(engine, 20, "key", "key_7") == [whole]
    for by, column in (("model", "model"), ("user", "user_id"), ("task", "task_type")):
        groups = await summarise(engine, 20, by, "key_7")
        assert {group.group for group in groups} == {row[FIELDS[column]] for row in own}
        for name in ("requests", "errors", "input_tokens", "cached_tokens", "output_tokens"):
            assert sum(getattr(group, name) for group in groups) == getattr(whole, name)
        assert math.isclose(sum(group.cost_usd for group in groups), whole.cost_usd)
    (first, *_) = await summarise(engine, 20, "model", "key_7")
    times = sorted(r[FIELDS["duration_ms"]] for r in own if r[FIELDS["model"]] == first.group)
    exact = times[math.ceil(len(times) / 2) - 1]
    assert exact / 1.5 - 1 <= first.p50_ms <= 1.5 * exact + 1


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"provider": "provider-3"},
        {"model": "model-2", "outcome": "ok"},
        {"service": "service-9"},
        {"user": "customer-0"},
        {"task": ""},
        {"key": "key_1"},
        {"outcome": "failed"},
        {"model": "nobody's"},
    ],
)
async def test_pages_neither_skip_nor_repeat(
    filled: tuple[AsyncEngine, list[tuple[Any, ...]]], filters: dict[str, str], oldest_first: bool
) -> None:
    engine, rows = filled
    columns = {"provider": "provider_name", "service": "service_name", "user": "user_id"}
    columns |= {"task": "task_type", "key": "key_id"}
    wanted = sorted(
        row[0]
        for row in rows
        if all(
            (row[FIELDS[columns.get(name, name)]] or "") == value for name, value in filters.items()
        )
    )
    seen: list[str] = []
    after = None
    while page := await read_rows(engine, Chosen(20, filters), 17, after, oldest_first):
        assert len(page) <= 17
        seen += [row["id"] for row in page]
        after = seen[-1]
        if not oldest_first:  # what is new meanwhile belongs before the first page
            await Books(engine).write([request_row(record(model="model-2", provider="new"))], [])
    assert seen == (wanted if oldest_first else wanted[::-1])
    assert bool(wanted) is (filters != {"model": "nobody's"})


async def test_another_process_sees_the_same(tmp_path: Path) -> None:
    here = await open_database("sqlite:///t.db", tmp_path)
    there = await open_database("sqlite:///t.db", tmp_path)
    await Books(here).write([request_row(record())], [])
    assert [group.requests for group in await summarise(there, 1)] == [1]
    await here.dispose()
    await there.dispose()
