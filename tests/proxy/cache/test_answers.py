"""The answers in this process's memory: how long they live, what goes first, what a purge names."""

import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.cache.answers import (
    LEAST_COST,
    OVERHEAD,
    LocalAnswers,
    Size,
    age_of,
    matches,
    size_of,
)
from proxy.cache.types import Entry, Purge
from tests.proxy.cache.entries import NOW, Clock, entry


def sized(name: str, size: int, **over: Any) -> Entry:
    """An entry that takes so many bytes."""
    made = entry(name, body=b"", **over)
    return made._replace(body=b"x" * (size - size_of(made)))


def names(answers: LocalAnswers) -> set[str]:
    return {kept.id.rpartition(":")[2] for kept in answers.entries()}


def id_of(name: str) -> str:
    return f"llm:cache:-:{name}"


async def test_what_is_put_is_there() -> None:
    answers = LocalAnswers(1 << 20, Clock())
    assert await answers.get(id_of("a")) is None
    assert await answers.put(entry())
    assert await answers.get(id_of("a")) == entry()
    assert await answers.get(id_of("b")) is None
    assert await answers.size() == Size(1, OVERHEAD + len(entry().body) + len(id_of("a")))


async def test_it_lives_its_time_and_no_hit_prolongs_it() -> None:
    clock = Clock()
    answers = LocalAnswers(1 << 20, clock)
    await answers.put(entry())
    for second in (0, 30, 59, 59.99):
        clock.now = NOW + second
        assert await answers.get(id_of("a")) == entry()
    clock.now = NOW + 60
    assert await answers.get(id_of("a")) is None
    assert await answers.size() == Size(0, 0)


async def test_what_has_expired_already_is_not_kept() -> None:
    answers = LocalAnswers(1 << 20, Clock(NOW + 60))
    assert not await answers.put(entry())
    assert await answers.size() == Size(0, 0)


async def test_a_new_answer_takes_the_place_of_the_old_one() -> None:
    answers = LocalAnswers(1 << 20, Clock())
    await answers.put(entry(body=b"old answer"))
    await answers.put(entry(body=b"new"))
    found = await answers.get(id_of("a"))
    assert found is not None
    assert found.body == b"new"
    assert await answers.size() == Size(1, OVERHEAD + len(b"new") + len(id_of("a")))


async def test_one_answer_may_take_a_tenth_of_the_room() -> None:
    answers = LocalAnswers(100_000, Clock())
    assert await answers.put(sized("a", 10_000))
    assert not await answers.put(sized("b", 10_001))
    assert not await answers.put(sized("a", 10_001))
    assert names(answers) == {"a"}


class TestEviction:
    async def test_the_cheapest_for_its_size_goes_first(self) -> None:
        answers = LocalAnswers(30_000, Clock())
        await answers.put(sized("cheap", 3_000, cost_nanousd=LEAST_COST))
        for number in range(9):
            await answers.put(sized(f"dear{number}", 3_000, cost_nanousd=100 * LEAST_COST))
        assert len(names(answers)) == 10
        await answers.put(sized("new", 3_000, cost_nanousd=100 * LEAST_COST))
        assert names(answers) == {"new", *(f"dear{number}" for number in range(9))}
        assert answers.evicted == 1

    async def test_of_two_that_cost_the_same_the_larger_goes(self) -> None:
        answers = LocalAnswers(20_000, Clock())
        await answers.put(sized("large", 2_000, cost_nanousd=10**6))
        for number in range(18):
            await answers.put(sized(f"small{number}", 1_000, cost_nanousd=10**6))
        await answers.put(sized("new", 1_000, cost_nanousd=10**6))
        assert "large" not in names(answers)
        assert len(names(answers)) == 19

    async def test_what_was_asked_for_stays_longer(self) -> None:
        answers = LocalAnswers(10_000, Clock())
        for number in range(10):
            await answers.put(sized(f"{number}", 1_000))
        for _ in range(3):
            await answers.get(id_of("0"))
        for number in range(10, 19):
            await answers.put(sized(f"{number}", 1_000))
        assert "0" in names(answers)
        assert names(answers).isdisjoint(str(number) for number in range(1, 10))

    async def test_what_nobody_asks_for_any_more_goes_in_the_end(self) -> None:
        answers = LocalAnswers(10_000, Clock())
        await answers.put(sized("old", 1_000))
        for _ in range(5):
            await answers.get(id_of("old"))
        for number in range(100):
            await answers.put(sized(f"{number}", 1_000))
        assert "old" not in names(answers)

    async def test_what_has_expired_goes_before_anything_else(self) -> None:
        clock = Clock()
        answers = LocalAnswers(10_000, clock)
        dear = sized("dear", 1_000, cost_nanousd=10**9, expires_at=NOW + 5)
        await answers.put(dear)
        for number in range(9):
            await answers.put(sized(f"{number}", 1_000))
        clock.now = NOW + 5
        await answers.put(sized("new", 1_000))
        assert names(answers) == {"new", *map(str, range(9))}
        assert answers.evicted == 0

    async def test_what_was_put_again_is_not_dropped_for_its_old_time(self) -> None:
        clock = Clock()
        answers = LocalAnswers(10_000, clock)
        await answers.put(sized("again", 1_000, expires_at=NOW + 5))
        clock.now = NOW + 4
        await answers.put(sized("again", 1_000, cost_nanousd=10**9, expires_at=NOW + 600))
        clock.now = NOW + 6
        for number in range(20):
            await answers.put(sized(f"{number}", 1_000, expires_at=NOW + 600))
        assert "again" in names(answers)

    async def test_an_answer_without_a_price_has_a_weight_too(self) -> None:
        answers = LocalAnswers(10_000, Clock())
        for number in range(30):
            await answers.put(sized(f"{number}", 1_000, cost_nanousd=[None, 0][number % 2]))
        assert names(answers) == {str(number) for number in range(20, 30)}

    async def test_the_queues_do_not_grow_with_what_is_gone(self) -> None:
        answers = LocalAnswers(10_000, Clock())
        for number in range(5_000):
            await answers.put(sized(f"{number % 7}", 1_000))
            await answers.get(id_of(f"{number % 7}"))
        assert len(answers._queue) <= 2 * 10 + 65
        assert len(answers._expiring) <= 2 * 10 + 65


PURGED = entry(
    "00ff",
    id="llm:cache:sum:00ff",
    name="task/sum",
    provider="up",
    model="m-1",
    tags=("docs", "v2"),
    epoch="e1",
)


@pytest.mark.parametrize(
    ("purge", "expected"),
    [
        (Purge(), True),
        (Purge(id="llm:cache:sum:00ff"), True),
        (Purge(id="llm:cache:sum:00f"), False),
        (Purge(pattern="llm:cache:sum:*"), True),
        (Purge(pattern="llm:cache:s?m:*"), True),
        (Purge(pattern="llm:cache:sum"), False),
        (Purge(pattern="LLM:*"), False),
        (Purge(model="task/sum"), True),
        (Purge(model="m-1"), True),
        (Purge(model="up/m-1"), True),
        (Purge(model="up"), False),
        (Purge(model="other/m-1"), False),
        (Purge(task="sum"), True),
        (Purge(task="-"), False),
        (Purge(tag="v2"), True),
        (Purge(tag="v"), False),
        (Purge(epoch="e1"), True),
        (Purge(epoch=""), False),
        (Purge(task="sum", tag="docs", model="m-1", epoch="e1"), True),
        (Purge(task="sum", tag="other"), False),
    ],
)
def test_what_a_purge_names(purge: Purge, expected: bool) -> None:
    assert matches(PURGED, purge) is expected


def test_a_purge_of_no_task_is_of_those_without() -> None:
    assert matches(entry(), Purge(task="-"))


async def test_a_purge_drops_what_it_names_and_counts_it() -> None:
    answers = LocalAnswers(1 << 20, Clock())
    for name in "abcd":
        await answers.put(entry(name, tags=("even",) if name in "bd" else ()))
    assert await answers.purge(Purge(tag="even")) == 2
    assert names(answers) == {"a", "c"}
    assert await answers.purge(Purge(tag="even")) == 0
    assert await answers.purge(Purge()) == 2
    assert await answers.size() == Size(0, 0)


@pytest.mark.parametrize(("later", "age"), [(0, 0), (0.99, 0), (1, 1), (61.5, 61), (-5, 0)])
def test_age_is_in_whole_seconds(later: float, age: int) -> None:
    assert age_of(entry(), NOW + later) == age


async def test_the_size_is_about_what_the_memory_takes() -> None:
    count = 2_000
    tracemalloc.start()
    try:
        answers = LocalAnswers(1 << 30, Clock())
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            body = b"x" * 500 + b"%d" % number
            await answers.put(entry(body=body, id=f"llm:cache:-:{number:032x}"))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    said = (await answers.size()).bytes
    assert 0.75 * said < taken < 1.25 * said


@dataclass
class Model:
    """What a store without a bound would have."""

    entries: dict[str, Entry] = field(default_factory=dict)


SMALL = 20_000


class Store(RuleBasedStateMachine):
    """Any order of puts, gets, purges and time: never an old or expired answer, never too many
    bytes, and the bytes it says are those of what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.answers = LocalAnswers(SMALL, self.clock)
        self.model = Model()

    def do(self, work: Any) -> Any:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waited for something")

    @rule(
        name=st.sampled_from("abcdefghijklmnop"),
        size=st.integers(900, 2_400),
        ttl=st.integers(-1, 30),
        cost=st.none() | st.integers(0, 10**7),
    )
    def put(self, name: str, size: int, ttl: int, cost: int | None) -> None:
        made = sized(name, size, cost_nanousd=cost, expires_at=self.clock.now + ttl)
        fits = size <= SMALL // 10 and ttl > 0
        kept = self.do(self.answers.put(made))
        assert fits or not kept
        if fits:
            self.model.entries[made.id] = made

    @rule(name=st.sampled_from("abcdefghijklmnop"))
    def get(self, name: str) -> None:
        found = self.do(self.answers.get(id_of(name)))
        if found is not None:
            assert found == self.model.entries[id_of(name)]
            assert found.expires_at > self.clock.now

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(name=st.sampled_from("abcdefghijklmnop"))
    def purge(self, name: str) -> None:
        self.do(self.answers.purge(Purge(id=id_of(name))))
        assert id_of(name) not in {kept.id for kept in self.answers.entries()}

    @invariant()
    def is_bounded(self) -> None:
        size = self.do(self.answers.size())
        kept = list(self.answers.entries())
        assert size == Size(len(kept), sum(map(size_of, kept)))
        assert size.bytes <= SMALL


TestStore = Store.TestCase


@given(st.lists(st.integers(0, 30), max_size=200))
async def test_without_pressure_nothing_is_lost(asked: list[int]) -> None:
    answers = LocalAnswers(1 << 20, Clock())
    for number in asked:
        await answers.put(entry(str(number)))
    assert names(answers) == set(map(str, asked))
