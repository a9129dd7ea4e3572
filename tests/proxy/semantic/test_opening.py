"""The tier is brought about with its embedder, its index and its labels, and given back."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.cache.answers import LocalAnswers
from proxy.cache.counts import Counts
from proxy.cache.types import Entry
from proxy.semantic import opening
from proxy.semantic.calibration import Label
from proxy.semantic.index import LocalVectors
from proxy.semantic.opening import Either, OpenTier, SharedVectors, open_tier
from proxy.storage.engine import open_database
from proxy.storage.labels import LabelBook, StoredLabel
from tests.proxy.cache.entries import NOW, Clock, entry
from tests.proxy.semantic import tiers
from tests.proxy.semantic.tiers import PRIOR, ROOM, Embedder, Index, visit

QUESTION = "What is the capital of Australia?"
LIKE_IT = "Which city is the capital of Australia?"
VECTOR = np.array([1, 0], np.float32)


class Shared(Index):
    """An index on a server that may have no query engine."""

    def __init__(self, *probes: bool) -> None:
        super().__init__()
        self.probes = list(probes)

    async def probe(self) -> bool:
        return self.probes.pop(0)


class TestEither:
    async def add(self, either: Either, *names: str) -> None:
        for name in names:
            await either.add(ROOM, name, name, VECTOR, NOW)

    async def test_the_shared_one_where_it_answers(self) -> None:
        shared, local = Shared(True), Index()
        either = Either(shared, local)
        await self.add(either, "a", "b")
        assert (list(shared.rows), list(local.rows)) == (["a", "b"], [])
        assert [one.id for one in await either.nearest(ROOM, VECTOR, 1)] == ["a"]
        assert await either.size() == 2
        await either.drop(["a"])
        assert list(shared.rows) == ["b"]
        assert shared.probes == []  # asked once: what is there is used

    async def test_this_processs_own_where_it_does_not(self) -> None:
        shared, local = Shared(False), Index()
        either = Either(shared, local)
        await self.add(either, "a", "b")
        assert (list(shared.rows), list(local.rows)) == ([], ["a", "b"])
        assert [one.id for one in await either.nearest(ROOM, VECTOR, 1)] == ["a"]
        await either.drop(["a"])
        assert await either.size() == 1

    async def test_it_asks_again_after_a_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(5_000.0)
        monkeypatch.setattr(opening, "time", type("Time", (), {"monotonic": clock}))
        shared, local = Shared(False, False, True), Index()
        either = Either(shared, local)
        for second, left in ((0, 2), (59, 2), (60, 1), (119, 1), (120, 0), (500, 0)):
            clock.now = 5_000.0 + second
            await self.add(either, f"at {second}")
            assert len(shared.probes) == left
        assert list(local.rows) == ["at 0", "at 59", "at 60", "at 119"]
        assert list(shared.rows) == ["at 120", "at 500"]


class World:
    """What a tier needs of the process, on a database of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.clock = Clock()
        self.answers = LocalAnswers(1 << 20, self.clock)
        self.counts = Counts()
        self.embedder = Embedder({LIKE_IT: 0.95})

    def open(self, spec: str = "fake", shared: SharedVectors | None = None) -> OpenTier:
        return open_tier(spec, 100, self.answers, self.counts, self.engine, _no_post, shared)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[OpenTier]:
        opened = self.open()
        await opened.start()
        try:
            yield opened
        finally:
            await opened.close()

    async def keep(self, opened: OpenTier) -> Entry:
        kept = entry("a", question=QUESTION, partition=ROOM, expires_at=NOW + 10**9)
        await self.answers.put(kept)
        await opened.tier.keep(visit(), kept)
        return kept


def _no_post(provider: str, model: str) -> opening.PostTo:
    raise AssertionError("no provider is asked here")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    engine = await open_database("sqlite:///turnout.db", tmp_path)
    world = World(engine)
    real = opening.make

    def make(spec: str, post: opening.PostTo, *, states: bool) -> object:
        assert states
        return world.embedder if spec == "fake" else real(spec, post, states=states)

    monkeypatch.setattr(opening, "make", make)
    monkeypatch.setattr(opening.pairs, "load", lambda: PRIOR)
    yield world
    await engine.dispose()


@pytest.fixture(autouse=True)
def _no_task_is_left() -> Iterator[None]:
    yield
    from proxy import tasks

    assert [task.get_name() for task in tasks._running if not task.done()] == []


def label(score: float, right: bool = True) -> Label:
    return Label(score, right, 1.0, "near_miss", NOW)


class TestOpenTier:
    async def test_it_serves_by_the_shipped_prior(self, world: World) -> None:
        async with world.started() as opened:
            kept = await world.keep(opened)
            given = visit(LIKE_IT)
            assert given.key is not None
            found = await opened.tier.find(given, given.key)
            assert found.serve
            assert found.near is not None
            assert found.near.entry == kept

    async def test_another_embedder_never_serves_by_it(self, world: World) -> None:
        world.embedder = Embedder({LIKE_IT: 0.999}, id="up/a-model", states=False)
        async with world.started() as opened:
            await world.keep(opened)
            given = visit(LIKE_IT, max_wrong=0.5)
            assert given.key is not None
            found = await opened.tier.find(given, given.key)
            assert (found.serve, found.reason) == (False, "uncertified")
            assert found.near is not None
            assert found.near.score == pytest.approx(0.999)

    async def test_nothing_is_loaded_before_it_starts(self, world: World) -> None:
        opened = world.open()
        assert world.embedder.asked == []
        await opened.start()
        await asyncio.sleep(0.05)
        assert len(world.embedder.asked) == 1
        await opened.close()
        assert world.embedder.closed == 1

    @pytest.mark.parametrize("spec", ["nonsense", "/model", "up/", "sentence-transformers/"])
    async def test_a_wrong_spec(self, world: World, spec: str) -> None:
        with pytest.raises(ValueError, match=spec):
            world.open(spec)

    async def test_the_real_embedder_loads_nothing_yet(self, world: World) -> None:
        opened = world.open("minilm")
        assert opened.tier.embedder.id.startswith("all-MiniLM-L6-v2/")
        await opened.close()

    async def test_the_index_is_shared_where_there_is_one(self, world: World) -> None:
        shared = Shared(True)
        asked: list[tuple[int, str]] = []

        def make(width: int, embedder: str) -> Shared:
            asked.append((width, embedder))
            return shared

        opened = world.open(shared=make)
        await opened.start()
        kept = await world.keep(opened)
        assert asked == [(2, "a-model/1")]
        assert list(shared.rows) == [kept.id]
        await opened.close()

    async def test_it_is_this_processs_own_otherwise(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[LocalVectors] = []

        async def close(vectors: LocalVectors) -> None:
            closed.append(vectors)

        monkeypatch.setattr(LocalVectors, "close", close)
        async with world.started() as opened:
            await world.keep(opened)
            assert isinstance(opened.tier._vectors, LocalVectors)
            assert closed == []
        assert closed == [opened.tier._vectors]

    async def test_labels_last(self, world: World) -> None:
        async with world.started() as opened:
            opened.tier._shelf.note(label(0.96875), "llm:cache:-:a")
            opened.tier._shelf.note(label(0.5, right=False), "llm:cache:-:b")
        async with world.started() as opened:
            assert opened.tier.calibration.size == 2
            assert opened.tier.quarantined == 0
            last = opened.tier.calibration.curve()[-1]
            assert (last.threshold, last.labels, last.wrong) == (0.96, 1, 0.0)

    async def test_labels_of_another_embedder_or_prior_are_not_its_own(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with world.started() as opened:
            opened.tier._shelf.note(label(0.96), "llm:cache:-:a")
        world.embedder = Embedder({}, id="a-model/2")
        async with world.started() as opened:
            assert opened.tier.calibration.size == 0
        world.embedder = Embedder({})
        monkeypatch.setattr(opening.pairs, "load", lambda: PRIOR._replace(sha256="f" * 64))
        async with world.started() as opened:
            assert opened.tier.calibration.size == 0

    async def test_what_was_wrong_before_is_not_served(self, world: World) -> None:
        async with world.started() as opened:
            kept = await world.keep(opened)
            bad = StoredLabel(0.96, False, 20.0, "shadow", NOW, "", kept.id)
            opened.tier._shelf.book.add([bad])
        async with world.started() as opened:
            assert opened.tier.quarantined == 1
            await world.keep(opened)
            given = visit(LIKE_IT)
            assert given.key is not None
            assert (await opened.tier.find(given, given.key)).reason == "none-near"

    async def test_what_another_process_found_wrong_is_dropped_here(self, world: World) -> None:
        async with world.started() as opened:
            kept = await world.keep(opened)
            other = LabelBook(world.engine, "a-model/1/0123456789ab")
            other.add([StoredLabel(0.96, False, 20.0, "shadow", NOW, "", kept.id)])
            await other.write()
            await opened.tier._shelf.book.follow()
            await asyncio.sleep(0.01)
            assert await world.answers.get(kept.id) is None
            assert await opened.tier._index(_meaning()).size() == 0
            assert opened.tier.calibration.size == 1

    async def test_it_closes_while_its_model_is_loading(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        gate = asyncio.Event()
        embed = world.embedder.embed

        async def slow(texts: list[str]) -> object:
            await gate.wait()
            return await embed(texts)

        world.embedder.embed = slow  # type: ignore[method-assign,assignment]
        opened = world.open()
        await opened.start()
        await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING):
            await opened.close()
            await opened.close()
        assert caplog.records == []
        assert world.embedder.closed == 2

    async def test_it_starts_while_the_database_is_away(self, world: World) -> None:
        await world.engine.dispose()
        path = Path(str(world.engine.url.database))
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        async with world.started() as opened:
            assert opened.tier.calibration.size == 0
            path.rmdir()
            path.with_suffix(".away").rename(path)


def test_the_encoders_library_bears_what_is_loaded_before_it() -> None:
    """It comes with the first question. After usearch 2.26 it would crash the process."""
    code = "import proxy.semantic.opening; import onnxruntime; print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")


def _meaning() -> tiers.Meaning:
    return tiers.Meaning(VECTOR)
