"""Labels go into the database and come out elsewhere; none of it waits, fails or grows."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage import labels as module
from proxy.storage import postgres
from proxy.storage.labels import LabelBook, StoredLabel, digest_scope
from proxy.storage.schema import cache_labels

NEAR = StoredLabel(0.8125, True, 1.0, "near_miss", 1_700_000_000.25, "s1", "llm:cache:-:aa")
BAD = StoredLabel(0.75, False, 20.0, "shadow", 1_700_000_001.0, "", "llm:cache:-:bb")


class Heard:
    """What a book has told."""

    def __init__(self, engine: AsyncEngine, embedder: str = "e1") -> None:
        self.labels: list[StoredLabel] = []
        self.bad: list[str] = []
        self.book = LabelBook(engine, embedder, self.labels.extend, self.bad.extend)

    async def add(self, *labels: StoredLabel) -> None:
        self.book.add(labels)
        await self.book.write()


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        query = select(func.count()).select_from(cache_labels)
        return (await connection.execute(query)).scalar_one()


def near(number: int) -> StoredLabel:
    return NEAR._replace(at=float(number))


def times(labels: Sequence[StoredLabel]) -> list[float]:
    return [label.at for label in labels]


async def test_what_one_writes_another_reads(engine: AsyncEngine) -> None:
    here, there = Heard(engine), Heard(engine)
    await here.add(NEAR, BAD)
    await there.book.follow()
    assert there.labels == [NEAR, BAD]
    assert there.bad == ["llm:cache:-:bb"]
    await here.book.follow()
    assert here.labels == []


async def test_following_tells_each_label_once(engine: AsyncEngine) -> None:
    here, there = Heard(engine), Heard(engine)
    await there.book.follow()
    await here.add(near(1), near(2))
    await there.book.follow()
    await here.add(near(3))
    await there.add(near(4))
    await there.book.follow()
    await there.book.follow()
    assert times(there.labels) == [1.0, 2.0, 3.0]


async def test_a_row_that_is_committed_late(engine: AsyncEngine) -> None:
    """PostgreSQL gives ids before it commits: a lower one may come after a higher one was seen."""
    here, there = Heard(engine), Heard(engine)
    await here.add(near(1))
    async with engine.begin() as connection:
        await connection.execute(update(cache_labels).values(id=10))
    await there.book.follow()
    await here.add(near(2))
    async with engine.begin() as connection:
        late = cache_labels.c.created_at == 2000
        await connection.execute(update(cache_labels).where(late).values(id=9))
    await there.book.follow()
    assert times(there.labels) == [1.0, 2.0]


async def test_the_newest_are_loaded(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWEST", 3)
    here, there = Heard(engine), Heard(engine)
    await here.add(BAD, *(near(number) for number in range(5)))
    await there.book.follow()
    assert times(there.labels) == [2.0, 3.0, 4.0]
    assert there.book.is_quarantined("llm:cache:-:bb")


async def test_scores_of_another_embedder_mean_something_else(engine: AsyncEngine) -> None:
    here, there = Heard(engine), Heard(engine, "e2")
    await here.add(NEAR, BAD)
    await there.book.follow()
    await here.add(NEAR)
    await there.book.follow()
    assert there.labels == []
    assert there.bad == ["llm:cache:-:bb"]


async def test_only_what_was_served_and_wrong_is_put_aside(engine: AsyncEngine) -> None:
    here = Heard(engine)
    here.book.add(
        [
            NEAR._replace(right=False),
            BAD._replace(source="repeat", entry="llm:cache:-:cc"),
            BAD._replace(right=True, entry="llm:cache:-:dd"),
            BAD._replace(entry=None),
            BAD,
            BAD,
        ]
    )
    assert here.bad == ["llm:cache:-:bb"]
    assert here.book.is_quarantined("llm:cache:-:bb")
    assert not here.book.is_quarantined("llm:cache:-:aa")
    assert here.book.quarantined == 1
    await here.book.write()
    assert await count(engine) == 6


async def test_what_no_database_takes(engine: AsyncEngine) -> None:
    here, there = Heard(engine), Heard(engine)
    odd = NEAR._replace(scope="\ud800" + "x" * 50, entry="a\0b\udfffc")
    await here.add(NEAR._replace(score=math.nan), NEAR._replace(weight=math.inf), odd)
    assert here.book.lost == 2
    await there.book.follow()
    assert [(label.scope, label.entry) for label in there.labels] == [("?" + "x" * 31, "ab?c")]


async def test_the_same_batch_twice(engine: AsyncEngine) -> None:
    """A commit may go through and the answer to it be lost."""
    here = Heard(engine)
    here.book.add([near(1), near(2)])
    rows = list(here.book._queue)
    await here.book.write()
    here.book._queue.extend(rows)
    await here.book.write()
    assert await count(engine) == 2
    assert here.book.waiting == 0


@pytest.mark.parametrize("more", [0, 1, 9, 10, 25])
async def test_old_rows_go(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    for name, value in {"KEPT": 10, "BATCH": 7, "PAUSE": 0}.items():
        monkeypatch.setattr(module, name, value)
    here, there = Heard(engine), Heard(engine)
    await here.add(*(near(number) for number in range(10 + more)))
    assert await here.book.prune() == more
    await there.book.follow()
    assert times(there.labels) == [float(more + number) for number in range(10)]


async def test_it_writes_and_follows_by_itself(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GROUP": 0.01, "FOLLOW": 0.02, "PRUNE_AFTER": 1, "KEPT": 3}.items():
        monkeypatch.setattr(module, name, value)
    here, there = Heard(engine), Heard(engine)
    await here.book.start()
    await there.book.start()
    here.book.add([near(1), near(2), near(3)])
    async with asyncio.timeout(10):
        while len(there.labels) < 3:
            await asyncio.sleep(0.01)
    here.book.add([near(4)])
    async with asyncio.timeout(10):
        while 1000 in await written(engine):
            await asyncio.sleep(0.01)
    here.book.add([near(5)])
    await here.book.stop()
    await there.book.stop()
    assert here.book.waiting == 0
    assert 5000 in await written(engine)


async def written(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(cache_labels.c.created_at))).scalars())


async def test_a_table_that_comes_back(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GROUP": 0.01, "FOLLOW": 0.01, "FIRST_PAUSE": 0.01}.items():
        monkeypatch.setattr(module, name, value)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE cache_labels RENAME TO elsewhere"))
    here = Heard(engine)
    await here.book.start()
    here.book.add([near(1)])
    await asyncio.sleep(0.1)
    assert (here.book.waiting, here.book.lost) == (1, 0)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE elsewhere RENAME TO cache_labels"))
    async with asyncio.timeout(10):
        while here.book.waiting:
            await asyncio.sleep(0.01)
    await here.book.stop()
    assert await written(engine) == [1000]


@pytest.fixture
async def away() -> AsyncIterator[AsyncEngine]:
    """A database that nobody answers for."""
    engine = postgres.open_engine(make_url("postgresql+asyncpg://u:p@127.0.0.1:1/d"))
    yield engine
    await engine.dispose()


async def test_a_database_that_is_away(away: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GROUP": 0.01, "QUEUE": 5, "FIRST_PAUSE": 0.01}.items():
        monkeypatch.setattr(module, name, value)
    here = Heard(away)
    await here.book.start()
    here.book.add([BAD, *(near(number) for number in range(6))])
    await asyncio.sleep(0.05)
    assert (here.book.waiting, here.book.lost) == (5, 2)
    assert here.book.is_quarantined("llm:cache:-:bb")
    with pytest.raises(SQLAlchemyError):
        await here.book.write()
    assert here.book.waiting == 5
    await here.book.stop()
    assert (here.book.waiting, here.book.lost) == (0, 7)


def test_a_scope_is_stored_as_its_digest() -> None:
    assert digest_scope("") == ""
    assert digest_scope("user:ann") == "1cb751b80a7ee63647a7fa6a8db065ed"


async def test_a_row_has_nothing_of_a_question(engine: AsyncEngine) -> None:
    await Heard(engine).add(NEAR)
    async with engine.connect() as connection:
        row = (await connection.execute(select(cache_labels))).one()
    assert row._asdict() == {
        "id": 1,
        "name": row.name,
        "created_at": 1_700_000_000_250,
        "score": 0.8125,
        "is_right": True,
        "weight": 1.0,
        "source": "near_miss",
        "scope": "s1",
        "embedder": "e1",
        "entry_id": "llm:cache:-:aa",
    }
    assert len(row.name) == 28
