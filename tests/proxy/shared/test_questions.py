"""Questions in a real query engine: the nearest of one partition, and never of another."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from proxy.semantic.meaning import Floats
from proxy.semantic.vectors import Neighbour
from proxy.shared import questions as module
from proxy.shared.questions import SharedQuestions
from proxy.shared.redis import Link
from tests.proxy.shared.conftest import eventually
from tests.redis_server import RedisServer
from tests.redis_stack import RedisStack, redis_stack

SLACK = 0.3  # seconds by which a busy machine may be late
WIDTH = 64
P, Q, R = "0" * 31 + "1", "0123456789abcdef" * 2, "f" * 32
MODEL = "minilm 1.0"
LATER = 4_000_000_000.0


@pytest.fixture(scope="module")
def one_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStack]:
    with redis_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def stack(one_stack: RedisStack) -> Iterator[RedisStack]:
    """An empty one; no test may leave a key without an end."""
    yield one_stack
    one_stack.go_on()
    assert [name for name, ttl in one_stack.keys().items() if ttl == -1] == []
    one_stack.ask("CONFIG", "SET", "maxmemory", "0")
    one_stack.ask("FLUSHALL")


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[RedisStack]:
    """One to be killed and halted."""
    with redis_stack(tmp_path) as stack:
        yield stack
        stack.go_on()


@asynccontextmanager
async def asking(
    server: RedisServer, width: int = WIDTH, model: str = MODEL, bound: float = 2.0
) -> AsyncIterator[tuple[SharedQuestions, Link]]:
    link = Link(server.url, bound)
    questions = SharedQuestions(link, width, model)
    try:
        await questions.probe()
        yield questions, link
    finally:
        await questions.close()
        await link.close()


def axis(number: int, width: int = WIDTH) -> Floats:
    vector = np.zeros(width, dtype=np.float32)
    vector[number] = 1.0
    return vector


def spread(count: int, seed: int) -> Floats:
    """Vectors of length 1 in 40 heaps."""
    chance = np.random.default_rng(seed)
    heaps = chance.normal(size=(40, WIDTH))
    vectors = heaps[chance.integers(0, 40, count)] + 0.5 * chance.normal(size=(count, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


async def test_the_nearest_come_first_with_their_cosines(stack: RedisStack) -> None:
    between = (axis(0) + axis(1)) / np.float32(2**0.5)
    async with asking(stack) as (one, _), asking(stack) as (other, _):
        await one.add(P, "llm:cache:-:a", "Où est la gare ?", axis(0), LATER)
        await one.add(P, "llm:cache:-:b", "b", -axis(0), LATER)
        await one.add(P, "llm:cache:-:c", "", between, LATER)
        found = await other.nearest(P, axis(0), 3)
        assert [(near.id, near.question) for near in found] == [
            ("llm:cache:-:a", "Où est la gare ?"),
            ("llm:cache:-:c", ""),
            ("llm:cache:-:b", "b"),
        ]
        assert [near.similarity for near in found] == pytest.approx([1, 0.70711, -1], abs=1e-4)
        assert all(isinstance(near, Neighbour) for near in found)
        assert [near.id for near in await other.nearest(P, axis(0), 1)] == ["llm:cache:-:a"]
        assert await other.nearest(P, axis(0), 0) == []
        assert await one.size() == 3
        assert (one.failures, other.failures) == (0, 0)


async def test_what_is_found_is_what_an_exact_scan_finds(stack: RedisStack) -> None:
    """2,000 in three partitions; where the exact scan's nearest is in another, all the same."""
    vectors, asked = spread(2000, seed=1), spread(300, seed=1)[200:]
    owners = np.random.default_rng(2).choice(3, 2000, p=[0.8, 0.19, 0.01])
    names = (P, Q, R)
    async with asking(stack) as (questions, link):
        for number, vector in enumerate(vectors):
            await questions.add(names[owners[number]], f"id{number}", "q", vector, LATER)
        right = due = 0
        for vector in asked:
            for owner, partition in enumerate(names):
                mine = np.flatnonzero(owners == owner)
                cosines = vectors[mine] @ vector
                best = np.argsort(-cosines)[:10]
                exact = {f"id{number}" for number in mine[best]}
                found = await questions.nearest(partition, vector, 10)
                assert all(owners[int(near.id[2:])] == owner for near in found)
                assert len(found) == min(10, len(mine))
                told = [near.similarity for near in found]
                assert told == sorted(told, reverse=True)
                truth = [float(vectors[int(near.id[2:])] @ vector) for near in found]
                assert told == pytest.approx(truth, abs=1e-4)
                right += len(exact & {near.id for near in found})
                due += len(exact)
        assert right / due >= 0.97
        assert link.is_up


async def test_a_partition_without_questions_has_no_neighbours(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        for number in range(50):
            await questions.add(P, f"id{number}", "q", axis(0), LATER)
        assert await questions.nearest(Q, axis(0), 10) == []


async def test_a_reply_of_another_partition_is_not_believed(
    stack: RedisStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(stack) as (questions, link):
        await questions.add(P, "a", "q", axis(0), LATER)
        await questions.add(Q, "b", "q", axis(0), LATER)
        asked = link.ask

        async def ask(*command: str | bytes | int) -> object:
            query = str(command[2])
            assert query.startswith(f"(@partition:{{{P}}})=>")
            found = await asked(*command[:2], "*" + query[query.index("=") :], *command[3:])
            assert found[0] == 2
            return found

        monkeypatch.setattr(link, "ask", ask)
        assert [near.id for near in await questions.nearest(P, axis(0), 10)] == ["a"]
        assert questions.failures == 0


async def test_more_than_ten_are_given_if_asked_for(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        for number in range(40):
            await questions.add(P, f"id{number}", "q", axis(number), LATER)
        assert len(await questions.nearest(P, axis(0), 30)) == 30


async def test_one_of_the_same_id_goes(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        await questions.add(P, "a", "old", axis(0), LATER)
        await questions.add(Q, "a", "new", axis(1), LATER)
        assert await questions.nearest(P, axis(0), 10) == []
        [near] = await questions.nearest(Q, axis(1), 10)
        assert near.question == "new"


async def test_what_is_dropped_is_not_found(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        for number in range(1200):
            await questions.add(P, f"id{number}", "q", axis(number % WIDTH), LATER)
        await questions.drop(f"id{number}" for number in range(1199))
        await questions.drop([])
        await questions.drop(["nobody's", "\ud800"])
        assert [near.id for near in await questions.nearest(P, axis(0), 10)] == ["id1199"]


async def test_a_question_ends_when_it_said(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        now = time.time()
        await questions.add(P, "past", "q", axis(0), now - 1)
        await questions.add(P, "soon", "q", axis(0), now + 0.5)
        await questions.add(P, "later", "q", axis(0), now + 60)
        assert {near.id for near in await questions.nearest(P, axis(0), 10)} == {"soon", "later"}
        assert sorted(ttl > 1000 for ttl in stack.keys().values()) == [False, True]
        await asyncio.sleep(0.7)
        assert [near.id for near in await questions.nearest(P, axis(0), 10)] == ["later"]


async def test_models_and_widths_do_not_mix(stack: RedisStack) -> None:
    async with (
        asking(stack) as (one, _),
        asking(stack, model="minilm 1.1") as (other, _),
        asking(stack, width=8) as (narrow, _),
    ):
        assert len({one.index, other.index, narrow.index}) == 3
        await one.add(P, "a", "one", axis(0), LATER)
        await narrow.add(P, "a", "narrow", axis(0, 8), LATER)
        assert await other.nearest(P, axis(0), 10) == []
        assert [near.question for near in await one.nearest(P, axis(0), 10)] == ["one"]
        assert [near.question for near in await narrow.nearest(P, axis(0, 8), 10)] == ["narrow"]


@pytest.mark.parametrize("partition", ["", "*", "0" * 31, "0" * 33, "F" * 32, f"{'0' * 32}|x"])
async def test_what_is_no_partition_is_refused(stack: RedisStack, partition: str) -> None:
    async with asking(stack) as (questions, _):
        with pytest.raises(ValueError, match="32 hex digits"):
            await questions.nearest(partition, axis(0), 1)
        with pytest.raises(ValueError, match="32 hex digits"):
            await questions.add(partition, "a", "q", axis(0), LATER)
        with pytest.raises(ValueError, match="64 numbers"):
            await questions.add(P, "a", "q", axis(0, 8), LATER)


async def test_other_kinds_of_floats_are_taken(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        doubles = np.asarray(np.stack([axis(3), axis(4)]).T[:, 0], dtype=np.float64)
        await questions.add(P, "a", "q", doubles, LATER)  # type: ignore[arg-type]
        [near] = await questions.nearest(P, axis(3), 1)
        assert near.similarity == pytest.approx(1.0, abs=1e-5)


async def test_a_vector_of_no_length_is_near_nobody(stack: RedisStack) -> None:
    async with asking(stack) as (questions, _):
        await questions.add(P, "a", "q", axis(0), LATER)
        found = await questions.nearest(P, np.zeros(WIDTH, dtype=np.float32), 5)
        assert all(near.similarity <= 0.5 for near in found)


# The index.


async def test_many_processes_may_begin_at_once(stack: RedisStack) -> None:
    links = [Link(stack.url, 2.0) for _ in range(8)]
    many = [SharedQuestions(link, WIDTH, MODEL) for link in links]
    assert await asyncio.gather(*(each.probe() for each in many)) == [True] * 8
    assert all(link.is_up for link in links)
    await many[0].add(P, "a", "q", axis(0), LATER)
    for each in many:
        assert [near.id for near in await each.nearest(P, axis(0), 1)] == ["a"]
    for each, link in zip(many, links, strict=True):
        await each.close()
        await link.close()


async def test_before_the_probe_nothing_is_found_or_kept(stack: RedisStack) -> None:
    link = Link(stack.url, 2.0)
    questions = SharedQuestions(link, WIDTH, MODEL)
    await questions.add(P, "a", "q", axis(0), LATER)
    assert await questions.nearest(P, axis(0), 1) == []
    assert await questions.size() == -1
    assert stack.keys() == {}
    await link.close()


async def test_a_redis_without_an_engine_says_so(server: RedisServer) -> None:
    async with asking(server) as (questions, link):
        for _ in range(5):
            assert not await questions.probe()
        assert await questions.nearest(P, axis(0), 1) == []
        await questions.add(P, "a", "q", axis(0), LATER)
        await questions.drop(["a"])
        assert await questions.size() == -1
        assert link.is_up
        assert questions.failures == 0
    assert server.keys() == {}


async def test_an_index_that_was_flushed_is_made_again(stack: RedisStack) -> None:
    async with asking(stack) as (questions, link):
        await questions.add(P, "a", "q", axis(0), LATER)
        stack.ask("FLUSHALL")
        for _ in range(10):
            assert await questions.nearest(P, axis(0), 1) == []
        await eventually(lambda: questions._is_ready)
        await questions.add(P, "b", "q", axis(0), LATER)
        assert [near.id for near in await questions.nearest(P, axis(0), 1)] == ["b"]
        assert questions.failures == 1
        assert link.is_up


async def test_a_full_redis_keeps_no_question_and_finds_what_it_has(stack: RedisStack) -> None:
    async with asking(stack) as (questions, link):
        await questions.add(P, "a", "q", axis(0), LATER)
        stack.ask("CONFIG", "SET", "maxmemory", "1")
        for number in range(5):
            await questions.add(P, f"id{number}", "q", axis(0), LATER)
        assert [near.id for near in await questions.nearest(P, axis(0), 10)] == ["a"]
        assert (questions.refused, questions.failures) == (5, 0)
        assert link.is_up


# Without Redis.


@pytest.mark.parametrize("trouble", ["kill", "halt"])
async def test_a_redis_in_trouble_is_a_miss_in_bounded_time(
    own_stack: RedisStack, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.5)
    async with asking(own_stack, bound=0.05) as (questions, link):
        assert await questions.probe()
        await questions.add(P, "a", "q", axis(0), LATER)
        if trouble == "kill":
            own_stack.kill()
            await eventually(lambda: link._line is None)
        else:
            own_stack.halt()
        for _ in range(20):
            began = time.perf_counter()
            assert await questions.nearest(P, axis(0), 1) == []
            await questions.add(P, "b", "q", axis(0), LATER)
            assert time.perf_counter() - began < 0.06 + SLACK
        await questions.drop(["a", "b"])
        assert await questions.size() == -1
        assert questions.failures >= 2
        if trouble == "kill":
            own_stack.start()
        own_stack.go_on()
        await eventually(lambda: questions._is_ready, 20)
        await questions.add(P, "c", "q", axis(0), LATER)
        assert "c" in {near.id for near in await questions.nearest(P, axis(0), 3)}


async def test_a_closed_one_looks_for_nothing(own_stack: RedisStack) -> None:
    async with asking(own_stack, bound=0.05) as (questions, _):
        own_stack.halt()
        assert await questions.nearest(P, axis(0), 1) == []
        task = questions._looking
        assert task is not None
        await questions.close()
        assert task.done()
        questions._look()
        assert questions._looking is task
