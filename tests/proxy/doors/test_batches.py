"""Many jobs, some at a time, each told of as it is done."""

import asyncio
from typing import Any

import pytest

from proxy.client import Heard
from proxy.doors.batches import Batch, Done, Job, error_of
from proxy.errors import LimitExceeded, NotFound


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


def test_an_error_among_results_says_its_status() -> None:
    assert error_of(LimitExceeded("slow down", param="x")) == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": "x",
        "code": "rate_limit_exceeded",
        "status": 429,
    }
