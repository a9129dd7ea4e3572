"""Counts in a real Redis: exact, never an error, and a share of each limit without it."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.counters import Grant, Kind, Want
from proxy.counters_local import LocalCounters
from proxy.shared import backlog, counters
from proxy.shared.counters import SharedCounters
from proxy.shared.redis import Link
from tests.proxy.shared.conftest import eventually
from tests.proxy.shared.race import race
from tests.proxy.shared.racer import BEGINS, CENT
from tests.redis_server import RedisServer

DAY = 86400.0
BUDGET = Want("budget", Kind.FIXED, 1000, 100, DAY, BEGINS)
CALLS = Want("rpm", Kind.SLIDING, 10, 1, 3600.0)
HELD = Want("concurrency", Kind.GAUGE, 3, 1, 600.0)
SLACK = 0.3  # seconds by which a busy machine may be late
BUDGET_KEY = "turnout:{limits}:f:1790000000000:budget"


@asynccontextmanager
async def counting(
    server: RedisServer, shares: int = 1, bound: float = 2.0
) -> AsyncIterator[tuple[SharedCounters, Link]]:
    link = Link(server.url, bound)
    shared = SharedCounters(link, LocalCounters(), shares)
    try:
        yield shared, link
    finally:
        await shared.close()
        await link.close()


async def reserved(shared: SharedCounters, holder: str, *wants: Want) -> bool:
    return (await shared.reserve(holder, wants)).blocked is None


# Counting.


async def test_all_or_nothing(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        first = await shared.reserve("a", [CALLS, BUDGET, HELD])
        assert (first.blocked, first.remaining) == (None, (9, 900, 2))
        dear = BUDGET._replace(amount=901)
        second = await shared.reserve("b", [CALLS, dear, HELD._replace(limit=0)])
        assert (second.blocked, second.remaining) == (1, (9, 900, 0))
        third = await shared.reserve("c", [CALLS, BUDGET._replace(amount=900), HELD])
        assert (third.blocked, third.remaining) == (None, (8, 0, 1))


async def test_no_wants_are_granted(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        assert await shared.reserve("a", []) == Grant(None, (), ())
        await shared.settle("a", [], [])


async def test_what_was_used_takes_the_place_of_what_was_reserved(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        wants = [CALLS, BUDGET, HELD]
        await shared.reserve("a", wants)
        await shared.settle("a", wants, [3, 250, 1])
        assert (await shared.reserve("b", wants)).remaining == (6, 650, 2)
        for _ in range(3):  # again, or what was never reserved: nothing
            await shared.settle("a", wants, [9, 999, 1])
            await shared.settle("nobody", wants, [9, 999, 1])
        await shared.settle("b", wants, [0, 0, 0])
        assert (await shared.reserve("c", wants)).remaining == (6, 650, 2)


async def test_a_holder_may_reserve_more_than_once(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        for _ in range(2):
            await shared.reserve("a", [BUDGET, HELD])
        await shared.settle("a", [BUDGET, HELD], [10, 0])
        assert (await shared.reserve("b", [BUDGET, HELD])).remaining == (790, 1)
        await shared.settle("a", [BUDGET, HELD], [20, 0])
        assert (await shared.reserve("c", [BUDGET, HELD])).remaining == (770, 1)


async def test_parts_may_be_settled_one_by_one(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        await shared.reserve("a", [CALLS, BUDGET])
        await shared.settle("a", [BUDGET], [1])
        await shared.settle("a", [CALLS], [5])
        assert (await shared.reserve("b", [CALLS, BUDGET])).remaining == (4, 899)


async def test_the_window_slides(server: RedisServer) -> None:
    """Of the window before counts the share that still overlaps, rounded down.

    Windows of 10^9 seconds: the second since the epoch ends in 2033, so that its last thousandth
    is far and the numbers below stand still for 11 days.
    """
    seconds, micros = map(int, server.ask("TIME"))
    window = 10**12
    left = 2 * window - (seconds * 1000 + micros // 1000)
    counted = 1000 * left // window  # of the 1000 calls before
    server.ask("SET", "turnout:{limits}:s:1000000000000:rpm:0", "1000", "PX", "9999999")
    want = CALLS._replace(limit=2000, amount=10, window=1e9)
    async with counting(server) as (shared, _):
        grant = await shared.reserve("a", [want])
        assert grant.remaining == (2000 - counted - 10,)
        # whole when the 10 weigh less than 1: a tenth of a window before they are forgotten
        assert grant.resets == (pytest.approx((left + window - window / 10) / 1000, abs=5),)
        full = await shared.reserve("b", [want._replace(limit=counted + 5, amount=0)])
        assert (full.blocked, full.remaining) == (0, (0,))
        # room for the 10 in `counted + 5` is there when the 1000 weigh less than `counted - 4`
        wait = left - (counted - 4) * window // 1000
        assert full.resets == (pytest.approx(wait / 1000, abs=5),)
        never = await shared.reserve("c", [want._replace(limit=5)])
        assert never.resets == (1e9,)


async def test_resets(server: RedisServer) -> None:
    begins = time.time() - 100
    async with counting(server) as (shared, _):
        wants = [BUDGET._replace(begins=begins), HELD, HELD._replace(key="other", amount=0)]
        grant = await shared.reserve("a", wants)
        assert grant.resets == (pytest.approx(DAY - 100, abs=2), 1.0, 0.0)


async def test_it_counts_as_the_local_counts_do(server: RedisServer) -> None:
    """The same moves on both, as long as no window ends."""
    chance = random.Random(3)
    local = LocalCounters()
    today = BUDGET._replace(begins=float(int(time.time())))
    async with counting(server) as (shared, _):
        under_way: list[tuple[str, list[Want]]] = []
        for turn in range(600):
            if under_way and chance.random() < 0.5:
                holder, wants = under_way.pop(chance.randrange(len(under_way)))
                used = [chance.randrange(60) for _ in wants]
                await local.settle(holder, wants, used)
                await shared.settle(holder, wants, used)
                continue
            kinds = chance.sample([CALLS._replace(limit=800, window=1e9), today, HELD], k=2)
            wants = [w._replace(amount=chance.randrange(3), limit=w.limit * 5) for w in kinds]
            holder = f"holder {turn}"
            mine, theirs = await shared.reserve(holder, wants), await local.reserve(holder, wants)
            assert (mine.blocked, mine.remaining) == (theirs.blocked, theirs.remaining)
            if mine.blocked is None:
                under_way.append((holder, wants))


async def test_money_is_exact_to_the_nano_dollar(server: RedisServer) -> None:
    million = 10**15
    want = BUDGET._replace(limit=9 * million, amount=1)
    async with counting(server) as (shared, _):
        assert await reserved(shared, "a", want._replace(amount=9 * million - 1))
        assert (await shared.reserve("b", [want])).remaining == (0,)
        assert not await reserved(shared, "c", want)
        await shared.settle("a", [want], [9 * million - 2])
        assert (await shared.reserve("d", [want])).remaining == (0,)
        assert server.ask("GET", BUDGET_KEY) == b"9000000000000000"


async def test_a_holder_that_died_frees_its_share(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "LEASE", 0.3)
    gauge = HELD._replace(limit=1, window=0.3)
    async with counting(server) as (shared, _):
        assert await reserved(shared, "a", BUDGET._replace(amount=1000), gauge)
        assert not await reserved(shared, "b", BUDGET)
        assert not await reserved(shared, "b", gauge)
        await asyncio.sleep(0.35)
        assert (await shared.reserve("c", [BUDGET, gauge])).remaining == (900, 0)
        await shared.settle("a", [BUDGET, gauge], [1000, 0])  # from the dead: nothing
        assert (await shared.reserve("d", [BUDGET])).remaining == (800,)


async def test_a_share_given_back_too_early_is_counted_when_it_is_settled(
    server: RedisServer,
) -> None:
    async with counting(server) as (shared, _):
        await shared.reserve("a", [BUDGET])
        [mark] = server.ask("ZRANGE", BUDGET_KEY + ":h", "0", "-1")
        server.ask("ZADD", BUDGET_KEY + ":h", "1", mark.decode())
        assert (await shared.reserve("b", [BUDGET])).remaining == (900,)
        await shared.settle("a", [BUDGET], [70])
        assert (await shared.reserve("c", [BUDGET])).remaining == (730,)


async def test_clocks_need_not_agree(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with counting(server) as (one, _), counting(server) as (other, _):
        assert await reserved(one, "a", CALLS._replace(amount=10), BUDGET._replace(amount=1000))
        there = time.time
        for shift in (-40 * DAY, 40 * DAY):
            monkeypatch.setattr(time, "time", lambda shift=shift: there() + shift)
            assert not await reserved(other, "b", CALLS)
            assert not await reserved(other, "b", BUDGET)
    for begins in (0.0, BEGINS - 400 * DAY, BEGINS + 400 * DAY):  # whatever Redis's clock says
        async with counting(server) as (shared, _):
            assert await reserved(shared, "a", BUDGET._replace(begins=begins, amount=950))
            assert not await reserved(shared, "b", BUDGET._replace(begins=begins))


async def test_every_key_ends(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        await shared.reserve("a", [CALLS, BUDGET, HELD])
        await shared.reserve("b", [CALLS, BUDGET, HELD])
        await shared.settle("a", [CALLS, BUDGET, HELD], [1, 2, 3])
        ttls = {name.removeprefix("turnout:{limits}:"): t for name, t in server.keys().items()}
    [bucket] = [name for name in ttls if name.startswith("s:3600000:rpm:")]
    most = {
        bucket: 2 * 3600,
        "f:1790000000000:budget": DAY + 3600,
        "f:1790000000000:budget:h": DAY + 3600,
        "g:concurrency": 600,
        "g:concurrency:h": 600,
        "r:b": 3600,
    }
    assert ttls.keys() == most.keys()
    assert all(most[name] * 1000 - 5000 < ttl <= most[name] * 1000 for name, ttl in ttls.items())


async def test_an_emptied_redis_is_told_what_was_used_before(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        await shared.prime(BUDGET._replace(amount=800))
        await shared.prime(BUDGET._replace(amount=800))  # by the next process
        assert (await shared.reserve("a", [BUDGET])).remaining == (100,)
        server.kill()
        await shared.prime(BUDGET)  # no error
        server.start()


async def test_what_was_used_before_is_added_to_what_redis_knows(server: RedisServer) -> None:
    """A budget is set for one who is at work: a request comes before the count is told."""
    none = BUDGET._replace(amount=0)
    async with counting(server) as (one, _), counting(server) as (two, _):
        await one.reserve("a", [BUDGET])
        await asyncio.gather(*(each.prime(BUDGET._replace(amount=600)) for each in (one, two)))
        assert server.ask("GET", BUDGET_KEY) == b"700"
        await one.settle("a", [BUDGET], [40])
        assert (await two.reserve("b", [none])).remaining == (360,)
        await two.prime(BUDGET._replace(amount=640))  # what Redis knows itself, from the books
        await two.prime(none)
        assert (await two.reserve("b", [none])).remaining == (360,)
        assert (DAY - 60) * 1000 < server.keys()[BUDGET_KEY] <= (DAY + 3600) * 1000


# Two processes.


def test_two_processes_never_pass_the_cap(server: RedisServer) -> None:
    """A cent is 76 times 130,000 nano-dollars; settled for 30,000 each, 59 more fit."""
    ends = race(server.url, "budget")
    assert sum(end["first"] for end in ends) <= 76 + 59  # one may settle while the other reaches
    key = f"turnout:{{limits}}:f:{round(BEGINS * 1000)}:{CENT.key}"
    won = sum(end["first"] for end in ends)
    again = sum(end["again"] for end in ends)
    counted = won * 30_000 + again * 130_000
    assert int(server.ask("GET", key)) == counted
    assert CENT.limit - CENT.amount < counted <= CENT.limit


async def test_exactly_as_many_as_fit(server: RedisServer) -> None:
    """As above, in one process with two clients, in step."""
    async with counting(server, bound=5) as (one, _), counting(server, bound=5) as (two, _):

        async def reach(number: int) -> bool:
            return await reserved((one, two)[number % 2], f"h{number}", CENT)

        got = await asyncio.gather(*map(reach, range(400)))
        assert sum(got) == 76
        winners = [number for number, won in enumerate(got) if won]
        await asyncio.gather(
            *((one, two)[n % 2].settle(f"h{n}", [CENT], [30_000]) for n in winners)
        )
        assert sum(await asyncio.gather(*map(reach, range(400, 800)))) == 59


# Without Redis.


def test_a_redis_that_dies_and_comes_back_costs_little_and_no_error(server: RedisServer) -> None:
    """Two processes at work; the server is killed, and started again a second later."""

    def trouble() -> None:
        time.sleep(1)
        server.kill()
        time.sleep(1)
        server.start()

    ends = race(server.url, "steady", meanwhile=trouble)
    for end in ends:
        assert end["let_in"] > 300
        assert end["slowest"] < 0.05 + SLACK
        assert end["slow"] < 40
    key = f"turnout:{{limits}}:f:{round(BEGINS * 1000)}:{CENT.key}"
    assert 0 < int(server.ask("GET", key)) <= CENT.limit


@pytest.mark.parametrize("trouble", ["halt", "pause", "sleep"])
async def test_a_slow_redis_costs_its_bound_and_then_nothing(
    server: RedisServer, trouble: str
) -> None:
    sleeper = threading.Thread(target=lambda: server.ask("DEBUG", "SLEEP", "2"))
    async with counting(server, shares=2, bound=0.05) as (shared, link):
        await shared.reserve("first", [CALLS])
        if trouble == "halt":
            server.halt()
        elif trouble == "pause":
            server.ask("CLIENT", "PAUSE", "2000")
        else:
            sleeper.start()
            await asyncio.sleep(0.05)
        spent = []
        roomy = CALLS._replace(limit=10_000)
        for number in range(300):
            began = time.perf_counter()
            assert await reserved(shared, f"h{number}", roomy)
            await shared.settle(f"h{number}", [roomy], [1])
            spent.append(time.perf_counter() - began)
        assert all(0.04 < seconds < 0.05 + SLACK for seconds in spent[:3])
        assert sorted(spent[3:])[-10] < 0.005
        assert sum(seconds > 0.02 for seconds in spent[3:]) <= 2  # a collection of garbage or two
        if trouble == "halt":
            server.go_on()
        elif trouble == "sleep":
            await asyncio.to_thread(sleeper.join)
        await eventually(lambda: link.is_up and not shared._backlog and not shared._batch, 10)
        grant = await shared.reserve("last", [roomy])
        assert grant.remaining == (10_000 - 1 - 300 - 1,)


async def test_what_a_process_gives_out_alone_is_its_share(server: RedisServer) -> None:
    server.kill()
    async with counting(server, shares=2) as (one, _), counting(server, shares=2) as (two, _):
        for shared in (one, two):
            wants = [CALLS, BUDGET._replace(amount=1), HELD]
            got = [await shared.reserve(f"h{n}", wants) for n in range(20)]
            assert [g.blocked for g in got] == [None] + [2] * 19  # 3 // 2 under way
            await shared.settle("h0", wants, [1, 1, 0])
            got = [await shared.reserve(f"i{n}", wants[:1]) for n in range(20)]
            assert sum(g.blocked is None for g in got) == 4  # 10 // 2
            got = [await shared.reserve(f"j{n}", wants[1:2]) for n in range(1000)]
            assert sum(g.blocked is None for g in got) == 499
    server.start()


async def test_a_limit_of_one_does_not_become_none(server: RedisServer) -> None:
    server.kill()
    async with counting(server, shares=8) as (shared, _):
        assert await reserved(shared, "a", HELD._replace(limit=1))
        assert not await reserved(shared, "b", HELD._replace(limit=1))
        assert not await reserved(shared, "c", HELD._replace(limit=0))
    server.start()


async def test_a_cap_that_was_nearly_reached_stays_nearly_reached(server: RedisServer) -> None:
    async with counting(server, shares=2) as (shared, link):
        await shared.reserve("a", [BUDGET._replace(amount=900)])
        server.kill()
        await eventually(lambda: link._line is None)
        small = BUDGET._replace(amount=1)
        got = [await shared.reserve(f"h{n}", [small]) for n in range(200)]
        assert sum(g.blocked is None for g in got) == 50  # half of the 100 that were left
        assert got[0].remaining == (49,)
        assert got[60].remaining == (0,)
        await shared.settle("h0", [small], [0])
        assert await reserved(shared, "more", small)
        assert not await reserved(shared, "too many", small)
        server.start()


async def test_redis_is_told_once_what_was_used_meanwhile(server: RedisServer) -> None:
    async with counting(server) as (shared, link):
        server.kill()
        wants = [CALLS, BUDGET, HELD]
        for number in range(3):
            assert await reserved(shared, f"h{number}", *wants)
            await shared.settle(f"h{number}", wants, [1, 30 + number, 0])
            await shared.settle(f"h{number}", wants, [1, 500, 0])  # twice: nothing
        assert await reserved(shared, "long", *wants)
        server.start()
        await eventually(lambda: link.is_up and not shared._backlog and not shared._batch)
        await shared.settle("long", wants, [1, 7, 0])
        await eventually(lambda: not shared._backlog and not shared._batch)
        assert (await shared.reserve("after", wants)).remaining == (5, 1000 - 93 - 7 - 100, 2)
        assert shared._backlog._lent == {}
        assert shared._here == {}


async def test_a_batch_that_comes_twice_is_added_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counting(server) as (shared, link):
        shared._backlog.owe(BUDGET, 40, time.monotonic())
        ran = link.run
        sent: list[object] = []

        async def twice(*what: object) -> object:
            sent.append(what)
            await ran(*what)  # type: ignore[arg-type]
            return await ran(*what)  # type: ignore[arg-type]

        monkeypatch.setattr(link, "run", twice)
        shared._catch_up()
        await eventually(lambda: bool(sent) and shared._batch is None)
        assert server.ask("GET", BUDGET_KEY) == b"40"


async def test_what_redis_reserves_too_late_is_given_back(server: RedisServer) -> None:
    """It was asked, did not answer in time, and does it all the same."""
    async with counting(server, bound=0.05) as (shared, _):
        await shared.reserve("first", [BUDGET, HELD])
        server.ask("CLIENT", "PAUSE", "120")
        grant = await shared.reserve("slow", [BUDGET, HELD])
        assert grant.blocked is None  # decided here
        await eventually(lambda: not shared._backlog)
        await asyncio.sleep(0.1)
        assert server.ask("GET", BUDGET_KEY) == b"100"
        assert server.ask("GET", "turnout:{limits}:g:concurrency") == b"1"
        assert server.ask("HKEYS", "turnout:{limits}:r:slow") in ([b"void"], [b"turn", b"void"])
        await shared.settle("slow", [BUDGET, HELD], [60, 0])
        await eventually(lambda: not shared._backlog and not shared._batch)
        assert server.ask("GET", BUDGET_KEY) == b"160"


async def test_a_reservation_after_its_holder_gave_up_is_void(server: RedisServer) -> None:
    async with counting(server) as (shared, _):
        shared._give_up("late", [BUDGET])
        await eventually(lambda: not shared._backlog)
        await shared.reserve("late", [BUDGET])
        assert server.ask("GET", BUDGET_KEY) is None


async def test_a_cancelled_reservation_holds_nothing(server: RedisServer) -> None:
    chance = random.Random(5)
    async with counting(server) as (shared, _):
        await shared.reserve("stays", [BUDGET, HELD])
        for number in range(300):
            task = asyncio.create_task(shared.reserve(f"h{number}", [CALLS, BUDGET, HELD]))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(ended[0], asyncio.CancelledError):
                await shared.settle(f"h{number}", [CALLS, BUDGET, HELD], [0, 0, 0])
        await eventually(lambda: not shared._backlog)
        assert (await shared.reserve("last", [CALLS, BUDGET, HELD])).remaining == (9, 800, 1)


async def test_a_settlement_that_redis_missed_is_made_later(server: RedisServer) -> None:
    async with counting(server, bound=0.05) as (shared, link):
        await shared.reserve("a", [BUDGET, HELD])
        server.halt()
        await shared.settle("a", [BUDGET, HELD], [25, 0])
        server.go_on()
        await eventually(lambda: link.is_up and not shared._backlog)
        assert server.ask("GET", BUDGET_KEY) == b"25"
        assert server.ask("GET", "turnout:{limits}:g:concurrency") == b"0"


async def test_scripts_that_redis_forgot_are_no_trouble(server: RedisServer) -> None:
    async with counting(server, bound=5) as (shared, link):
        for number in range(100):
            if number % 3 == 0:
                server.ask("SCRIPT", "FLUSH")
            assert await reserved(shared, f"h{number}", BUDGET._replace(amount=1))
            await shared.settle(f"h{number}", [BUDGET], [2])
        assert link.is_up
        assert server.ask("GET", BUDGET_KEY) == b"200"


async def test_what_waits_for_redis_is_bounded(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "MOST", 50)
    monkeypatch.setattr(counters, "MOST", 50)
    server.kill()
    async with counting(server) as (shared, _):
        for number in range(500):
            want = BUDGET._replace(key=f"budget {number}")
            await shared.reserve(f"a{number}", [want])
            await shared.reserve(f"b{number}", [want])
            await shared.settle(f"a{number}", [want], [9])
        held = shared._backlog
        assert max(map(len, (shared._here, held._lent, held._owed, held.debts))) <= 50
        assert held.lost == 450
        server.start()
        await eventually(lambda: not shared._backlog and not shared._batch)
        await eventually(lambda: "not told of 450 entries" in caplog.text)
        assert server.ask("GET", BUDGET_KEY + " 499") == b"9"
