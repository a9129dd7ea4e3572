"""Usage over time: sums in steps of a minute, five minutes, an hour or a day (UTC).

Hours and days are those of the roll-ups. What is finer, the time to the first token in percentiles,
and what one owner asked by another dimension in hours, is only in the rows, and those are read
where there are few: the roll-ups say how many there are before anything is read.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, case, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.analytics import (
    EVERYBODY,
    GROUPS,
    OF_OWNER,
    OF_ROWS,
    Owner,
    fetch,
    ids_of,
    step_of,
)
from proxy.ledger.rollups import DAY, HOUR, OWNERS, fitting, percentile, unpacked
from proxy.storage.schema import HISTOGRAM, PAIRS, SUMS, owner_rollups, requests, rollups

MINUTE = 60_000  # milliseconds
MOST_ROWS = 50_000
"""Rows of everybody that are read for one answer: they lie side by side, and that many take 80 ms
of processor time on SQLite."""
MOST_OWNED = 12_000
"""The same of one owner: they are looked up one by one, and that many take 65 ms."""

PERIODS: Mapping[str, tuple[int, int]] = {
    "1h": (HOUR, MINUTE),
    "6h": (6 * HOUR, 5 * MINUTE),
    "24h": (DAY, HOUR),
    "7d": (7 * DAY, HOUR),
    "30d": (30 * DAY, DAY),
    "90d": (90 * DAY, DAY),
}
"""How far is looked back, and by which steps, in milliseconds."""

_FIELDS = (
    "requests", "errors", "cached", "input_tokens", "output_tokens", "cost_nanousd",
    "saved_nanousd", "first_token_ms", "first_tokens",
)  # fmt: skip
_WIDTH = len(HISTOGRAM)


class Only(NamedTuple):
    """A value of one of the dimensions that rows are chosen by; '' is 'none given'."""

    dimension: str
    value: str


class Point(NamedTuple):
    """Requests of one step, which begins at `begins` (epoch milliseconds). Cost in USD, times in
    milliseconds. Percentiles are estimates (`proxy.ledger.rollups` says how good), None where
    there was nothing to estimate from."""

    begins: int
    requests: int
    errors: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    saved_usd: float
    p50_ms: float | None
    p95_ms: float | None
    avg_first_token_ms: float | None
    p50_first_token_ms: float | None
    p95_first_token_ms: float | None


class Series(NamedTuple):
    """All steps from the one that the period begins in to the one that is now, oldest first."""

    step: int
    points: list[Point]


class _Sums:
    """What one step adds up to."""

    def __init__(self) -> None:
        self.fields = [0] * len(_FIELDS)
        self.durations = [0] * _WIDTH
        self.firsts = [0] * _WIDTH

    def add(self, fields: Iterable[int], durations: Iterable[int]) -> None:
        self.fields = [a + b for a, b in zip(self.fields, fields, strict=True)]
        self.durations = [a + b for a, b in zip(self.durations, durations, strict=True)]


async def series(
    engine: AsyncEngine, period: str, owner: Owner | None = None, only: Only | None = None
) -> Series:
    """The requests of one of `PERIODS`, up to now. With `owner` only what is its own, with `only`
    what has that value.

    Where too many rows would have to be read the steps are larger than wished: an hour, or for
    one owner's requests by another dimension a day. Raises `SQLAlchemyError`.
    """
    back, step = PERIODS[period]
    now = int(time.time() * 1000)
    if owner is not None and only is not None and owner.dimension == only.dimension:
        if owner.value != only.value:
            return _series(_begin(now, back, step), step, now, {})
        only = None
    chosen = _Chosen(owner, only)
    few = await _count(engine, chosen.scanned, now - back, now) <= chosen.most
    if not few and step < chosen.finest:
        step = chosen.finest
    begin = _begin(now, back, step)
    if step < chosen.finest:
        return _series(begin, step, now, await _from_rows(engine, chosen, begin, now, step))
    found = await _from_rollups(engine, chosen, begin, now, step)
    if few:
        await _add_firsts(engine, chosen, begin, now, step, found)
    return _series(begin, step, now, found)


class _Chosen(NamedTuple):
    """Which rows are meant."""

    owner: Owner | None
    only: Only | None

    @property
    def finest(self) -> int:
        """The least step that roll-ups have."""
        return HOUR if self.owner is None or self.only is None else DAY

    @property
    def value(self) -> tuple[str, str]:
        """The dimension and value of the roll-ups, where they need only one."""
        return self.owner or self.only or EVERYBODY

    @property
    def scanned(self) -> tuple[str, str]:
        """Whose rows are looked through to find them: only those of owners have an index."""
        if self.owner is None and self.only is not None and self.only.dimension not in OWNERS:
            return EVERYBODY
        return self.value

    @property
    def most(self) -> int:
        """How many rows may be looked through."""
        return MOST_ROWS if self.scanned == EVERYBODY else MOST_OWNED

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """What the rows have to be."""
        return [
            GROUPS[each.dimension] == each.value if each.value else GROUPS[each.dimension].is_(None)
            for each in (self.owner, self.only)
            if each is not None
        ]


def _begin(now: int, back: int, step: int) -> int:
    return (now - back) // step * step


def _series(begin: int, step: int, now: int, found: Mapping[int, _Sums]) -> Series:
    nothing = _Sums()
    starts = range(begin, now + 1, step)
    return Series(step, [_point(at, found.get(at, nothing)) for at in starts])


def _point(begins: int, sums: _Sums) -> Point:
    fields = dict(zip(_FIELDS, sums.fields, strict=True))
    firsts = fields["first_tokens"]
    return Point(
        begins=begins,
        requests=fields["requests"],
        errors=fields["errors"],
        cached=fields["cached"],
        input_tokens=fields["input_tokens"],
        output_tokens=fields["output_tokens"],
        cost_usd=fields["cost_nanousd"] / 1e9,
        saved_usd=fields["saved_nanousd"] / 1e9,
        p50_ms=_percentile(sums.durations, 0.50),
        p95_ms=_percentile(sums.durations, 0.95),
        avg_first_token_ms=round(fields["first_token_ms"] / firsts, 1) if firsts else None,
        p50_first_token_ms=_percentile(sums.firsts, 0.50),
        p95_first_token_ms=_percentile(sums.firsts, 0.95),
    )


def _percentile(histogram: Sequence[int], share: float) -> float | None:
    return round(percentile(histogram, share), 1) if any(histogram) else None


# From the roll-ups.


async def _count(engine: AsyncEngine, value: tuple[str, str], begin: int, now: int) -> int:
    """How many requests a value has had since `begin`; at most a day's too many."""
    grain, step = ("hour", HOUR) if now - begin <= 7 * DAY else ("day", DAY)
    buckets = range(begin // step * step, now + 1, step)
    [(count,)] = await fetch(
        engine, [_of_value(value, grain, buckets, [func.sum(rollups.c.requests)])]
    )
    return int(count or 0)


def _of_value(
    value: tuple[str, str], grain: str, buckets: range, columns: Iterable[ColumnElement[Any]]
) -> Select[Any]:
    """Each bucket is looked up: a range of them would have all values in it."""
    table = rollups.c
    dimension, text = value
    return (
        select(*columns)
        .where(table.grain == grain, table.dimension == dimension, table.value == fitting(text))
        .where(table.bucket.in_(buckets))
    )


async def _from_rollups(
    engine: AsyncEngine, chosen: _Chosen, begin: int, now: int, step: int
) -> dict[int, _Sums]:
    buckets = range(begin, now + 1, step)
    if chosen.owner is not None and chosen.only is not None:
        query = _of_owner(chosen.owner, chosen.only, buckets)
        width = PAIRS
    else:
        grain = "hour" if step == HOUR else "day"
        columns = [rollups.c[name] for name in ("bucket", *_FIELDS, *HISTOGRAM)]
        query = _of_value(chosen.value, grain, buckets, columns)
        width = HISTOGRAM
    found: dict[int, _Sums] = {}
    for bucket, *numbers in await fetch(engine, [query]):
        sums = list(map(int, numbers))
        steps = sums[len(_FIELDS) :]
        durations = unpacked(steps) if width is PAIRS else steps
        found.setdefault(int(bucket), _Sums()).add(sums[: len(_FIELDS)], durations)
    return found


def _of_owner(owner: Owner, only: Only, buckets: range) -> Select[Any]:
    """An owner's days by another dimension. Packed steps can be added up."""
    dimension, column = OF_OWNER[owner.dimension, only.dimension]
    table = owner_rollups.c
    sums = [func.sum(table[name]) for name in (*_FIELDS, *PAIRS)]
    return (
        select(table.bucket, *sums)
        .where(table.dimension == dimension, table.owner == owner.value)
        .where(table.bucket.in_(buckets), table[column] == fitting(only.value))
        .group_by(table.bucket)
    )


# From the rows.


def _rows(chosen: _Chosen, begin: int, now: int, step: int, more: Mapping[str, Any]) -> Subquery:
    """The rows since `begin` with the step that each belongs to, found by their ids."""
    table = requests.c
    span = ids_of(begin, begin, now + DAY)
    sum_columns = [table[name] for name in ("outcome", "cached", *SUMS[3:-1])]
    return (
        select(
            (table.created_at - table.created_at % step).label("bucket"),
            *sum_columns,
            *(column.label(name) for name, column in more.items()),
        )
        .where(table.id >= span.near, table.id < span.far, table.created_at >= begin)
        .where(*chosen.conditions)
        .subquery()
    )


async def _from_rows(
    engine: AsyncEngine, chosen: _Chosen, begin: int, now: int, step: int
) -> dict[int, _Sums]:
    """Each row's two steps of the histograms are worked out by the database, and the rows that
    agree in them are added up: one look at the rows gives all."""
    table = requests.c
    steps = {"step": step_of(table.duration_ms), "first_step": _first_step()}
    rows = _rows(chosen, begin, now, step, steps).c
    by = (rows.bucket, rows.step, rows.first_step)
    query = select(*by, *(OF_ROWS[name](rows) for name in _FIELDS)).group_by(*by)
    found: dict[int, _Sums] = {}
    for bucket, duration, first, *numbers in await fetch(engine, [query]):
        fields = list(map(int, numbers))
        sums = found.setdefault(int(bucket), _Sums())
        durations = [0] * _WIDTH
        durations[duration] = fields[0]
        sums.add(fields, durations)
        if first >= 0:
            sums.firsts[first] += fields[0]
    return found


def _first_step() -> Any:
    """The step of the time to the first token; -1 for a request without one."""
    first = requests.c.first_token_ms
    return case((first.is_(None), -1), else_=step_of(first))


async def _add_firsts(
    engine: AsyncEngine, chosen: _Chosen, begin: int, now: int, step: int, found: dict[int, _Sums]
) -> None:
    """How long first tokens took, of the rows that are still there."""
    table = requests.c
    rows = _rows(chosen, begin, now, step, {"first_step": step_of(table.first_token_ms)}).c
    by = (rows.bucket, rows.first_step)
    query = select(*by, func.count()).where(rows.first_token_ms.is_not(None)).group_by(*by)
    for bucket, first, count in await fetch(engine, [query]):
        if bucket in found:
            found[bucket].firsts[first] += int(count)
