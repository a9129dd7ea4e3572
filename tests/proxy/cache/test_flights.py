"""Of the same requests under way one asks."""

import asyncio

from proxy.cache.flights import Flights, Landed, Landing, Shared
from proxy.cache.types import Tier
from tests.proxy.cache.entries import entry


async def test_one_leads_until_it_lands() -> None:
    flights = Flights()
    assert [flights.lead("a"), flights.lead("a"), flights.lead("b")] == [True, False, True]
    assert len(flights) == 2
    flights.land("a", Landing.FAILED)
    assert len(flights) == 1
    assert flights.lead("a")


async def test_all_who_wait_have_what_the_leader_brings() -> None:
    flights = Flights()
    flights.lead("a")
    waiting = [asyncio.ensure_future(flights.wait("a", 5)) for _ in range(10)]
    await asyncio.sleep(0)
    shared = Shared(entry(), Tier.SEMANTIC, 0.93)
    flights.land("a", shared)
    assert await asyncio.gather(*waiting) == [shared] * 10
    assert len(flights) == 0


async def test_a_leader_that_fails_is_followed_by_one_of_those_who_wait() -> None:
    flights = Flights()
    led: list[int] = []

    async def follow(number: int) -> Landed:
        while not flights.lead("a"):
            landed = await flights.wait("a", 5)
            if landed is not Landing.FAILED:
                return landed
        led.append(number)
        await asyncio.sleep(0.01)
        landed = Landing.FAILED if len(led) < 3 else Shared(entry())
        flights.land("a", landed)
        return landed

    landings = await asyncio.gather(*(follow(number) for number in range(10)))
    assert led == [0, 1, 2]
    assert landings[:2] == [Landing.FAILED] * 2
    assert landings[2:] == [Shared(entry())] * 8


async def test_who_waits_too_long_asks_itself() -> None:
    flights = Flights()
    flights.lead("a")
    assert await flights.wait("a", 0.01) is Landing.NOT_KEPT
    assert await flights.wait("a", -1) is Landing.NOT_KEPT
    assert not flights.lead("a")


async def test_who_comes_when_it_has_landed_leads() -> None:
    flights = Flights()
    assert await flights.wait("a", 1) is Landing.FAILED
    assert flights.lead("a")


async def test_a_waiter_that_leaves_takes_nobody_along() -> None:
    flights = Flights()
    flights.lead("a")
    gone, stays = (asyncio.ensure_future(flights.wait("a", 5)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    flights.land("a", Landing.NOT_KEPT)
    assert gone.cancelled()
    assert await stays is Landing.NOT_KEPT


async def test_landing_twice_does_nothing() -> None:
    flights = Flights()
    flights.lead("a")
    waiting = asyncio.ensure_future(flights.wait("a", 5))
    await asyncio.sleep(0)
    flights.land("a", Landing.NOT_KEPT)
    flights.land("a", Landing.FAILED)
    flights.land("b", Landing.FAILED)
    assert await waiting is Landing.NOT_KEPT
