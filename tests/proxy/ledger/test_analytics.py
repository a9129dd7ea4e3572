"""The books, summed; and their rows, page by page."""

import math
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.keys import KeyStore
from proxy.ledger import analytics
from proxy.ledger.analytics import (
    GROUPS,
    Chosen,
    Owner,
    Period,
    daily,
    owns_key,
    read_rows,
    summarise,
)
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
@pytest.mark.parametrize("owner", [None, Owner("key", "k"), Owner("user", "u")])
async def test_the_edges_of_a_period(engine: AsyncEngine, owner: Owner | None) -> None:
    start = NOW - 1_000_000 - 2 * DAY
    midnight = start + 10 * HOUR
    times = [start - 1, start, midnight - 1, midnight, midnight + DAY - 1, midnight + DAY, NOW]
    rows = [
        row(at, number, key_id="k", user_id="u", model=str(number))
        for number, at in enumerate(times)
    ]
    await Books(engine).write(rows, [])
    (total,) = await summarise(engine, 2, owner=owner)
    assert total.requests == 6
    models = await summarise(engine, 2, "model", owner)
    assert {group.group for group in models} == {"1", "2", "3", "4", "5", "6"}
    days = [(day.group, day.requests) for day in await daily(engine, 2, owner)]
    assert days == [("2023-11-13", 2), ("2023-11-14", 2), ("2023-11-15", 2)]
    assert len(await read_rows(engine, Chosen(2, {}, owner), 100)) == 6


@pytest.mark.parametrize("hour", range(24))
async def test_an_owners_first_day_at_every_hour(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, hour: int
) -> None:
    """A request each half hour of three days, each of another model: 48 are in a day and a part."""
    midnight = NOW // DAY * DAY
    now = midnight + hour * HOUR + 5
    monkeypatch.setattr(analytics.time, "time", lambda: now / 1000)
    times = [midnight - 2 * DAY + half * HOUR // 2 for half in range(3 * 48)]
    long = "x" * 300
    rows = [
        row(at, number, user_id="u", model=f"m{number}", service_name=long)
        for number, at in enumerate(times)
        if at <= now
    ]
    await Books(engine).write(rows, [])
    first = (now - DAY) // HOUR * HOUR
    wanted = {f"m{number}" for number, at in enumerate(times) if first <= at <= now}
    assert len(wanted) == 49
    found = await summarise(engine, 1, "model", Owner("user", "u"))
    assert {group.group: group.requests for group in found} == dict.fromkeys(wanted, 1)
    assert {group.p50_ms for group in found} == {1.0}
    (service,) = await summarise(engine, 1, "service", Owner("user", "u"))
    assert (service.group, service.requests) == ("x" * 256, 49)


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


COLUMN = {
    "provider": "provider_name",
    "model": "model",
    "service": "service_name",
    "user": "user_id",
    "task": "task_type",
    "key": "key_id",
}


@pytest.mark.parametrize("owner", [Owner("key", "key_7"), Owner("user", "customer-0")])
async def test_the_groups_of_an_owner_are_those_of_its_rows(
    filled: tuple[AsyncEngine, list[tuple[Any, ...]]], owner: Owner
) -> None:
    engine, rows = filled
    own = [row for row in rows if row[FIELDS[COLUMN[owner.dimension]]] == owner.value]
    every = await summarise(engine, 20, owner.dimension)
    (whole,) = [group for group in every if group.group == owner.value]
    assert whole.requests == len(own) > 10
    assert await summarise(engine, 20, owner.dimension, owner) == [whole]
    for by, column in COLUMN.items():
        groups = await summarise(engine, 20, by, owner)
        counts = Counter(row[FIELDS[column]] for row in own)
        assert {group.group: group.requests for group in groups} == counts
        costs = Counter[Any]()
        for one in own:
            costs[one[FIELDS[column]]] += one[FIELDS["cost_nanousd"]] or 0
        assert all(math.isclose(g.cost_usd, costs[g.group] / 1e9) for g in groups)
        for name in ("errors", "input_tokens", "cached_tokens", "output_tokens"):
            assert sum(getattr(group, name) for group in groups) == getattr(whole, name)
        plain = await summarise(engine, 20, by, owner, percentiles=False)
        assert [(g.group, g.requests) for g in plain] == [(g.group, g.requests) for g in groups]
        assert by == owner.dimension or {g.p50_ms for g in plain} == {None}
    (first, *_) = await summarise(engine, 20, "model", owner)
    times = sorted(r[FIELDS["duration_ms"]] for r in own if r[FIELDS["model"]] == first.group)
    exact = times[math.ceil(len(times) / 2) - 1]
    assert exact / 1.5 - 1 <= first.p50_ms <= 1.5 * exact + 1


@pytest.mark.parametrize("owner", [None, Owner("key", "key_0")])
async def test_the_dearest_are_those_of_all(
    filled: tuple[AsyncEngine, list[tuple[Any, ...]]], owner: Owner | None
) -> None:
    engine, _ = filled
    every = await summarise(engine, 20, "user", owner)
    assert len(every) > 20
    for most in (1, 7, 500):
        assert await summarise(engine, 20, "user", owner, most=most) == every[:most]


async def test_of_nobody_there_is_nothing(engine: AsyncEngine) -> None:
    await Books(engine).write([row(int(time.time() * 1000), key_id="k")], [])
    for owner in (Owner("user", "k"), Owner("key", "K"), Owner("key", "k%")):
        for by in (None, *GROUPS):
            assert await summarise(engine, 2, by, owner) == []
        assert {day.requests for day in await daily(engine, 2, owner)} == {0}


async def test_whose_a_key_is(engine: AsyncEngine) -> None:
    store = KeyStore(engine, b"d" * 32)
    hers, nobodys = await store.create(user_id="ann"), await store.create()
    assert await owns_key(engine, "ann", hers.id)
    assert not await owns_key(engine, "bob", hers.id)
    assert not await owns_key(engine, "ann", nobodys.id)
    assert not await owns_key(engine, "ann", "key_none")


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
