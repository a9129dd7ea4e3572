"""Rows leave the outbox when the sink has them, and never before."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.sinks.base import ALL_TAKEN, Answer, Rejected, Sink, UsageRow
from proxy.sinks.outbox import Outbox
from proxy.sinks.shipper import BATCH, Shipper
from proxy.storage.schema import leases, requests
from proxy.tasks import end, spawn
from tests.proxy.sinks.rows import waiting, write

React = Callable[[list[str]], Answer]


class Memory(Sink):
    """A sink that does as it is told, once for each reaction, and then takes all."""

    name = "memory"

    def __init__(self, *reactions: React) -> None:
        self.reactions = list(reactions)
        self.calls: list[list[str]] = []
        self.has: set[str] = set()
        self.is_closed = False

    async def deliver(self, rows: Sequence[UsageRow]) -> Answer:
        ids = [row.request_id for row in rows]
        self.calls.append(ids)
        answer = self.reactions.pop(0)(ids) if self.reactions else ALL_TAKEN
        self.has |= set(ids) - set(answer.refused) - answer.later
        return answer

    async def close(self) -> None:
        self.is_closed = True


def away(_: list[str]) -> Answer:
    raise ConnectionResetError("with-a-secret")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_the_sink_has_leaves_the_outbox(engine: AsyncEngine) -> None:
    ids = sorted(await write(engine, BATCH + 20, "memory"))
    sink = Memory()
    shipper = Shipper(engine, sink)
    assert await shipper.ship()
    assert await waiting(engine, "memory") == ids[BATCH:]
    assert not await shipper.ship()
    assert sink.calls == [ids[:BATCH], ids[BATCH:]]
    assert await waiting(engine, "memory") == []
    assert (shipper.delivered, shipper.failed, shipper.error) == (BATCH + 20, 0, None)
    assert not await shipper.ship()
    assert len(sink.calls) == 2


async def test_a_sink_that_is_away_loses_nothing(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await write(engine, 3, "memory")
    sink, clock = Memory(away, away, away), Clock()
    shipper = Shipper(engine, sink, clock)
    began = []
    while clock.now < 20 and not sink.has:
        calls = len(sink.calls)
        assert not await shipper._look()
        if len(sink.calls) > calls:
            began.append(clock.now)
        if not sink.has:
            told = (shipper.error, shipper.pending, shipper.delivered)
            assert told == ("ConnectionResetError", 3, 0)
            assert await waiting(engine, "memory") == ids
        clock.now += 0.1
    assert sink.calls == [ids] * 4
    assert await waiting(engine, "memory") == []
    assert (sink.has, shipper.delivered, shipper.error) == (set(ids), 3, None)
    pauses = [later - before for before, later in pairwise(began)]
    for pause, most in zip(pauses, (1.0, 2.0, 4.0), strict=True):
        assert most / 2 <= pause <= most + 0.11
    assert "with-a-secret" not in caplog.text


async def test_pauses_end_at_five_minutes(engine: AsyncEngine) -> None:
    await write(engine, 1, "memory")
    clock = Clock()
    shipper = Shipper(engine, Memory(*[away] * 40), clock)
    for _ in range(40):
        await shipper.ship()
    assert 150 <= shipper._not_before <= 300


async def test_a_refused_row_does_not_hold_up_the_others(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await write(engine, 4, "memory")
    sink = Memory(lambda given: Answer({given[0]: "invalid: status"}))
    shipper = Shipper(engine, sink)
    with caplog.at_level(logging.ERROR):
        assert not await shipper.ship()
    assert (shipper.delivered, shipper.failed) == (3, 1)
    assert sink.has == set(ids[1:])
    assert await waiting(engine, "memory") == []
    assert await waiting(engine, "memory-aside") == [ids[0]]
    assert f"refuses the row of request {ids[0]}: invalid: status" in caplog.text


async def test_what_was_refused_is_tried_again_by_the_next_process(engine: AsyncEngine) -> None:
    ids = await write(engine, 2, "memory")
    await Outbox(engine, "memory").set_aside(ids[:1])
    sink = Memory()
    shipper = Shipper(engine, sink)
    while len(sink.has) < 2:
        await shipper._look()
    assert sink.has == set(ids)
    assert await waiting(engine, "memory-aside") == []


async def test_what_is_taken_later_waits(engine: AsyncEngine) -> None:
    ids = await write(engine, 3, "memory")
    sink = Memory(lambda given: Answer(later=frozenset(given[1:2])))
    shipper = Shipper(engine, sink)
    await shipper.ship()
    assert await waiting(engine, "memory") == [ids[1]]
    assert (shipper.delivered, shipper.error) == (2, "1 rows were not taken")
    await shipper.ship()
    assert (sink.has, shipper.delivered, shipper.error) == (set(ids), 3, None)


async def test_rows_that_are_rejected_together_are_told_apart(engine: AsyncEngine) -> None:
    ids = await write(engine, 9, "memory")
    bad = {ids[2], ids[7]}

    def reject(given: list[str]) -> Answer:
        if bad & set(given):
            raise Rejected("HTTP 400")
        return ALL_TAKEN

    sink = Memory(*[reject] * 100)
    shipper = Shipper(engine, sink)
    await shipper.ship()
    assert sink.has == set(ids) - bad
    assert await waiting(engine, "memory") == []
    assert await waiting(engine, "memory-aside") == sorted(bad)
    assert (shipper.delivered, shipper.failed) == (7, 2)


async def test_rows_that_are_no_longer_in_the_books(engine: AsyncEngine) -> None:
    ids = await write(engine, 2, "memory")
    async with engine.begin() as connection:
        await connection.execute(delete(requests).where(requests.c.id == ids[0]))
    shipper = Shipper(engine, Memory())
    await shipper.ship()
    assert (shipper.delivered, shipper.failed) == (1, 1)
    assert await waiting(engine, "memory") == []


async def test_one_of_two_processes_ships(engine: AsyncEngine) -> None:
    ids = await write(engine, 5, "memory")
    one, other = Memory(), Memory()
    first = spawn(Shipper(engine, one).run(), "first")
    while not one.has:
        await asyncio.sleep(0.01)
    second = spawn(Shipper(engine, other).run(), "second")
    await asyncio.sleep(0.3)
    assert (one.calls, other.calls) == ([ids], [])
    await end(first)  # it resigns
    more = await write(engine, 2, "memory")
    async with asyncio.timeout(5):
        while not other.has:
            await asyncio.sleep(0.01)
    await end(second)
    assert (one.calls, other.calls) == ([ids], [more])


async def test_another_takes_over_from_one_that_died(engine: AsyncEngine) -> None:
    ids = await write(engine, 1, "memory")
    assert await Outbox(engine, "memory").claim("the dead", 60)
    sink = Memory()
    shipper = Shipper(engine, sink)
    await shipper._look()
    assert (sink.calls, shipper.pending) == ([], 1)
    async with engine.begin() as connection:
        await connection.execute(update(leases).values(expires_at=1))
    await shipper._look()
    assert sink.calls == [ids]


async def test_a_database_that_is_away_ends_nothing(engine: AsyncEngine) -> None:
    ids = await write(engine, 1, "memory")
    sink, clock = Memory(), Clock()
    shipper = Shipper(engine, sink, clock)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE outbox RENAME TO away"))
    assert not await shipper._look()
    assert shipper.error is not None
    assert shipper.error.startswith("the database failed with")
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO outbox"))
    clock.now += 2
    await shipper._look()
    assert (sink.calls, shipper.error) == ([ids], None)


async def test_close_closes_the_sink(engine: AsyncEngine) -> None:
    sink = Memory()
    shipper: Any = Shipper(engine, sink)
    await shipper.close()
    assert (sink.is_closed, shipper.name) == (True, "memory")
