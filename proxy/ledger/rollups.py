"""Sums by hour and day, kept with the rows, so that no question has to add rows up.

A batch of new rows is added up here first and goes into the table `rollups` with one change a
sum. Each row counts in seven dimensions and two grains. Buckets begin at full hours and days, UTC.

Durations are counted in 32 steps that grow by half: 0 to 1 ms, 2, 3, 4 to 5, 6 to 7, 8 to 11 ms …
up to 288 s, with all that is longer in the last. A percentile lies in the same step as the exact
one, so it is at most half as much again, or a third too little.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from operator import itemgetter
from typing import Any

from proxy.ledger.inserts import Row
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.storage.schema import HISTOGRAM, SUMS

HOUR, DAY = 3_600_000, 86_400_000  # milliseconds

EDGES: tuple[int, ...] = tuple(-(-(3**number) // 2**number) for number in range(1, len(HISTOGRAM)))
"""The least duration, in whole milliseconds, of each step but the first."""

LAST: int = 3 ** len(HISTOGRAM) // 2 ** len(HISTOGRAM)
"""Where the last step would end if it had an end: 431 s."""

DIMENSIONS = {
    "all": None,
    "provider": "provider_name",
    "model": "model",
    "service": "service_name",
    "user": "user_id",
    "task": "task_type",
    "key": "key_id",
}
"""Each dimension with the column of the requests that it goes by."""

KEY_COLUMNS = ("grain", "dimension", "bucket", "value")
COLUMNS = (*KEY_COLUMNS, *SUMS, *HISTOGRAM)
"""The order of a roll-up's row."""

WIDTH = len(SUMS) + len(HISTOGRAM)

LONGEST = 256  # characters of what rows are grouped by: an index takes 2,700 bytes

Key = tuple[str, str, int, str]

_at = {name: number for number, name in enumerate(REQUEST_COLUMNS)}
_values = [(name, _at[column]) for name, column in DIMENSIONS.items() if column]
_dimensions = itemgetter(*(column for _, column in _values))
_summed = itemgetter(
    _at["input_tokens"],
    _at["cached_tokens"],
    _at["cache_write_tokens"],
    _at["output_tokens"],
    _at["reasoning_tokens"],
    _at["images"],
)
_CREATED, _DURATION, _OUTCOME = _at["created_at"], _at["duration_ms"], _at["outcome"]
_COST, _SAVED, _FIRST = _at["cost_nanousd"], _at["saved_nanousd"], _at["first_token_ms"]
_CACHED = _at["cached"]


def added_up(rows: Iterable[Row]) -> list[Row]:
    """Rows of requests -> rows of roll-ups, in the order of `COLUMNS`, no key twice."""
    hours: dict[Key, list[int]] = {}
    for (hour, values), sums in _alike(rows).items():
        _merge(hours, ("hour", "all", hour, ""), sums)
        for (dimension, _), value in zip(_values, values, strict=True):
            _merge(hours, ("hour", dimension, hour, _fit(value)), sums)
    days = _days(hours)
    return [(*key, *sums) for found in (hours, days) for key, sums in found.items()]


def _numbers(row: Row) -> tuple[int, ...]:
    """What a row adds to each of `SUMS`."""
    first = row[_FIRST]
    return (
        1,
        row[_OUTCOME] == "failed",
        row[_CACHED],
        *_summed(row),
        row[_COST] or 0,
        row[_SAVED],
        row[_DURATION],
        first or 0,
        first is not None,
    )


def _fit(value: str | None) -> str:
    """As every database can have it in a key."""
    return (value or "").replace("\0", "")[:LONGEST]


def _alike(rows: Iterable[Row]) -> dict[tuple[int, tuple[Any, ...]], list[int]]:
    """The sums of rows that agree in their hour and in every dimension. Most of a batch do, so
    that the dimensions one by one have little left to add up."""
    found: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
    for row in rows:
        key = row[_CREATED] // HOUR * HOUR, _dimensions(row)
        sums = found.get(key)
        if sums is None:
            sums = found[key] = [0] * WIDTH
        for number, value in enumerate(_numbers(row)):
            sums[number] += value
        sums[len(SUMS) + bisect_right(EDGES, row[_DURATION])] += 1
    return found


def _merge(into: dict[Key, list[int]], key: Key, sums: list[int]) -> None:
    there = into.get(key)
    into[key] = sums if there is None else list(map(int.__add__, there, sums))


def _days(hours: Mapping[Key, list[int]]) -> dict[Key, list[int]]:
    days: dict[Key, list[int]] = {}
    for (_, dimension, hour, value), sums in hours.items():
        _merge(days, ("day", dimension, hour // DAY * DAY, value), sums)
    return days


def percentile(histogram: Sequence[int], share: float) -> float:
    """The duration in milliseconds that `share` of all do not exceed, 0 when there are none.

    Between the ends of a step the durations are taken to lie evenly.
    """
    rank = max(1, ceil(share * sum(histogram)))
    before = 0
    for step, count in enumerate(histogram):
        if before + count >= rank:
            least = EDGES[step - 1] if step else 0
            most = EDGES[step] if step < len(EDGES) else LAST
            return least + (most - least) * (rank - before - 0.5) / count
        before += count
    return 0.0
