"""Sums by hour and day, kept with the rows, so that no question has to add rows up.

A batch of new rows is added up here first and goes into the table `rollups` with one change a
sum. Each row counts in seven dimensions and two grains. Buckets begin at full hours and days, UTC.

What one key or one user asked, by another dimension, goes into `owner_rollups`. A change of a sum
costs far more than a row, so these are few and narrow: by day alone (by hour there would be
nearly as many sums as rows), two dimensions at a time, and two steps of durations in a column.

Durations are counted in 32 steps that grow by half: 0 to 1 ms, 2, 3, 4 to 5, 6 to 7, 8 to 11 ms …
up to 288 s, with all that is longer in the last. A percentile lies in the same step as the exact
one, so it is at most half as much again, or a third too little.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from proxy.ledger.inserts import Row
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.storage.schema import HISTOGRAM, PAIRS, SUMS

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

OWNERS = ("key", "user")
"""The dimensions whose values are somebody, who may read what is their own."""

OWNED = {
    "key:model": ("key", "provider", "model"),
    "key:task": ("key", "service", "task"),
    "key:user": ("key", "user", None),
    "user:model": ("user", "provider", "model"),
    "user:task": ("user", "service", "task"),
    "user:key": ("user", "key", None),
}
"""The dimensions of `owner_rollups`: whose requests, and by what two dimensions or one."""

OWNER_KEY_COLUMNS = ("dimension", "bucket", "owner", "first", "second")
OWNER_COLUMNS = (*OWNER_KEY_COLUMNS, *SUMS, *PAIRS)
"""The order of an owner's roll-up's row."""

HALF = 31  # bits of the lower of two steps that share a column

WIDTH = len(SUMS) + len(HISTOGRAM)

LONGEST = 256  # characters of what rows are grouped by
LARGEST = 700  # bytes of it: PostgreSQL's keys have room for 2,700, and one has three such values

Key = tuple[str, str, int, str]
OwnerKey = tuple[str, int, str, str, str]
Alike = tuple[int, tuple[Any, ...]]
K = TypeVar("K")

_at = {name: number for number, name in enumerate(REQUEST_COLUMNS)}
_values = [(name, _at[column]) for name, column in DIMENSIONS.items() if column]
_NO_PLACE = len(_values)  # where '' stands for what is not summed by
_place: dict[str | None, int] = {name: number for number, (name, _) in enumerate(_values)}
_place[None] = _NO_PLACE
_owned = [
    (dimension, _place[owner], _place[first], _place[second])
    for dimension, (owner, first, second) in OWNED.items()
]
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


class Added(NamedTuple):
    """Rows of `rollups`, in the order of `COLUMNS`, and of `owner_rollups`, in that of
    `OWNER_COLUMNS`; no key twice."""

    values: list[Row]
    owners: list[Row]


def added_up(rows: Iterable[Row]) -> Added:
    """Rows of requests -> rows of roll-ups."""
    hours: dict[Key, list[int]] = {}
    owners: dict[OwnerKey, list[int]] = {}
    for (hour, raw), sums in _alike(rows).items():
        values = [*map(fitting, raw), ""]
        _merge(hours, ("hour", "all", hour, ""), sums)
        for (dimension, _), value in zip(_values, values, strict=False):
            _merge(hours, ("hour", dimension, hour, value), sums)
        _add_to_owners(owners, hour // DAY * DAY, values, sums)
    days = _days(hours)
    return Added(
        [(*key, *sums) for found in (hours, days) for key, sums in found.items()],
        [(*key, *sums) for key, sums in owners.items()],
    )


def _add_to_owners(
    days: dict[OwnerKey, list[int]], day: int, values: Sequence[str], sums: list[int]
) -> None:
    """What has no key, or no user, is nobody's."""
    narrow = [*sums[: len(SUMS)], *packed(sums[len(SUMS) :])]
    for dimension, owner, first, second in _owned:
        if values[owner]:
            _merge(days, (dimension, day, values[owner], values[first], values[second]), narrow)


def packed(histogram: Sequence[int]) -> list[int]:
    """Two steps in a number. Packed ones can be added up, to two thousand million a step."""
    return [low + (high << HALF) for low, high in zip(histogram[::2], histogram[1::2], strict=True)]


def unpacked(pairs: Iterable[int]) -> list[int]:
    """The histogram of packed numbers."""
    return [count for both in pairs for count in (both & (1 << HALF) - 1, both >> HALF)]


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


def fitting(value: str | None) -> str:
    """The value of a column as it is in the roll-ups: as every database can have it in a key."""
    if not value:
        return ""
    text = value.replace("\0", "")[:LONGEST]
    if text.isascii():
        return text
    return text.encode(errors="ignore")[:LARGEST].decode(errors="ignore")


def _alike(rows: Iterable[Row]) -> dict[Alike, list[int]]:
    """The sums of rows that agree in their hour and in every dimension. Most of a batch do, so
    that the dimensions one by one have little left to add up."""
    found: dict[Alike, list[int]] = {}
    for row in rows:
        key = row[_CREATED] // HOUR * HOUR, _dimensions(row)
        sums = found.get(key)
        if sums is None:
            sums = found[key] = [0] * WIDTH
        for number, value in enumerate(_numbers(row)):
            sums[number] += value
        sums[len(SUMS) + bisect_right(EDGES, row[_DURATION])] += 1
    return found


def _merge(into: dict[K, list[int]], key: K, sums: list[int]) -> None:
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
