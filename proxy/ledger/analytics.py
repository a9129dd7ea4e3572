"""What the books say: sums from the roll-ups, and the rows themselves by pages.

The last N days begin at a full hour: the hours up to midnight (UTC) are summed by hour, all after
by day, so that a year is some four hundred roll-ups for each value. What one owner asked, by
another dimension, is known by day alone: of the hours before the first midnight the rows are read.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    Text,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger.rollups import DAY, DIMENSIONS, EDGES, HOUR, OWNED, fitting, percentile, unpacked
from proxy.storage.schema import HISTOGRAM, PAIRS, SUMS, keys, owner_rollups, requests, rollups

GROUPS = {name: requests.c[column] for name, column in DIMENSIONS.items() if column}
"""What the books can be summed by, and the column of the rows that says so."""

FILTERS: Mapping[str, ColumnElement[Any]] = {**GROUPS, "outcome": requests.c.outcome}
"""What rows can be chosen by."""

SLACK = 60  # seconds by which an id may be older than the time that its row was begun

_NONE = [0] * (len(SUMS) + len(HISTOGRAM))

Sums = dict[str | int, list[int]]


class Owner(NamedTuple):
    """Whose requests are meant: those of one key or of one user. `dimension` is `key` or `user`."""

    dimension: str
    value: str


EVERYBODY = Owner("all", "")
"""Whose all requests are."""


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
    owner: Owner | None = None,
    percentiles: bool = True,
    most: int | None = None,
) -> list[Summary]:
    """The requests of the last `days` days, by one of `GROUPS` or all together; dearest first.

    With `owner` only what is its own. Of a thousand groups percentiles take half the time, and so
    do all sums of those that are not among the `most` dearest.
    """
    period = Period.last(days)
    if owner is None:
        dearest = None if most is None else await _dearest(engine, period, by or "all", most)
        sums = await _of_groups(engine, period, by or "all", percentiles, dearest)
    elif by in (None, owner.dimension):
        sums = _together(owner.value, await _of_value(engine, period, *owner))
    else:
        sums = await _of_owner(engine, period, by, owner, percentiles, most)
    found = [_summary(str(group) or None if by else None, row) for group, row in sums.items()]
    return sorted(found, key=lambda s: (-s.cost_usd, -s.requests, s.group or ""))[:most]


async def daily(engine: AsyncEngine, days: int, owner: Owner | None = None) -> list[Summary]:
    """The same day by day, oldest first, with the days on which nothing was asked.

    `group` is the date (UTC). The first day is the part of it that belongs to the period.
    """
    period = Period.last(days)
    sums = await _of_value(engine, period, *(owner or EVERYBODY))
    starts = range(period.first // DAY * DAY, period.now + 1, DAY)
    return [_summary(_date(day), sums.get(day, _NONE)) for day in starts]


async def owns_key(engine: AsyncEngine, user_id: str, key_id: str) -> bool:
    """Whether a key was made for that user."""
    query = select(keys.c.id).where(keys.c.id == key_id, keys.c.user_id == user_id)
    async with engine.connect() as connection:
        return (await connection.execute(query)).first() is not None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of the last `days` days that fit all the filters given, by names of `FILTERS`; an
    empty text asks for rows that have none. With `owner` only what is its own."""

    days: int
    filters: Mapping[str, str]
    owner: Owner | None = None

    def values(self) -> list[tuple[str, str]]:
        """Names of `FILTERS` and what they must be."""
        own = [] if self.owner is None else [(self.owner.dimension, self.owner.value)]
        return [*self.filters.items(), *own]


class Span(NamedTuple):
    """Where rows can be: ids from `near` to `far` find them; the time that they were begun, not
    before `first` (epoch milliseconds), decides, as the roll-ups go by it too."""

    first: int
    near: str
    far: str


async def span_of(engine: AsyncEngine, chosen: Chosen) -> Span:
    """From when to when there can be rows with these values; empty when there are none.

    Only few columns have an index. The roll-ups know on which days a value was seen, and so a
    rare one is not looked for in all the rows there are.
    """
    period = Period.last(chosen.days)
    first, last = period.first, period.now + DAY
    for dimension, value in chosen.values():
        if dimension in GROUPS:
            queries = _by_bucket(period, dimension, value, (rollups.c.bucket,))
            seen = [row[0] for row in await fetch(engine, queries)]
            first, last = max(first, min(seen, default=last)), min(last, max(seen, default=0) + DAY)
    return ids_of(period.first, first, last)


async def read_rows(
    engine: AsyncEngine,
    chosen: Chosen,
    limit: int,
    after: str | None = None,
    oldest_first: bool = False,
) -> Sequence[RowMapping]:
    """At most `limit` of the chosen rows, newest or oldest first, from behind the id `after`."""
    span = await span_of(engine, chosen)
    query = _page(select(requests), chosen, span, limit, after, oldest_first)
    async with engine.connect() as connection:
        rows = await connection.execute(query)
        found: Sequence[RowMapping] = rows.mappings().all()
    return found


async def read_values(
    engine: AsyncEngine,
    chosen: Chosen,
    span: Span,
    columns: Sequence[str],
    limit: int,
    after: str | None,
) -> Sequence[Sequence[Any]]:
    """At most `limit` of the chosen rows, oldest first, as tuples of the id and the columns named.

    JSON is its text. `span` is `span_of` them; one for all pages of an export.
    """
    named = (requests.c[name] for name in ("id", *columns))
    plain = [cast(c, Text) if c.name == "metadata" else c for c in named]
    query = _page(select(*plain), chosen, span, limit, after, upwards=True)
    async with engine.connect() as connection:
        rows = await connection.execute(query)
        found: Sequence[Sequence[Any]] = rows.all()
    return found


def _page(
    query: Select[Any], chosen: Chosen, span: Span, limit: int, after: str | None, upwards: bool
) -> Select[Any]:
    """The rows of one page. Where it begins is said once: of two lower bounds SQLite may seek the
    lesser, and would walk through all pages before."""
    at = requests.c.id
    near, far = at >= span.near, at < span.far
    if after is not None and upwards:
        near = at > max(after, span.near)
    elif after is not None:
        far = at < min(after, span.far)
    for name, value in chosen.values():
        query = query.where(FILTERS[name] == value if value else FILTERS[name].is_(None))
    query = query.where(near, far, requests.c.created_at >= span.first)
    return query.order_by(at if upwards else at.desc()).limit(limit)


def ids_of(begin: int, first: int, last: int) -> Span:
    """Where the rows are that were begun from `first` up to `last`, in epoch milliseconds."""
    near, far = (
        earliest(max(0, at / 1000 + slack))
        for at, slack in zip((first, last), (-SLACK, SLACK), strict=True)
    )
    return Span(begin, near, far)


async def _of_groups(
    engine: AsyncEngine,
    period: Period,
    dimension: str,
    percentiles: bool,
    values: Sequence[str | int] | None = None,
) -> Sums:
    """The roll-ups of a dimension, by value; without percentiles the histogram is left out."""
    names = (*SUMS, *HISTOGRAM) if percentiles else SUMS
    chosen = () if values is None else (rollups.c.value.in_(values),)
    return _merged(await fetch(engine, _by_value(period, dimension, names, *chosen)))


async def _dearest(
    engine: AsyncEngine, period: Period, dimension: str, most: int
) -> list[str | int]:
    """The values of a dimension that cost most."""
    return _ranked(_merged(await fetch(engine, _by_value(period, dimension, _RANKS))), most)


_RANKS = ("cost_nanousd", "requests")


def _ranked(sums: Sums, most: int) -> list[str | int]:
    """The first of what `_RANKS` was summed of."""
    return sorted(sums, key=lambda value: (*(-number for number in sums[value]), value))[:most]


def _by_value(
    period: Period, dimension: str, names: Iterable[str], *chosen: ColumnElement[bool]
) -> list[Select[Any]]:
    """Sums of a dimension's roll-ups, hours and then days."""
    bucket, value = rollups.c.bucket, rollups.c.value
    sums = [func.sum(rollups.c[name]) for name in names]
    until = {"hour": bucket < period.midnight, "day": bucket >= period.midnight}
    return [
        select(value, *sums)
        .where(rollups.c.grain == grain, rollups.c.dimension == dimension)
        .where(bucket >= period.first, edge, *chosen)
        .group_by(value)
        for grain, edge in until.items()
    ]


async def _of_value(engine: AsyncEngine, period: Period, dimension: str, value: str) -> Sums:
    """The roll-ups of one value, by day."""
    columns = [rollups.c[name] for name in ("bucket", *SUMS, *HISTOGRAM)]
    rows = await fetch(engine, _by_bucket(period, dimension, value, columns))
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


async def _of_owner(
    engine: AsyncEngine,
    period: Period,
    by: str,
    owner: Owner,
    percentiles: bool,
    most: int | None,
) -> Sums:
    """An owner's requests by one of `GROUPS`.

    Of the first day, which is rarely whole, the rows are read: those that belong to the period, or
    if they are fewer those that don't, which the whole day's sums have too much.
    """
    first, days = period.midnight - DAY, [*period.days]
    times, sign = range(period.first, period.midnight), 1
    if len(period.hours) > DAY // HOUR // 2:
        times, sign, days = range(first, period.first), -1, [first, *days]
    read = await _of_rows(engine, times, by, owner, percentiles) if times else []
    rows = [(row[0], *(sign * number for number in row[1:])) for row in read]
    values = None
    if most is not None:
        costs = [(row[0], *(row[1 + SUMS.index(name)] for name in _RANKS)) for row in rows]
        ranks = await _of_days(engine, days, by, owner, _RANKS)
        values = _ranked(_merged([*ranks, *costs]), most)
        rows = [row for row in rows if row[0] in values]
    names = (*SUMS, *PAIRS) if percentiles else SUMS
    sums = _merged([*await _of_days(engine, days, by, owner, names, values), *rows])
    return {group: numbers for group, numbers in sums.items() if numbers[0] > 0}


async def _of_days(
    engine: AsyncEngine,
    days: Sequence[int],
    by: str,
    owner: Owner,
    names: Sequence[str],
    values: Sequence[str | int] | None = None,
) -> list[tuple[Any, ...]]:
    """An owner's whole days: group, sums, histogram."""
    dimension, column = OF_OWNER[owner.dimension, by]
    table = owner_rollups.c
    group = table[column]
    query = (
        select(group, *(func.sum(table[name]) for name in names))
        .where(table.dimension == dimension, table.owner == owner.value)
        .where(table.bucket.in_(days))
        .group_by(group)
    )
    if values is not None:
        query = query.where(group.in_(values))
    wide = len(SUMS) + 1
    rows = await fetch(engine, [query])
    return [(*row[:wide], *unpacked(map(int, row[wide:]))) for row in rows]


OF_OWNER = {
    (owner, by): (dimension, column)
    for dimension, (owner, *groups) in OWNED.items()
    for by, column in zip(groups, ("first", "second"), strict=True)
}
"""(whose, by what) -> the dimension and the column of `owner_rollups`."""


async def _of_rows(
    engine: AsyncEngine, times: range, by: str, owner: Owner, percentiles: bool
) -> list[tuple[Any, ...]]:
    """An owner's rows of some hours: group, sums, histogram."""
    table = requests.c
    group = func.coalesce(GROUPS[by], "").label("value")
    step = step_of(table.duration_ms) if percentiles else cast(0, Integer)
    span = ids_of(times.start, times.start, times.stop)
    chosen = (
        select(requests, group, step.label("step"))
        .where(GROUPS[owner.dimension] == owner.value)
        .where(table.id >= span.near, table.id < span.far)
        .where(table.created_at >= times.start, table.created_at < times.stop)
        .subquery()
    )
    sums = [OF_ROWS[name](chosen.c) for name in SUMS]
    query = select(chosen.c.value, chosen.c.step, *sums).group_by(chosen.c.value, chosen.c.step)
    rows = await fetch(engine, [query])
    return [
        (fitting(value), *sums, *(_steps(step, sums[0]) if percentiles else ()))
        for value, step, *sums in rows
    ]


def step_of(duration: ColumnElement[int], first: int = 0, last: int = len(EDGES)) -> Any:
    """Which step of the histogram a duration is in, by halves: all 31 edges one after the other
    would take longer than the sums."""
    if first == last:
        return first
    middle = (first + last) // 2
    return case(
        (duration < EDGES[middle], step_of(duration, first, middle)),
        else_=step_of(duration, middle + 1, last),
    )


OF_ROWS: dict[str, Any] = {
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


async def fetch(engine: AsyncEngine, queries: Iterable[Select[Any]]) -> list[Any]:
    """The rows of all queries, one after another. Raises `SQLAlchemyError`."""
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
