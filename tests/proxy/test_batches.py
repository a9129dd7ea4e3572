"""Many jobs, some at a time, each told of as it is done."""

import asyncio
from typing import Any

import pytest

from proxy.batches import Batch, Done, Job
from proxy.client import Heard
from proxy.errors import NotFound


def job(result: Any, running: list[int], most: list[int]) -> Job:
    async def work(client: Heard) -> Any:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.001)
        running.pop()
        if isinstance(result, Exception):
            raise result
        return result

    return work


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_so_many_at_a_time(concurrency: int) -> None:
    running: list[int] = []
    most: list[int] = []
    batch = Batch([job(n, running, most) for n in range(20)], concurrency)
    done = [each async for each in batch.results()]
    assert sorted(done) == [Done(n, n, None) for n in range(20)]
    assert max(most) == min(concurrency, 20)


async def test_an_error_is_that_jobs_alone() -> None:
    error = NotFound("there is none")
    batch = Batch([job(1, [], []), job(error, [], []), job(3, [], [])], 1)
    done = [each async for each in batch.results()]
    assert [(each.answer, each.error) for each in done] == [(1, None), (None, error), (3, None)]


async def test_a_fault_of_ours_is_that_jobs_alone(caplog: pytest.LogCaptureFixture) -> None:
    batch = Batch([job(ZeroDivisionError(), [], []), job(2, [], [])], 1)
    first, second = [each async for each in batch.results()]
    assert (first.error.status, first.error.code) == (500, "internal_error")  # type: ignore[union-attr]
    assert second.answer == 2
    assert "ZeroDivisionError" in caplog.text


async def test_nothing_is_begun_once_nobody_wants_it() -> None:
    begun: list[Heard] = []

    async def work(client: Heard) -> None:
        begun.append(client)
        while not client.gone:
            await asyncio.sleep(0.001)

    batch = Batch([work] * 10, 2)
    results = batch.results()
    first = asyncio.ensure_future(anext(results))
    while len(begun) < 2:
        await asyncio.sleep(0.001)
    batch.leave()
    await first
    await results.aclose()
    assert len(begun) == 2


async def test_each_waits_until_there_is_room() -> None:
    begun: list[int] = []
    free = asyncio.Event()

    async def work(_: Heard) -> None:
        begun.append(1)

    async def room() -> None:
        await free.wait()

    batch = Batch([work] * 3, 2, room)
    working = asyncio.ensure_future(_all(batch))
    await asyncio.sleep(0.01)
    assert not begun
    free.set()
    assert await working == [0, 1, 2]
    assert len(begun) == 3


async def test_who_waits_for_room_is_told_that_nobody_wants_it() -> None:
    async def work(_: Heard) -> None:
        raise AssertionError("it was begun")

    async def room() -> None:
        while not batch.is_over:
            await asyncio.sleep(0.001)

    batch = Batch([work] * 3, 2, room)
    working = asyncio.ensure_future(_all(batch))
    await asyncio.sleep(0.01)
    batch.leave()
    assert await asyncio.wait_for(working, 5) == []


async def _all(batch: Batch) -> list[int]:
    return sorted([each.place async for each in batch.results()])
