"""Usage over time: each point is what the rows of its step add up to."""

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger import series
from proxy.ledger.analytics import Owner, summarise
from proxy.ledger.books import Books
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.ledger.series import Only, Point
from proxy.storage.engine import open_database
from tests.proxy.ledger.synthetic import many, request

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = 1_700_057_800_000  # 2023-11-15 14:16:40 UTC
FIELDS = {name: number for number, name in enumerate(REQUEST_COLUMNS)}
COLUMN = {
    "provider": "provider_name",
    "model": "model",
    "service": "service_name",
    "user": "user_id",
    "task": "task_type",
    "key": "key_id",
}
STEPS = {"1h": 60, "6h": 300, "24h": 3600, "7d": 3600, "30d": 86_400, "90d": 86_400}
BACK = {"1h": 1, "6h": 6, "24h": 24, "7d": 168, "30d": 720, "90d": 2160}  # hours

Row = tuple[Any, ...]


@pytest.fixture
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW / 1000)


def row(at: int, number: int = 0, **over: Any) -> Row:
    return request(earliest(at / 1000)[:-4] + f"{number:04x}", at, **over)


def by_hand(rows: list[Row], period: str, now: int) -> dict[int, list[Row]]:
    """The rows of each step, by when it begins."""
    step = 1000 * STEPS[period]
    begin = (now - BACK[period] * HOUR) // step * step
    found: dict[int, list[Row]] = {at: [] for at in range(begin, now + 1, step)}
    for one in rows:
        at = one[FIELDS["created_at"]] // step * step
        if at in found:
            found[at].append(one)
    return found


def check(points: list[Point], expected: dict[int, list[Row]]) -> None:
    assert [point.begins for point in points] == list(expected)
    for point, rows in zip(points, expected.values(), strict=True):

        def total(name: str, rows: list[Row] = rows) -> int:
            return sum(one[FIELDS[name]] or 0 for one in rows)

        assert point.requests == len(rows)
        assert point.errors == sum(one[FIELDS["outcome"]] == "failed" for one in rows)
        assert point.cached == total("cached")
        assert point.input_tokens == total("input_tokens")
        assert point.output_tokens == total("output_tokens")
        assert round(point.cost_usd * 1e9) == total("cost_nanousd")
        assert round(point.saved_usd * 1e9) == total("saved_nanousd")
        near(point.p50_ms, 0.5, [one[FIELDS["duration_ms"]] for one in rows])
        near(point.p95_ms, 0.95, [one[FIELDS["duration_ms"]] for one in rows])
        firsts = [one[FIELDS["first_token_ms"]] for one in rows]
        firsts = [each for each in firsts if each is not None]
        mean = round(sum(firsts) / len(firsts), 1) if firsts else None
        assert point.avg_first_token_ms == mean
        near(point.p50_first_token_ms, 0.5, firsts)
        near(point.p95_first_token_ms, 0.95, firsts)


def near(found: float | None, share: float, values: list[int]) -> None:
    """A percentile is at most half as much again as the exact one, or a third too little."""
    if not values:
        assert found is None
        return
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found is not None
    assert exact / 1.5 - 1 <= found <= 1.5 * exact + 1


@pytest.fixture
async def filled(engine: AsyncEngine) -> tuple[AsyncEngine, list[Row], int]:
    """Some rows of a hundred days, most of them of the last hours; the rows, and the time."""
    now = int(time.time() * 1000)
    rows = list(many(300, now - 100 * DAY, now - DAY))
    rows += many(300, now - DAY, now - HOUR, seed=2)
    rows += many(300, now - HOUR, now, seed=3)
    await Books(engine).write(rows, [])
    return engine, rows, now


CHOSEN: list[tuple[Owner | None, Only | None]] = [
    (None, None),
    (Owner("user", "customer-0"), None),
    (Owner("key", "key_0"), None),
    (None, Only("provider", "provider-2")),
    (None, Only("service", "service-3")),
    (None, Only("user", "customer-0")),
    (None, Only("task", "")),
    (Owner("user", "customer-0"), Only("key", "key_0")),
    (Owner("key", "key_0"), Only("model", "model-1")),
    (Owner("key", "key_0"), Only("task", "")),
    (Owner("key", "key_0"), Only("key", "key_0")),
]


@pytest.mark.parametrize("period", list(STEPS))
async def test_each_point_is_the_sum_of_its_rows(
    filled: tuple[AsyncEngine, list[Row], int], period: str
) -> None:
    engine, rows, _ = filled
    some = 0
    for owner, only in CHOSEN:
        wanted = [each for each in (owner, only) if each is not None]
        own = [
            one
            for one in rows
            if all((one[FIELDS[COLUMN[name]]] or "") == value for name, value in wanted)
        ]
        before = int(time.time() * 1000)
        found = await series.series(engine, period, owner, only)
        if before // MINUTE != int(time.time() * 1000) // MINUTE:  # the clock went on between
            before = int(time.time() * 1000)
            found = await series.series(engine, period, owner, only)
        assert found.step == 1000 * STEPS[period]
        check(found.points, by_hand(own, period, before))
        some += sum(point.requests for point in found.points) > 0
    assert some > 8


@pytest.mark.usefixtures("_at_noon")
async def test_the_steps_of_a_period(engine: AsyncEngine) -> None:
    assert datetime.fromtimestamp(NOW / 1000, UTC).isoformat() == "2023-11-15T14:16:40+00:00"
    for period, first, last, many_ in (
        ("1h", "2023-11-15T13:16:00", "2023-11-15T14:16:00", 61),
        ("6h", "2023-11-15T08:15:00", "2023-11-15T14:15:00", 73),
        ("24h", "2023-11-14T14:00:00", "2023-11-15T14:00:00", 25),
        ("7d", "2023-11-08T14:00:00", "2023-11-15T14:00:00", 169),
        ("30d", "2023-10-16T00:00:00", "2023-11-15T00:00:00", 31),
        ("90d", "2023-08-17T00:00:00", "2023-11-15T00:00:00", 91),
    ):
        found = await series.series(engine, period)
        times = [
            datetime.fromtimestamp(p.begins / 1000, UTC).isoformat()[:19] for p in found.points
        ]
        assert (times[0], times[-1], len(times)) == (first, last, many_)
        assert {tuple(point)[1:] for point in found.points} == {
            (0, 0, 0, 0, 0, 0.0, 0.0, None, None, None, None, None)
        }


@pytest.mark.usefixtures("_at_noon")
@pytest.mark.parametrize("owner", [None, Owner("key", "k")])
async def test_the_edges_of_a_minute(engine: AsyncEngine, owner: Owner | None) -> None:
    begin = NOW // MINUTE * MINUTE - HOUR
    times = [begin - 1, begin, begin + MINUTE - 1, begin + MINUTE, NOW]
    await Books(engine).write([row(at, n, key_id="k") for n, at in enumerate(times)], [])
    points = (await series.series(engine, "1h", owner)).points
    assert [point.requests for point in points] == [2, 1, *[0] * 58, 1]


@pytest.mark.parametrize(("period", "days"), [("24h", 1), ("7d", 7)])
async def test_hours_add_up_to_the_summary(
    filled: tuple[AsyncEngine, list[Row], int], period: str, days: int
) -> None:
    engine, _, _ = filled
    for owner in (None, Owner("user", "customer-0"), Owner("key", "key_0")):
        points = (await series.series(engine, period, owner)).points
        (total,) = await summarise(engine, days, owner=owner)
        assert sum(point.requests for point in points) == total.requests > 0
        assert sum(point.output_tokens for point in points) == total.output_tokens
        assert math.isclose(sum(point.cost_usd for point in points), total.cost_usd)


async def test_of_somebody_else_there_is_nothing(
    filled: tuple[AsyncEngine, list[Row], int],
) -> None:
    engine, _, _ = filled
    for owner, only in (
        (Owner("user", "customer-0"), Only("user", "customer-1")),
        (Owner("user", "nobody"), Only("model", "model-1")),
        (Owner("key", "key_0"), Only("key", "")),
    ):
        for period in STEPS:
            found = await series.series(engine, period, owner, only)
            assert found.step == 1000 * STEPS[period]
            assert {point.requests for point in found.points} == {0}


async def test_of_many_rows_none_is_read(
    filled: tuple[AsyncEngine, list[Row], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the steps are those of the roll-ups, and nobody knows percentiles of first tokens."""
    engine, rows, _ = filled
    monkeypatch.setattr(series, "MOST_ROWS", 200)
    monkeypatch.setattr(series, "MOST_OWNED", 3)
    asked = statements(engine)
    owner, only = Owner("key", "key_0"), Only("model", "model-1")
    for who, what, period, step in (
        (None, None, "1h", 3600),
        (None, only, "6h", 3600),
        (owner, None, "1h", 3600),
        (owner, only, "6h", 86_400),
        (owner, only, "7d", 86_400),
        (owner, only, "30d", 86_400),
    ):
        found = await series.series(engine, period, who, what)
        assert found.step == 1000 * step
        assert {point.p95_first_token_ms for point in found.points} == {None}
    assert not [sql for sql in asked if "FROM requests" in sql]
    hours = (await series.series(engine, "1h")).points
    begin = hours[0].begins
    assert sum(point.requests for point in hours) == sum(
        one[FIELDS["created_at"]] >= begin for one in rows
    )


def statements(engine: AsyncEngine) -> list[str]:
    """What the engine is asked from now on."""
    said: list[str] = []

    def note(*given: Any) -> None:
        said.append(given[2])

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    return said


async def test_rows_are_found_by_an_index(tmp_path: Path) -> None:
    """SQLite says how it looks for them: in a range of ids, by the primary key or an owner's."""
    engine = await open_database("sqlite:///t.db", tmp_path)
    for owner, only, index in (
        (None, None, "PRIMARY KEY (id>? AND id<?)"),
        (None, Only("model", "m"), "PRIMARY KEY (id>? AND id<?)"),
        (None, Only("user", "u"), "INDEX requests_by_user (user_id=? AND id>? AND id<?)"),
        (Owner("key", "k"), None, "INDEX requests_by_key (key_id=? AND id>? AND id<?)"),
        (
            Owner("user", "u"),
            Only("model", "m"),
            "INDEX requests_by_user (user_id=? AND id>? AND id<?)",
        ),
    ):
        for plan in await plans(engine, owner, only):
            found = [step for step in plan if "requests" in step]
            assert found == [f"SEARCH requests USING {index}"], plan
    await engine.dispose()


async def plans(engine: AsyncEngine, owner: Owner | None, only: Only | None) -> list[list[str]]:
    said: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        if "FROM requests" in given[2]:
            said.append((given[2], given[3]))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    for period in ("1h", "24h"):
        await series.series(engine, period, owner, only)
    event.remove(engine.sync_engine, "before_cursor_execute", note)
    assert said
    found = []
    async with engine.connect() as connection:
        for sql, values in said:
            rows = await connection.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, values)
            found.append([str(tuple(each)[-1]) for each in rows])
    return found
