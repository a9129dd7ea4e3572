"""What the books say: sums from the roll-ups, and the rows themselves by pages.

The last N days begin at a full hour: the hours up to midnight (UTC) are summed by hour, all after
by day, so that a year is some four hundred roll-ups for each value. What no roll-up has, the
groups of one key, is summed from that key's rows.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, RowMapping, Select, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger.rollups import DAY, DIMENSIONS, EDGES, HOUR, percentile
from proxy.storage.schema import HISTOGRAM, SUMS, requests, rollups

GROUPS = {name: requests.c[column] for name, column in DIMENSIONS.items() if column}
"""What the books can be summed by, and the column of the rows that says so."""

FILTERS: Mapping[str, ColumnElement[Any]] = {**GROUPS, "outcome": requests.c.outcome}
"""What rows can be chosen by."""

SLACK = 60  # seconds by which an id may be older than the time that its row was begun

_NONE = [0] * (len(SUMS) + len(HISTOGRAM))

Sums = dict[str | int, list[int]]


@dataclass(frozen=True, slots=True)
class Period:
    """Times in epoch milliseconds: `first` begins an hour, `midnight` the first whole day."""

    first: int
    midnight: int
    now: int

    @classmethod
    def last(cls, days: int) -> "Period":
        now = int(time.time() * 1000)
        first = (now - days * DAY) // HOUR * HOUR
        return cls(first, -(-first // DAY) * DAY, now)

    @property
    def hours(self) -> range:
        return range(self.first, self.midnight, HOUR)

    @property
    def days(self) -> range:
        """Into tomorrow: another process's clock may be ahead."""
        return range(self.midnight, self.now + DAY + 1, DAY)


@dataclass(frozen=True, slots=True)
class Summary:
    """Requests of one group. Cost in USD, times in milliseconds; `group` None is 'none given'.

    The average to the first token is of those that have one. Percentiles of the duration are
    estimates; `proxy.ledger.rollups` says how good. They are None when they were not asked for.
    """

    group: str | None
    requests: int
    errors: int
    cached: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    images: int
    cost_usd: float
    saved_usd: float
    avg_latency_ms: float
    avg_first_token_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


async def summarise(
    engine: AsyncEngine,
    days: int,
    by: str | None = None,
    key_id: str | None = None,
    percentiles: bool = True,
) -> list[Summary]:
    """The requests of the last `days` days, by one of `GROUPS` or all together; dearest first.

    With `key_id` only those of that key. Of a thousand groups percentiles take half the time.
    """
    period = Period.last(days)
    if key_id is None:
        sums = await _of_groups(engine, period, by or "all", percentiles)
    elif by in (None, "key"):
        sums = _together(key_id, await _of_value(engine, period, "key", key_id))
    else:
        sums = await _of_rows(engine, period, by, key_id)
    found = [_summary(str(group) or None if by else None, row) for group, row in sums.items()]
    return sorted(found, key=lambda s: (-s.cost_usd, -s.requests, s.group or ""))


async def daily(engine: AsyncEngine, days: int, key_id: str | None = None) -> list[Summary]:
    """The same day by day, oldest first, with the days on which nothing was asked.

    `group` is the date (UTC). The first day is the part of it that belongs to the period.
    """
    period = Period.last(days)
    dimension, value = ("all", "") if key_id is None else ("key", key_id)
    sums = await _of_value(engine, period, dimension, value)
    starts = range(period.first // DAY * DAY, period.now + 1, DAY)
    return [_summary(_date(day), sums.get(day, _NONE)) for day in starts]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of the last `days` days that fit all the filters given, by names of `FILTERS`; an
    empty text asks for rows that have none. With `key_id` only those of that key."""

    days: int
    filters: Mapping[str, str]
    key_id: str | None = None

    def values(self) -> list[tuple[str, str]]:
        """Names of `FILTERS` and what they must be."""
        own = [] if self.key_id is None else [("key", self.key_id)]
        return [*self.filters.items(), *own]


async def read_rows(
    engine: AsyncEngine,
    chosen: Chosen,
    limit: int,
    after: str | None = None,
    oldest_first: bool = False,
) -> Sequence[RowMapping]:
    """At most `limit` of the chosen rows, newest or oldest first, from behind the id `after`."""
    table = requests.c
    period = Period.last(chosen.days)
    span = await _span(engine, period, chosen.values())
    query = select(requests).where(*_within(period, span))
    for name, value in chosen.values():
        column = FILTERS[name]
        query = query.where(column == value if value else column.is_(None))
    if after is not None:
        query = query.where(table.id > after if oldest_first else table.id < after)
    query = query.order_by(table.id if oldest_first else table.id.desc()).limit(limit)
    async with engine.connect() as connection:
        return (await connection.execute(query)).mappings().all()


async def _span(
    engine: AsyncEngine, period: Period, values: Iterable[tuple[str, str]]
) -> tuple[int, int]:
    """From when to when there can be rows with these values; empty when there are none.

    Only few columns have an index. The roll-ups know on which days a value was seen, and so a
    rare one is not looked for in all the rows there are.
    """
    first, last = period.first, period.now + DAY
    for dimension, value in values:
        if dimension in GROUPS:
            queries = _by_bucket(period, dimension, value, (rollups.c.bucket,))
            seen = [row[0] for row in await _fetch(engine, queries)]
            first, last = max(first, min(seen, default=last)), min(last, max(seen, default=0) + DAY)
    return first, last


def _within(period: Period, span: tuple[int, int]) -> tuple[ColumnElement[bool], ...]:
    """Ids find the rows, the time they were begun decides: the roll-ups go by it too."""
    table = requests.c
    near, far = (
        earliest(max(0, at / 1000 + slack)) for at, slack in zip(span, (-SLACK, SLACK), strict=True)
    )
    return table.id >= near, table.id < far, table.created_at >= period.first


async def _of_groups(
    engine: AsyncEngine, period: Period, dimension: str, percentiles: bool
) -> Sums:
    """The roll-ups of a dimension, by value; without percentiles the histogram is left out."""
    names = (*SUMS, *HISTOGRAM) if percentiles else SUMS
    bucket, value = rollups.c.bucket, rollups.c.value
    until = {"hour": bucket < period.midnight, "day": bucket >= period.midnight}
    queries = [
        select(value, *(func.sum(rollups.c[name]) for name in names))
        .where(rollups.c.grain == grain, rollups.c.dimension == dimension)
        .where(bucket >= period.first, edge)
        .group_by(value)
        for grain, edge in until.items()
    ]
    return _merged(await _fetch(engine, queries))


async def _of_value(engine: AsyncEngine, period: Period, dimension: str, value: str) -> Sums:
    """The roll-ups of one value, by day."""
    columns = [rollups.c[name] for name in ("bucket", *SUMS, *HISTOGRAM)]
    rows = await _fetch(engine, _by_bucket(period, dimension, value, columns))
    return _merged((row[0] // DAY * DAY, *row[1:]) for row in rows)


def _by_bucket(
    period: Period, dimension: str, value: str, columns: Iterable[ColumnElement[Any]]
) -> list[Select[Any]]:
    """Each bucket is looked up: a range of them would have all values in it."""
    table = rollups.c
    return [
        select(*columns)
        .where(table.grain == grain, table.dimension == dimension, table.value == value)
        .where(table.bucket.in_(buckets))
        for grain, buckets in (("hour", period.hours), ("day", period.days))
    ]


async def _of_rows(engine: AsyncEngine, period: Period, by: str, key_id: str) -> Sums:
    """A key's rows by one of `GROUPS`: one line a group and step of the histogram."""
    table = requests.c
    group = func.coalesce(GROUPS[by], "").label("value")
    step = case(
        *((table.duration_ms < edge, number) for number, edge in enumerate(EDGES)),
        else_=len(EDGES),
    ).label("step")
    inner = select(requests, group, step)
    span = period.first, period.now + DAY
    chosen = inner.where(table.key_id == key_id, *_within(period, span)).subquery()
    sums = [_OF_ROWS[name](chosen.c) for name in SUMS]
    query = select(chosen.c.value, chosen.c.step, *sums).group_by(chosen.c.value, chosen.c.step)
    rows = await _fetch(engine, [query])
    return _merged((value, *sums, *_steps(step, sums[0])) for value, step, *sums in rows)


_OF_ROWS: dict[str, Any] = {
    name: lambda columns, name=name: func.coalesce(func.sum(columns[name]), 0)
    for name in SUMS[3:-1]
} | {
    "requests": lambda columns: func.count(),
    "errors": lambda columns: func.sum(case((columns.outcome == "failed", 1), else_=0)),
    "cached": lambda columns: func.sum(cast(columns.cached, Integer)),
    "first_tokens": lambda columns: func.count(columns.first_token_ms),
}
"""How each of `SUMS` is made from rows."""


def _steps(step: int, count: int) -> list[int]:
    histogram = [0] * len(HISTOGRAM)
    histogram[step] = count
    return histogram


async def _fetch(engine: AsyncEngine, queries: Iterable[Select[Any]]) -> list[Any]:
    async with engine.connect() as connection:
        return [row for query in queries for row in await connection.execute(query)]


def _merged(rows: Iterable[Any]) -> Sums:
    """The rows of each group added up. PostgreSQL's sums are decimals."""
    found: Sums = {}
    for group, *numbers in rows:
        there = found.get(group)
        sums = list(map(int, numbers))
        found[group] = sums if there is None else list(map(int.__add__, there, sums))
    return found


def _together(group: str, parts: Sums) -> Sums:
    return _merged((group, *numbers) for numbers in parts.values())


def _summary(group: str | None, numbers: list[int]) -> Summary:
    sums = dict(zip(SUMS, numbers, strict=False))
    histogram = numbers[len(SUMS) :]
    count, first = sums["requests"], sums["first_tokens"]
    return Summary(
        group=group,
        requests=count,
        errors=sums["errors"],
        cached=sums["cached"],
        input_tokens=sums["input_tokens"],
        cached_tokens=sums["cached_tokens"],
        cache_write_tokens=sums["cache_write_tokens"],
        output_tokens=sums["output_tokens"],
        reasoning_tokens=sums["reasoning_tokens"],
        images=sums["images"],
        cost_usd=sums["cost_nanousd"] / 1e9,
        saved_usd=sums["saved_nanousd"] / 1e9,
        avg_latency_ms=round(sums["duration_ms"] / count, 1) if count else 0.0,
        avg_first_token_ms=round(sums["first_token_ms"] / first, 1) if first else None,
        p50_ms=round(percentile(histogram, 0.50), 1) if histogram else None,
        p95_ms=round(percentile(histogram, 0.95), 1) if histogram else None,
        p99_ms=round(percentile(histogram, 0.99), 1) if histogram else None,
    )


NOTHING = _summary(None, _NONE)
"""The summary of no requests."""


def _date(day: int) -> str:
    return datetime.fromtimestamp(day // 1000, UTC).date().isoformat()
