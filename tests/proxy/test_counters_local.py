"""Counts in one process: the arithmetic of each kind, and that no limit is ever passed."""

import asyncio
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from proxy.counters import Grant, Kind, Want
from proxy.counters_local import LocalCounters, Portion

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z: a minute, a day and a month begin


class Clock:
    def __init__(self, now: float = EPOCH) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def a_minute(limit: int, amount: int = 1, key: str = "rpm") -> Want:
    return Want(key, Kind.SLIDING, limit, amount, 60.0)


def a_day(limit: int, amount: int, key: str = "budget", begins: float = EPOCH) -> Want:
    return Want(key, Kind.FIXED, limit, amount, 86400.0, begins)


def a_place(limit: int, seconds: float = 660.0) -> Want:
    return Want("places", Kind.GAUGE, limit, 1, seconds)


async def test_a_window_slides() -> None:
    clock = Clock(EPOCH + 20)
    counters = LocalCounters(clock)
    assert await counters.reserve("a", [a_minute(100, 60)]) == Grant(None, (40,), (99.000001,))
    assert await counters.reserve("b", [a_minute(100, 41)]) == Grant(0, (40,), (40.000001,))
    clock.now = EPOCH + 75  # three quarters of the 60 still overlap: 45 of 100
    assert await counters.reserve("c", [a_minute(100, 60)]) == Grant(0, (55,), (4.000001,))
    assert (await counters.reserve("d", [a_minute(100, 55)])).remaining == (0,)
    clock.now = EPOCH + 180  # two windows on, nothing is left of either
    assert (await counters.reserve("e", [a_minute(100, 100)])).blocked is None


async def test_a_small_limit_is_whole_again_when_its_window_ends() -> None:
    clock = Clock(EPOCH + 15)
    counters = LocalCounters(clock)
    assert await counters.reserve("a", [a_minute(1)]) == Grant(None, (0,), (45.000001,))
    assert await counters.reserve("b", [a_minute(1)]) == Grant(0, (0,), (45.000001,))
    clock.now = EPOCH + 60.000001
    assert (await counters.reserve("b", [a_minute(1)])).blocked is None


async def test_what_never_fits_is_told_a_whole_window() -> None:
    counters = LocalCounters(Clock())
    assert await counters.reserve("a", [a_minute(5, 6)]) == Grant(0, (5,), (60.0,))


async def test_a_day_ends_at_once() -> None:
    clock = Clock(EPOCH + 3600)
    counters = LocalCounters(clock)
    assert await counters.reserve("a", [a_day(10, 7)]) == Grant(None, (3,), (82800.0,))
    assert await counters.reserve("b", [a_day(10, 4)]) == Grant(0, (3,), (82800.0,))
    assert await counters.reserve("b", [a_day(10, 3)]) == Grant(None, (0,), (82800.0,))
    clock.now = EPOCH + 86400
    tomorrow = a_day(10, 10, begins=EPOCH + 86400)
    assert (await counters.reserve("c", [tomorrow])).blocked is None
    await counters.settle("a", [a_day(10, 7)], [9])  # of yesterday: today is as it was
    assert (await counters.reserve("d", [tomorrow])).remaining == (0,)


async def test_a_gauge_counts_what_is_under_way() -> None:
    clock = Clock()
    counters = LocalCounters(clock)
    assert await counters.reserve("a", [a_place(2)]) == Grant(None, (1,), (1.0,))
    assert (await counters.reserve("b", [a_place(2)])).blocked is None
    assert await counters.reserve("c", [a_place(2)]) == Grant(0, (0,), (1.0,))
    await counters.settle("a", [a_place(2)], [0])
    await counters.settle("a", [a_place(2)], [0])
    assert (await counters.reserve("c", [a_place(2)])).blocked is None
    assert (await counters.reserve("d", [a_place(2)])).blocked == 0
    clock.now += 660  # b and c have died
    assert (await counters.reserve("d", [a_place(2)])).remaining == (1,)
    await counters.settle("b", [a_place(2)], [0])
    assert (await counters.reserve("e", [a_place(2)])).remaining == (0,)


async def test_all_or_nothing() -> None:
    counters = LocalCounters(Clock())
    both = [a_minute(5, 1, "a"), a_day(10, 11)]
    assert await counters.reserve("x", both) == Grant(1, (5, 10), (0.0, 86400.0))
    assert (await counters.reserve("y", [a_minute(5, 5, "a")])).blocked is None


async def test_used_takes_the_place_of_reserved_where_that_was() -> None:
    clock = Clock(EPOCH + 59)
    counters = LocalCounters(clock)
    want = a_minute(100, 80)
    await counters.reserve("a", [want])
    await counters.reserve("b", [a_minute(100, 20)])
    clock.now = EPOCH + 60
    assert (await counters.reserve("c", [a_minute(100, 1)])).blocked == 0
    await counters.settle("a", [want], [10])
    await counters.settle("a", [want], [0])  # a second time: nothing
    await counters.settle("nobody", [want], [99])
    assert (await counters.reserve("c", [a_minute(100, 1)])).remaining == (69,)


async def test_more_may_be_used_than_was_reserved() -> None:
    clock = Clock()
    counters = LocalCounters(clock)
    await counters.reserve("a", [a_day(10, 1)])
    await counters.settle("a", [a_day(10, 1)], [15])
    assert await counters.reserve("b", [a_day(10, 0)]) == Grant(0, (0,), (86400.0,))


async def test_what_nobody_settles() -> None:
    """Money comes back after an hour, and what was used of a window goes when that ends."""
    clock = Clock(EPOCH + 10)
    counters = LocalCounters(clock)
    wants = [a_day(10, 10), Want("rpd", Kind.SLIDING, 1, 1, 86400.0)]
    await counters.reserve("a", wants)
    clock.now += 3599
    assert (await counters.reserve("b", wants[:1])).blocked == 0
    clock.now += 1
    assert (await counters.reserve("b", wants[1:])).blocked == 0
    assert (await counters.reserve("b", wants[:1])).blocked is None
    await counters.settle("a", wants, [10, 1])  # too late: it was given up
    await counters.settle("b", wants[:1], [4])
    assert await counters.reserve("c", [a_day(10, 6)]) == Grant(None, (0,), (82790.0,))


async def test_a_clock_that_is_put_back() -> None:
    clock = Clock(EPOCH + 60)
    counters = LocalCounters(clock)
    await counters.reserve("a", [a_minute(1)])
    clock.now = EPOCH
    assert (await counters.reserve("b", [a_minute(1)])).blocked == 0


async def test_what_was_used_before_this_process_counts() -> None:
    counters = LocalCounters(Clock())
    await counters.prime(a_day(10, 8))
    assert (await counters.reserve("a", [a_day(10, 3)])).blocked == 0
    assert (await counters.reserve("a", [a_day(10, 2)])).remaining == (0,)


async def test_what_was_used_before_is_added_to_what_is_known() -> None:
    """A budget is set for one who is at work: a request comes before the count is told."""
    counters = LocalCounters(Clock())
    await counters.reserve("a", [a_day(100, 10)])
    for _ in range(2):
        await counters.prime(a_day(100, 60))
        assert (await counters.reserve("b", [a_day(100, 0)])).remaining == (30,)
    await counters.settle("a", [a_day(100, 10)], [4])
    assert (await counters.reserve("b", [a_day(100, 0)])).remaining == (36,)
    await counters.prime(a_day(100, 64))  # what it knows itself, from the books
    await counters.prime(a_day(100, 0))
    assert (await counters.reserve("b", [a_day(100, 0)])).remaining == (36,)
    await counters.prime(a_day(100, 65))
    assert (await counters.reserve("b", [a_day(100, 0)])).remaining == (35,)


async def test_memory_is_bounded_and_what_counts_is_kept() -> None:
    clock = Clock()
    counters = LocalCounters(clock, kept=2_000)
    for number in range(5_000):
        clock.now += 1
        budget = await counters.reserve("b", [a_day(10, 10)])
        assert budget.blocked == (0 if number else None)
        await counters.settle("b", [a_day(10, 10)], [10])
        await counters.reserve(str(number), [a_minute(5, key=f"key{number}")])
        assert len(counters._counts) <= 2_000
        assert len(counters._holders) <= 2_000


async def test_a_count_of_nothing_is_kept_while_it_is_held() -> None:
    clock = Clock()
    counters = LocalCounters(clock)
    free = a_day(10, 0)
    await counters.reserve("a", [free])
    for number in range(2_000):
        await counters.reserve(str(number), [a_day(1, 0, f"other{number}")])
        await counters.settle(str(number), [a_day(1, 0, f"other{number}")], [0])
    await counters.settle("a", [free], [10])
    assert (await counters.reserve("b", [a_day(10, 1)])).blocked == 0


async def test_the_last_cent_is_given_once() -> None:
    counters = LocalCounters(Clock())
    cent, each = 10_000_000, 300_000
    want = a_day(cent, each)
    grants = await asyncio.gather(*(counters.reserve(str(n), [want]) for n in range(200)))
    let_in = [n for n, grant in enumerate(grants) if grant.blocked is None]
    assert len(let_in) == 33  # 9,900,000 of 10,000,000
    await asyncio.gather(*(counters.settle(str(n), [want], [100_000]) for n in let_in))
    grants = await asyncio.gather(*(counters.reserve(f"again {n}", [want]) for n in range(200)))
    assert sum(grant.blocked is None for grant in grants) == 22  # of the 6,700,000 that are free


LIMIT = 20
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 90_000_000)),
        st.tuples(st.just("reserve"), st.integers(0, LIMIT + 1)),
        st.tuples(st.just("settle"), st.integers(0, 10)),
    ),
    max_size=60,
)
"""Microseconds to wait, amounts to reserve, which reservation to settle (at half)."""


class Run:
    """Does the steps, and keeps its own books: (time, amount) of each reservation, in fractions
    of seconds, so that no sum of the counters' is used."""

    def __init__(self, want: Want) -> None:
        self.clock = Clock(0.0)
        self.counters = LocalCounters(self.clock)
        self.want = want
        self.now = Fraction(0)
        self.taken: list[tuple[Fraction, int]] = []
        self.settled: set[int] = set()

    async def run(self, steps: list[tuple[str, int]]) -> None:
        for step, number in steps:
            if step == "wait":
                self.now += Fraction(number, 10**6)
                self.clock.now = float(self.now) + 1e-9
            elif step == "reserve":
                await self.reserve(number)
            elif number < len(self.taken):
                await self.settle(number)

    async def reserve(self, amount: int) -> None:
        want = self.want._replace(amount=amount)
        used = self.used()
        grant = await self.counters.reserve(str(len(self.taken)), [want])
        assert (grant.blocked is None) == (used + amount <= LIMIT)
        if grant.blocked is None:
            self.taken.append((self.now, amount))
        assert grant.remaining == (LIMIT - self.used(),)
        assert self.used() <= LIMIT

    async def settle(self, number: int) -> None:
        at, amount = self.taken[number]
        want = self.want._replace(amount=amount)
        await self.counters.settle(str(number), [want], [amount // 2])
        if number not in self.settled:
            self.settled.add(number)
            self.forget(number, at, amount)

    def forget(self, number: int, at: Fraction, amount: int) -> None:
        self.taken[number] = (at, amount // 2)

    def used(self) -> int:
        raise NotImplementedError


class Sliding(Run):
    def used(self) -> int:
        window = self.now // 60
        overlap = 1 - (self.now - 60 * window) / 60
        current = sum(amount for at, amount in self.taken if at // 60 == window)
        before = sum(amount for at, amount in self.taken if at // 60 == window - 1)
        return current + int(before * overlap)


class Fixed(Run):
    def used(self) -> int:
        return sum(amount for _, amount in self.taken)


class Places(Run):
    def used(self) -> int:
        return sum(amount for at, amount in self.taken if self.now < at + 60)

    def forget(self, number: int, at: Fraction, amount: int) -> None:
        self.taken[number] = (at, 0)


@given(STEPS)
def test_a_sliding_limit_is_kept(steps: list[tuple[str, int]]) -> None:
    run = Sliding(Want("k", Kind.SLIDING, LIMIT, 0, 60.0))
    asyncio.run(run.run(steps))
    for begin, _ in run.taken:  # in no minute more than twice, in no clock's minute more than once
        span = [amount for at, amount in run.taken if begin <= at < begin + 60]
        assert sum(span) <= 2 * LIMIT
        aligned = [amount for at, amount in run.taken if at // 60 == begin // 60]
        assert sum(aligned) <= LIMIT


@given(STEPS)
def test_a_fixed_limit_is_kept(steps: list[tuple[str, int]]) -> None:
    run = Fixed(Want("k", Kind.FIXED, LIMIT, 0, 1e9))
    asyncio.run(run.run([s if s[0] != "wait" else ("wait", s[1] // 10) for s in steps]))


@given(STEPS)
def test_a_gauge_is_kept(steps: list[tuple[str, int]]) -> None:
    asyncio.run(Places(Want("k", Kind.GAUGE, LIMIT, 0, 60.0)).run(steps))


@given(st.integers(0, 59_000_000), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_the_wait_that_is_told_is_enough_and_no_longer(start: int, amounts: list[int]) -> None:
    """Waiting as told lets in; a microsecond less does not."""

    async def run() -> None:
        clock = Clock(start / 10**6 + 1e-9)
        counters = LocalCounters(clock)
        for number, amount in enumerate(amounts):
            clock.now += 7
            want = a_minute(LIMIT, amount)
            grant = await counters.reserve(str(number), [want])
            if grant.blocked is None:
                continue
            clock.now += grant.resets[0] - 2e-6
            assert (await counters.reserve(f"early {number}", [want])).blocked == 0
            clock.now += 2e-6
            assert (await counters.reserve(str(number), [want])).blocked is None

    asyncio.run(run())


async def test_a_portion_of_what_several_processes_may() -> None:
    counters = Portion(LocalCounters(Clock()), 4)
    grants = [await counters.reserve(str(i), [a_day(10, 1)]) for i in range(3)]
    assert [grant.blocked for grant in grants] == [None, None, 0]
    await counters.settle("0", [a_day(10, 1)], [0])
    assert (await counters.reserve("again", [a_day(10, 1)])).blocked is None
    narrow = Portion(LocalCounters(Clock()), 4)
    await narrow.prime(a_day(40, 36))
    assert (await narrow.reserve("a", [a_day(40, 2)])).blocked == 0
    assert (await narrow.reserve("a", [a_day(40, 1)])).blocked is None
    least = Portion(LocalCounters(Clock()), 4)
    assert (await least.reserve("b", [a_day(1, 1)])).blocked is None  # a door, not a wall
