"""The tier by meaning comes when it is wanted, and costs nothing before."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest

from proxy.cache.answers import LocalAnswers
from proxy.cache.counts import Counts
from proxy.config_types import SemanticSection
from proxy.meanings import MeaningOnDemand

INSTALL = "pip install 'turnout[semantic]'"


class Opened:
    """A tier that was opened, and what was done with it."""

    def __init__(self, spec: str, world: "World") -> None:
        self.tier = f"tier of {spec}"
        self._world = world
        self._spec = spec

    async def start(self) -> None:
        self._world.log.append(f"start {self._spec}")
        await self._world.start_gate.wait()

    async def close(self) -> None:
        self._world.log.append(f"close {self._spec}")


class World:
    """A tier on demand, over a module that opens what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.section = SemanticSection(embedder="one")
        self.log: list[str] = []
        self.start_gate = asyncio.Event()
        self.start_gate.set()
        self.build_gate = threading.Event()
        self.build_gate.set()
        self.threads: list[str] = []
        self.given: tuple[Any, ...] = ()
        self.error: Exception | None = None
        fake = ModuleType("proxy.semantic.opening")
        vars(fake)["open_tier"] = self.open_tier
        monkeypatch.setitem(sys.modules, "proxy.semantic.opening", fake)
        self.answers, self.counts = LocalAnswers(1000), Counts()
        post: Any = "post"
        given: list[Callable[[], Any]] = [lambda: "engine", lambda: self.counts, lambda: "shared"]
        self.meanings = MeaningOnDemand(
            lambda: self.section, given[0], self.answers, given[1], post, given[2]
        )

    def open_tier(self, spec: str, max_entries: int, *given: Any) -> Opened:
        assert self.build_gate.wait(10)
        self.threads.append(threading.current_thread().name)
        self.given = (max_entries, *given)
        self.log.append(f"open {spec}")
        if self.error is not None:
            raise self.error
        return Opened(spec, self)

    async def settled(self) -> Any:
        """The tier, once nothing is being opened any more."""
        self.meanings()
        assert self.meanings._opening is not None
        await asyncio.wait([self.meanings._opening])
        return self.meanings()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(monkeypatch)
    yield world
    world.build_gate.set()
    await world.meanings.close()


class TestOpening:
    async def test_it_opens_once_and_off_the_loop(self, world: World) -> None:
        assert world.meanings.tier is None
        assert [world.meanings() for _ in range(3)] == [None, None, None]
        assert await world.settled() == "tier of one"
        assert world.meanings() == world.meanings.tier == "tier of one"
        assert world.log == ["open one", "start one"]
        assert world.threads[0] != threading.current_thread().name
        entries, answers, *rest = world.given
        assert (entries, answers) == (100_000, world.answers)
        assert rest == [world.counts, "engine", "post", "shared"]

    async def test_nobody_is_served_before_its_labels_are_there(self, world: World) -> None:
        world.start_gate.clear()
        world.meanings()
        async with asyncio.timeout(5):
            while world.log != ["open one", "start one"]:
                await asyncio.sleep(0.005)
        assert world.meanings() is None
        world.start_gate.set()
        assert await world.settled() == "tier of one"

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (ImportError("No module named 'numpy'", name="numpy"), f"wants numpy; type: {INSTALL}"),
            (ImportError("it is broken"), f"wants it is broken; type: {INSTALL}"),
            (ValueError("no embedder 'one'"), "cache.semantic.embedder: no embedder 'one'"),
            (FileNotFoundError(2, "No such file", "prior.npz"), "No such file"),
        ],
    )
    async def test_what_can_not_be_had_is_said_once(
        self, world: World, caplog: pytest.LogCaptureFixture, error: Exception, told: str
    ) -> None:
        world.error = error
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                assert await world.settled() is None
        assert len(caplog.records) == 1
        assert told in caplog.text
        assert world.log == ["open one"]


class TestReload:
    async def test_another_spec_is_another_tier(self, world: World) -> None:
        await world.settled()
        world.section = SemanticSection(embedder="two")
        assert world.meanings() is None
        assert await world.settled() == "tier of two"
        assert world.log == ["open one", "start one", "open two", "start two", "close one"]

    async def test_what_else_changes_leaves_it(self, world: World) -> None:
        await world.settled()
        world.section = SemanticSection(embedder="one", max_wrong=0.1, serve=False)
        assert world.meanings() == "tier of one"
        assert world.log == ["open one", "start one"]

    async def test_a_wrong_spec_ends_the_one_before(self, world: World) -> None:
        await world.settled()
        world.section, world.error = SemanticSection(embedder="two"), ValueError("no embedder")
        assert await world.settled() is None
        assert world.meanings.tier is None
        assert world.log == ["open one", "start one", "open two", "close one"]
        world.section, world.error = SemanticSection(embedder="one"), None
        assert await world.settled() == "tier of one"

    async def test_a_change_while_it_is_opening(self, world: World) -> None:
        world.build_gate.clear()
        world.meanings()
        world.section = SemanticSection(embedder="two")
        world.build_gate.set()
        await world.settled()
        assert await world.settled() == "tier of two"
        await world.meanings.close()
        assert sorted(world.log[-2:]) == ["close one", "close two"]


class TestClose:
    async def test_it_gives_back_what_is_open(self, world: World) -> None:
        await world.settled()
        await world.meanings.close()
        await world.meanings.close()
        assert world.log == ["open one", "start one", "close one"]

    async def test_it_opens_nothing_any_more(self, world: World) -> None:
        await world.settled()
        await world.meanings.close()
        assert world.meanings() is None
        world.section = SemanticSection(embedder="two")
        assert world.meanings() is None
        await asyncio.sleep(0.05)
        assert world.log == ["open one", "start one", "close one"]

    async def test_while_it_is_being_built(self, world: World) -> None:
        world.build_gate.clear()
        world.meanings()
        await asyncio.sleep(0.02)
        async with asyncio.timeout(1):
            await world.meanings.close()
        world.build_gate.set()
        await asyncio.sleep(0.05)
        assert world.meanings() is None
        assert "start one" not in world.log

    async def test_while_it_is_starting(self, world: World) -> None:
        world.start_gate.clear()
        world.meanings()
        async with asyncio.timeout(5):
            while "start one" not in world.log:
                await asyncio.sleep(0.005)
        await world.meanings.close()
        assert world.log == ["open one", "start one", "close one"]

    async def test_while_the_one_before_is_being_closed(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.settled()
        gate, close, begun = asyncio.Event(), Opened.close, asyncio.Event()

        async def slow(opened: Opened) -> None:
            begun.set()
            await gate.wait()
            await close(opened)

        monkeypatch.setattr(Opened, "close", slow)
        world.section = SemanticSection(embedder="two")
        world.meanings()
        async with asyncio.timeout(5):
            await begun.wait()
        assert world.meanings() == "tier of two"
        gate.set()
        await world.meanings.close()
        assert sorted(world.log[-2:]) == ["close one", "close two"]

    async def test_what_was_never_wanted(self, world: World) -> None:
        await world.meanings.close()
        assert world.log == []


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestFreshProcess:
    def test_the_gateway_loads_nothing_of_it(self) -> None:
        code = """
import sys
import proxy.app, proxy.__main__
heavy = ("numpy", "onnxruntime", "tokenizers", "torch", "proxy.semantic", "usearch")
print(sorted(name for name in sys.modules if name in heavy or name.startswith("proxy.semantic")))
"""
        assert python(code) == "[]"

    def test_without_the_extra_it_says_what_to_install(self) -> None:
        code = """
import asyncio, logging, sys
sys.modules["numpy"] = None
logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
from proxy.cache.answers import LocalAnswers
from proxy.config_types import SemanticSection
from proxy.meanings import MeaningOnDemand

async def main():
    nothing = lambda *_: None
    section = SemanticSection(enabled=True)
    meanings = MeaningOnDemand(
        lambda: section, nothing, LocalAnswers(1), nothing, nothing, nothing
    )
    assert meanings() is None
    await asyncio.wait([meanings._opening])
    assert meanings() is None
    await meanings.close()

asyncio.run(main())
"""
        told = f"the cache by meaning wants numpy; type: {INSTALL}"
        assert python(code) == f"turnout.cache ERROR {told}"
