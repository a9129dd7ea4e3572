"""Roll-ups say what the rows say, and percentiles lie as near as is claimed."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.books import Books
from proxy.ledger.rollups import (
    EDGES,
    HISTOGRAM,
    added_up,
    packed,
    percentile,
    unpacked,
)
from proxy.storage.schema import owner_rollups, requests, rollups
from tests.proxy.ledger.synthetic import request

HOUR, DAY = 3_600_000, 86_400_000
MIDNIGHT = 1_700_006_400_000


def test_the_steps() -> None:
    assert EDGES[:9] == (2, 3, 4, 6, 8, 12, 18, 26, 39)
    assert (len(EDGES), EDGES[-1]) == (31, 287_627)
    assert all(after <= 1.5 * before + 0.5 for before, after in itertools.pairwise(EDGES))


def test_one_row() -> None:
    row = request(
        "1", MIDNIGHT + HOUR + 5, provider_name="p", outcome="failed", duration_ms=12, images=3
    )
    found = {(row[0], row[1], row[3]): row for row in added_up([row]).values}
    assert set(found) == {
        (grain, dimension, "p" if dimension == "provider" else "")
        for grain in ("hour", "day")
        for dimension in ("all", "provider", "model", "service", "user", "task", "key")
    }
    assert found["hour", "all", ""][2] == MIDNIGHT + HOUR
    assert found["day", "provider", "p"][2] == MIDNIGHT
    numbers = found["day", "provider", "p"][4:]
    assert numbers[:14] == (1, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 12, 0, 0)
    assert [step for step, count in enumerate(numbers[14:]) if count] == [6]
    assert added_up([row]).owners == []


def test_one_row_of_an_owner() -> None:
    row = request("1", MIDNIGHT + HOUR + 5, key_id="k", model="m", task_type="t", duration_ms=18)
    found = {row[:5]: row[5:] for row in added_up([row]).owners}
    assert set(found) == {
        ("key:model", MIDNIGHT, "k", "", "m"),
        ("key:task", MIDNIGHT, "k", "", "t"),
        ("key:user", MIDNIGHT, "k", "", ""),
    }
    for numbers in found.values():
        assert numbers[:14] == (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 18, 0, 0)
        assert numbers[14:] == (0, 0, 0, 2**31, *[0] * 12)  # step 7, the upper of the fourth pair


def test_packed_steps() -> None:
    steps = [*range(31), 2**31 - 1]
    assert unpacked(packed(steps)) == steps
    twice = [2 * both for both in packed([*range(32)])]
    assert unpacked(twice) == [2 * step for step in range(32)]


NAMES = st.sampled_from([None, "a", "b", "ü"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 60).map(lambda number: f"{number:032x}"),
            "created_at": st.integers(MIDNIGHT - 3 * HOUR, MIDNIGHT + 3 * HOUR),
            "provider_name": NAMES,
            "model": NAMES,
            "service_name": NAMES,
            "user_id": NAMES,
            "task_type": NAMES,
            "key_id": NAMES,
            "outcome": st.sampled_from(["ok", "failed", "client_closed"]),
            "cached": st.booleans(),
            "input_tokens": st.integers(0, 10**9),
            "cached_tokens": st.integers(0, 10**9),
            "cache_write_tokens": st.integers(0, 10**9),
            "output_tokens": st.integers(0, 10**9),
            "reasoning_tokens": st.integers(0, 10**9),
            "images": st.integers(0, 9),
            "cost_nanousd": st.none() | st.integers(0, 10**12),
            "saved_nanousd": st.integers(0, 10**12),
            "duration_ms": st.integers(0, 600_000),
            "first_token_ms": st.none() | st.integers(0, 600_000),
        }
    ),
    max_size=30,
)

COLUMNS = {
    "provider": "provider_name",
    "model": "model",
    "service": "service_name",
    "user": "user_id",
    "task": "task_type",
    "key": "key_id",
}


def expected(rows: list[Mapping[str, Any]]) -> dict[tuple[str, str, int, str], Counter[str]]:
    """The sums, by counting each row the long way."""
    sums: dict[tuple[str, str, int, str], Counter[str]] = {}
    for row in rows:
        for grain, length in (("hour", HOUR), ("day", DAY)):
            bucket = row["created_at"] - row["created_at"] % length
            values = {"all": ""} | {name: row[column] or "" for name, column in COLUMNS.items()}
            for dimension, value in values.items():
                count = sums.setdefault((grain, dimension, bucket, value), Counter())
                count["requests"] += 1
                count["errors"] += row["outcome"] == "failed"
                count["first_tokens"] += row["first_token_ms"] is not None
                for name in ("cached", "images", "saved_nanousd", "duration_ms", "input_tokens"):
                    count[name] += row[name]
                for name in ("cached_tokens", "cache_write_tokens", "output_tokens"):
                    count[name] += row[name]
                for name in ("reasoning_tokens", "cost_nanousd", "first_token_ms"):
                    count[name] += row[name] or 0
                step = 0
                while step < 31 and 1.5 ** (step + 1) <= row["duration_ms"]:
                    step += 1
                count[f"h{step}"] += 1
    return sums


PAIRS = {
    "key:model": ("key_id", "provider_name", "model"),
    "key:task": ("key_id", "service_name", "task_type"),
    "key:user": ("key_id", "user_id", None),
    "user:model": ("user_id", "provider_name", "model"),
    "user:task": ("user_id", "service_name", "task_type"),
    "user:key": ("user_id", "key_id", None),
}


def expected_of_owners(rows: list[Mapping[str, Any]]) -> dict[tuple[Any, ...], list[int]]:
    """Requests, cost and durations by step, by counting each row the long way."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        day = row["created_at"] - row["created_at"] % DAY
        for dimension, (owner, first, second) in PAIRS.items():
            if row[owner]:
                key = (
                    dimension,
                    day,
                    row[owner],
                    row[first] or "",
                    row[second] or "" if second else "",
                )
                found = sums.setdefault(key, [0] * 34)
                found[0] += 1
                found[1] += row["cost_nanousd"] or 0
                step = 0
                while step < 31 and 1.5 ** (step + 1) <= row["duration_ms"]:
                    step += 1
                found[2 + step] += 1
    return sums


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(ROWS, max_size=4))
async def test_sums_are_those_of_the_rows(
    engine: AsyncEngine, batches: list[list[dict[str, Any]]]
) -> None:
    async with engine.begin() as connection:
        for table in (requests, rollups, owner_rollups):
            await connection.execute(delete(table))
    for batch in batches:
        await Books(engine).write([request(**row) for row in batch], [])
    async with engine.connect() as connection:
        rows = [dict(row) for row in (await connection.execute(select(requests))).mappings()]
        sums = (await connection.execute(select(rollups))).mappings().all()
        owned = (await connection.execute(select(owner_rollups))).mappings().all()
    assert {row["id"] for row in rows} == {row["id"] for batch in batches for row in batch}
    found = {
        (row["grain"], row["dimension"], row["bucket"], row["value"]): {
            name: number for name, number in list(row.items())[4:] if number
        }
        for row in sums
    }
    assert found == {
        key: {n: c for n, c in count.items() if c} for key, count in expected(rows).items()
    }
    assert {
        tuple(row.values())[:5]: [
            row["requests"],
            row["cost_nanousd"],
            *(n for p in range(16) for n in (row[f"p{p}"] % 2**31, row[f"p{p}"] // 2**31)),
        ]
        for row in owned
    } == expected_of_owners(rows)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("middle", "spread"), [(6.5, 1.2), (3, 0.3), (1, 1), (9, 2), (0, 0.1)])
def test_percentiles(share: float, middle: float, spread: float) -> None:
    chance = random.Random(7)
    durations = [min(287_000, int(math.exp(chance.gauss(middle, spread)))) for _ in range(3000)]
    rows = [request("1", MIDNIGHT, duration_ms=duration) for duration in durations]
    histogram = next(row for row in added_up(rows).values if row[1] == "all")[-len(HISTOGRAM) :]
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    estimate = percentile(histogram, share)
    if exact < 2:
        assert 0 <= estimate <= 2
    else:
        assert exact / 1.5 <= estimate <= exact * 1.5


def test_percentiles_at_the_ends() -> None:
    assert percentile([0] * 32, 0.5) == 0
    assert percentile([4, *[0] * 31], 0.5) == 0.75
    assert 287_627 <= percentile([*[0] * 31, 1], 0.99) <= 431_439
