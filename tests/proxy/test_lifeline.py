"""Deadlines and cuts strike where they should, with their reason, and nowhere else."""

import asyncio

import pytest

from proxy.lifeline import Cut, Lifeline, Severed, Watch


async def test_a_deadline_is_raised_with_its_reason() -> None:
    lifeline = Lifeline(Watch(), total=5)
    lifeline.arm(Cut.IDLE, 0.02)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(asyncio.sleep(5))
    assert caught.value.cut is Cut.IDLE
    lifeline.release()


async def test_a_deadline_can_be_moved_out_again_and_again() -> None:
    lifeline = Lifeline(Watch(), total=5)
    for _ in range(10):
        lifeline.arm(Cut.IDLE, 0.15)
        await lifeline.guard(asyncio.sleep(0.03))
    with pytest.raises(Severed):
        await lifeline.guard(asyncio.sleep(5))
    lifeline.release()


async def test_a_nearer_deadline_replaces_a_farther_one() -> None:
    lifeline = Lifeline(Watch(), total=5)
    lifeline.arm(Cut.FIRST_TOKEN, 4)
    lifeline.arm(Cut.CLIENT_SLOW, 0.02)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(asyncio.sleep(5))
    assert caught.value.cut is Cut.CLIENT_SLOW
    lifeline.release()


async def test_the_total_deadline_is_never_passed() -> None:
    lifeline = Lifeline(Watch(), total=0.03)
    lifeline.arm(Cut.IDLE, 9)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(asyncio.sleep(5))
    assert caught.value.cut is Cut.TOTAL


async def test_after_one_deadline_the_next_one_works() -> None:
    lifeline = Lifeline(Watch(), total=5)
    for _ in range(3):
        lifeline.arm(Cut.FIRST_TOKEN, 0.02)
        with pytest.raises(Severed):
            await lifeline.guard(asyncio.sleep(5))
    lifeline.release()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cut_from_outside() -> None:
    lifeline = Lifeline(Watch(), total=5)
    asyncio.get_running_loop().call_later(0.01, lifeline.cut, Cut.CLIENT_GONE)
    with pytest.raises(Severed) as caught:
        await lifeline.guard(asyncio.sleep(5))
    assert caught.value.cut is Cut.CLIENT_GONE
    lifeline.release()


async def test_a_cancel_that_is_not_ours_passes_through() -> None:
    async def work() -> None:
        lifeline = Lifeline(Watch(), total=5)
        try:
            await lifeline.guard(asyncio.sleep(5))
        finally:
            lifeline.release()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_cut_after_release() -> None:
    lifeline = Lifeline(Watch(), total=0.01)
    lifeline.release()
    await asyncio.sleep(0.15)


async def test_time_left() -> None:
    lifeline = Lifeline(Watch(), total=5)
    assert 4 < lifeline.time_left() <= 5
    lifeline.release()
