"""Questions of this process, found by their vectors: the index of a single server, in memory.

A partition is a few rows that lie side by side, and most never become more. What is near is found
by looking at all of them: 2,000 vectors of 384 numbers take 0.15 ms, on the event loop. More are
looked at in a thread, and beyond 50,000 that thread builds a graph beside the rows (HNSW, usearch):
whatever is not in it yet is still looked at, row by row.

    LocalVectors   partitions, what ends and what has to go, the thread
    _Entries       what else is known of a question, and which one ends first
    _Rows          a partition's vectors that are looked at one by one
    _Graph         a large partition's vectors that are found by hopping

A vector is kept in a byte a number. Its largest number becomes 127 (a cosine does not mind), so
that a cosine is wrong by 0.003 at most, where one scale for all would lose 0.013. The question
that is asked stays as it is.

An entry lives in a numbered slot, and slots are used again. A key is a slot and how often it had
been used before: a key that a thread found is worth nothing once its slot is another's.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from proxy.semantic.meaning import Bytes, Floats
from proxy.semantic.vectors import Neighbour
from proxy.tasks import end, spawn

MAX_ENTRIES = 100_000
GRAPH_FROM = 50_000  # rows of a partition before it gets a graph
WAITING = 256  # rows that wait before the graph takes them in
SCANNED_HERE = 768_000  # numbers that are looked at on the event loop: 0.15 ms
BLOCK = 196_608  # numbers a block: as floats they fit the cache, and BLAS starts no threads
SLOTS = 1024  # texts a block
TIDIED = 16  # entries that have ended and are removed at each call
BATCH = 64  # rows that the graph takes in at once at most
SECONDS = 0.005  # that the thread builds before it looks whether someone asks
MARGIN = 12  # more than asked for, since the graph is searched by less exact cosines
DEEPEST = 4096  # found in the graph at most, where most of what is found is gone
DROPPED = 256  # entries that are dropped before others have their turn
CONNECTIVITY, BUILDING, SEARCHING = 16, 64, 96
"""The graph's edges a node, and how many candidates it weighs: docs/cache-index.md."""

T = TypeVar("T")
Records = NDArray[Any]
"""Structured: `vector` int8 [width], `inverse` of its length, `key`."""
Hits = dict[int, float]
"""Keys, and the cosines of their vectors with what was asked."""


class _Texts:
    """Three texts a slot. The garbage collector walks lists, and not numpy's arrays: at a million
    entries that is the difference between a pause and none."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.object_]] = []

    def __getitem__(self, slot: int) -> tuple[str, bytes, str]:
        name, question, partition = self._blocks[slot // SLOTS][slot % SLOTS]
        return name, question, partition

    def __setitem__(self, slot: int, texts: tuple[str, bytes, str] | None) -> None:
        if slot == len(self._blocks) * SLOTS:
            self._blocks.append(np.empty((SLOTS, 3), dtype=object))
        self._blocks[slot // SLOTS][slot % SLOTS] = texts


class _Entries:
    """All entries but their vectors, by slot. `rows` says where in its partition's rows an entry
    is, or -1 if it is in the graph; `ends` are epoch seconds."""

    def __init__(self) -> None:
        self.rows = array("i")
        self.ends = array("d")
        self._slots: dict[str, int] = {}
        self._texts = _Texts()
        self._uses = array("I")
        self._free = array("i")
        # A heap of slots that knows where each of them is: the one that ends first is on top.
        self._heap = array("i")
        self._places = array("i")

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, id: str, question: str, partition: str, ends: float) -> int:
        """Its slot."""
        slot = self._free.pop() if self._free else self._new_slot()
        self._slots[id] = slot
        self._texts[slot] = (id, question.encode("utf-8", "surrogatepass"), partition)
        self.ends[slot] = ends
        self._heap.append(slot)
        self._rise(len(self._heap) - 1, slot)
        return slot

    def remove(self, slot: int) -> None:
        del self._slots[self._texts[slot][0]]
        last = self._heap.pop()
        if last != slot:
            self._replace(self._places[slot], last)
        self._texts[slot] = None
        self.ends[slot] = float("-inf")
        self._uses[slot] += 1
        self._free.append(slot)

    def slot_of(self, id: str) -> int | None:
        return self._slots.get(id)

    def key_of(self, slot: int) -> int:
        return self._uses[slot] << 32 | slot

    def find(self, key: int) -> int | None:
        """The slot of a key; None where its entry is gone. Safe in a thread."""
        slot = key & 0xFFFFFFFF
        return slot if self._uses[slot] == key >> 32 else None

    def partition_of(self, slot: int) -> str:
        return self._texts[slot][2]

    def neighbour(self, slot: int, similarity: float) -> Neighbour:
        name, question, _ = self._texts[slot]
        return Neighbour(name, question.decode("utf-8", "surrogatepass"), similarity)

    def first(self) -> int:
        """The slot of the entry that ends first."""
        return self._heap[0]

    def count_after(self, now: float) -> int:
        """Entries that have not ended."""
        return int(np.count_nonzero(np.frombuffer(self.ends) > now)) if self.ends else 0

    def _new_slot(self) -> int:
        self.rows.append(-1)
        self.ends.append(0.0)
        self._uses.append(0)
        self._places.append(-1)
        return len(self.rows) - 1

    def _replace(self, place: int, slot: int) -> None:
        above = self._heap[(place - 1) // 2] if place else slot
        if self.ends[above] > self.ends[slot]:
            self._rise(place, slot)
        else:
            self._sink(place, slot)

    def _rise(self, place: int, slot: int) -> None:
        heap, ends, places = self._heap, self.ends, self._places
        while place:
            above = (place - 1) // 2
            other = heap[above]
            if ends[other] <= ends[slot]:
                break
            heap[place] = other
            places[other] = place
            place = above
        heap[place] = slot
        places[slot] = place

    def _sink(self, place: int, slot: int) -> None:
        heap, ends, places = self._heap, self.ends, self._places
        while (below := 2 * place + 1) < len(heap):
            if below + 1 < len(heap) and ends[heap[below + 1]] < ends[heap[below]]:
                below += 1
            other = heap[below]
            if ends[slot] <= ends[other]:
                break
            heap[place] = other
            places[other] = place
            place = below
        heap[place] = slot
        places[slot] = place


class _Rows:
    """A partition's records in blocks, without gaps: the last one fills the place of one that goes.

    All but `near` are for the event loop. `near` may run in a thread meanwhile: what it finds is
    true, and it may miss a record that changes its place at that moment.
    """

    __slots__ = ("_blocks", "_length", "count", "name")

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.count = 0
        self._length = max(16, BLOCK // width)  # of a block
        self._blocks: list[Records] = []

    def append(self, record: Records) -> int:
        """Takes an array of one record, for good. Its row."""
        number, at = divmod(self.count, self._length)
        if number == len(self._blocks):
            self._blocks.append(record)
        else:
            if at == len(self._blocks[number]):
                self._resize(number, min(self._length, max(at + 1, at * 3 // 2)))
            self._blocks[number][at] = record[0]
        self.count += 1
        return self.count - 1

    def remove(self, row: int) -> int | None:
        """The key of the record that is in that row now, if there is one."""
        self.count -= 1
        number, at = divmod(self.count, self._length)
        last, moved = self._blocks[number], None
        if row != self.count:
            self._blocks[row // self._length][row % self._length] = last[at]
            moved = int(last["key"][at])
        if not at:
            self._blocks.pop()
        elif 4 * at < len(last):
            self._resize(number, 2 * at)
        return moved

    def newest(self, most: int) -> Records:
        """Copies of the last records, the last one first."""
        return self._copies(self._blocks, range(self.count - 1, -1, -1)[:most])

    def near(self, query: Floats, most: int) -> Hits:
        blocks = list(self._blocks)
        if not blocks:
            return {}
        count = min(self.count, (len(blocks) - 1) * self._length + len(blocks[-1]))
        floats = np.empty((min(self._length, count), len(query)), dtype=np.float32)
        cosines = np.empty(count, dtype=np.float32)
        for begin, block in zip(range(0, count, self._length), blocks, strict=False):
            part = cosines[begin : begin + self._length]
            np.copyto(floats[: len(part)], block["vector"][: len(part)])
            np.dot(floats[: len(part)], query, out=part)
            part *= block["inverse"][: len(part)]
        rows: Iterable[int] = range(count)
        if most < count:
            rows = np.argpartition(cosines, -most)[-most:].tolist()
        # A row may be another's by now: whose it is and how near that is are read in one piece.
        found = self._copies(blocks, rows)
        cosines = found["vector"].astype(np.float32) @ query * found["inverse"]
        return dict(zip(found["key"].tolist(), cosines.tolist(), strict=True))

    def _copies(self, blocks: list[Records], rows: Iterable[int]) -> Records:
        return np.array([blocks[row // self._length][row % self._length] for row in rows])

    def _resize(self, number: int, length: int) -> None:
        block = self._blocks[number]
        resized = np.empty(length, dtype=block.dtype)
        kept = min(length, len(block))
        resized[:kept] = block[:kept]
        self._blocks[number] = resized


class _Graph:
    """What a large partition's rows become. For the thread alone, but for `live` and its length.

    Nothing is ever taken out: what is gone is left out of what is found, until the graph is made
    anew. (usearch 2.26's own removal leaves marks in its table of keys that fill it up.) Nor may
    two threads use one graph: from Python all of them would work in the same place.
    """

    def __init__(self, width: int) -> None:
        self._index = Index(
            ndim=width,
            metric="cos",
            dtype="i8",
            connectivity=CONNECTIVITY,
            expansion_add=BUILDING,
            expansion_search=SEARCHING,
        )
        self._count = 0
        self.live = 0  # entries that are in it and not gone; the event loop's

    def __len__(self) -> int:
        return self._count

    @property
    def is_wasteful(self) -> bool:
        """A third of it is gone."""
        return len(self) > 1.5 * self.live

    def keys(self) -> NDArray[np.uint64]:
        return np.asarray(self._index.keys[:], dtype=np.uint64)

    def add(self, keys: NDArray[np.uint64], vectors: Bytes) -> int:
        """Takes in the first ones, for `SECONDS`. How many those were: one at least."""
        until = time.perf_counter() + SECONDS
        added = 0
        while added < len(keys) and (not added or time.perf_counter() < until):
            some = slice(added, added + 4)
            self._index.add(keys[some], vectors[some], threads=1)
            added += len(keys[some])
            self._count += len(keys[some])
        return added

    def near(self, query: Floats, most: int, is_live: Callable[[int], bool]) -> Hits:
        coded, _ = _code(query)
        wanted = most + MARGIN
        while True:
            wanted = min(wanted, DEEPEST, len(self))
            if not wanted:
                return {}
            found = self._index.search(coded, wanted, threads=1).keys
            live = np.array([key for key in found.tolist() if is_live(key)], dtype=np.uint64)
            if len(live) >= most or wanted in (DEEPEST, len(self)):
                return self._measured(live, query)
            wanted *= 4

    def copy(self, keys: NDArray[np.uint64], into: "_Graph") -> int:
        """Puts the first of these into another, as `add` does."""
        return into.add(keys, self._vectors(keys)) if len(keys) else 0

    def free(self) -> None:
        """A million entries take a while."""
        self._index.reset()  # type: ignore[no-untyped-call]  # the library's stubs lack it

    def _measured(self, keys: NDArray[np.uint64], query: Floats) -> Hits:
        if not len(keys):
            return {}
        vectors = self._vectors(keys).astype(np.float32)
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1)
        return dict(zip(keys.tolist(), cosines.tolist(), strict=True))

    def _vectors(self, keys: NDArray[np.uint64]) -> Bytes:
        return np.array(self._index.get(keys), dtype=np.int8)


class LocalVectors:
    """Questions in memory, for one event loop; `clock` gives epoch seconds.

    All vectors have the width of the first; another one raises `ValueError`. One that has no
    direction (all zeros, or not finite) is near nothing, and not kept. Beyond `max_entries` those
    go first that would end first; `evicted` counts them. A partition gets a graph at more than
    `graph_from` rows.
    """

    def __init__(
        self,
        max_entries: int = MAX_ENTRIES,
        clock: Callable[[], float] = time.time,
        graph_from: int = GRAPH_FROM,
    ) -> None:
        self.evicted = 0
        self._max_entries = max_entries
        self._clock = clock
        self._graph_from = graph_from
        self._width = 0
        self._entries = _Entries()
        self._partitions: dict[str, _Rows] = {}
        self._graphs: dict[str, _Graph] = {}
        self._builders: dict[str, asyncio.Task[None]] = {}
        self._executor: ThreadPoolExecutor | None = None

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        """Makes a question findable until `expires_at` (epoch seconds); one of the same id goes."""
        self._check(vector)
        coded, inverse = _code(vector)
        self._remove_id(id)
        now = self._clock()
        self._tidy(now)
        if expires_at <= now or not inverse:
            return
        rows = self._partitions.get(partition)
        if rows is None:
            rows = self._partitions[partition] = _Rows(partition, self._width)
        slot = self._entries.add(id, question, rows.name, expires_at)
        record = np.empty(1, dtype=_record(self._width))
        record[0] = (coded, inverse, self._entries.key_of(slot))
        self._entries.rows[slot] = rows.append(record)
        while len(self._entries) > self._max_entries:
            self._evict(now)
        self._build_if_due(partition)

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        """The nearest, nearest first."""
        self._check(vector)
        now = self._clock()
        self._tidy(now)
        length = float(np.linalg.norm(vector))
        if partition not in self._partitions or count < 1 or not 0 < length < float("inf"):
            return []
        query = np.ascontiguousarray(vector, dtype=np.float32) / np.float32(length)
        most = count
        while True:
            hits = await self._search(partition, query, most)
            near = self._live(partition, hits, now)
            if len(near) >= count or len(hits) < most:
                return near[:count]
            most *= 8  # those that have ended were in the way

    async def drop(self, ids: Iterable[str]) -> None:
        """Those that are there go."""
        for number, each in enumerate(ids, start=1):
            self._remove_id(each)
            if number % DROPPED == 0:
                await asyncio.sleep(0)

    async def size(self) -> int:
        """Questions that are there and have not ended."""
        return self._entries.count_after(self._clock())

    async def settle(self) -> None:
        """Waits until the rows that a graph is due to take in are in it."""
        while self._builders:
            await asyncio.wait(list(self._builders.values()))

    async def close(self) -> None:
        """Ends the thread."""
        for builder in list(self._builders.values()):
            await end(builder)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)

    # Looking.

    async def _search(self, partition: str, query: Floats, most: int) -> Hits:
        rows, graph = self._partitions.get(partition), self._graphs.get(partition)
        if rows is None:
            return {}
        if graph is None and rows.count * self._width <= SCANNED_HERE:
            return rows.near(query, most)
        return await self._run(self._search_both, rows, graph, query, most)

    def _search_both(self, rows: _Rows, graph: _Graph | None, query: Floats, most: int) -> Hits:
        """In the thread."""
        hits = rows.near(query, most)
        if graph is not None:
            hits |= graph.near(query, most, lambda key: self._entries.find(key) is not None)
        return hits

    def _live(self, partition: str, hits: Hits, now: float) -> list[Neighbour]:
        near = []
        for key, similarity in sorted(hits.items(), key=lambda hit: -hit[1]):
            slot = self._entries.find(key)
            if slot is None or self._entries.ends[slot] <= now:
                continue
            if self._entries.partition_of(slot) != partition:  # never so; and never to be relied on
                continue
            near.append(self._entries.neighbour(slot, min(1.0, max(-1.0, similarity))))
        return near

    # Going.

    def _remove_id(self, id: str) -> None:
        slot = self._entries.slot_of(id)
        if slot is not None:
            self._remove(slot)

    def _remove(self, slot: int) -> None:
        name = self._entries.partition_of(slot)
        row = self._entries.rows[slot]
        self._entries.remove(slot)
        if row < 0:
            self._graphs[name].live -= 1
            self._build_if_due(name)
        else:
            self._take(self._partitions[name], row)
        if not self._partitions[name].count and name not in self._graphs:
            del self._partitions[name]

    def _take(self, rows: _Rows, row: int) -> None:
        """A row goes, and another one takes its place."""
        moved = rows.remove(row)
        if moved is not None:
            slot = self._entries.find(moved)
            assert slot is not None
            self._entries.rows[slot] = row

    def _tidy(self, now: float) -> None:
        """Some of those that have ended go; those that have not had their turn are not found."""
        for _ in range(TIDIED):
            if not len(self._entries) or self._entries.ends[self._entries.first()] > now:
                break
            self._remove(self._entries.first())

    def _evict(self, now: float) -> None:
        slot = self._entries.first()
        self.evicted += self._entries.ends[slot] > now
        self._remove(slot)

    # Building graphs, in the background.

    def _build_if_due(self, name: str) -> None:
        if name not in self._builders and self._is_due(name, WAITING):
            builder = spawn(self._build(name), "build the index of questions")
            self._builders[name] = builder
            builder.add_done_callback(lambda _: self._builders.pop(name))

    def _is_due(self, name: str, waiting: int) -> bool:
        graph, rows = self._graphs.get(name), self._partitions.get(name)
        if graph is None or rows is None:
            return rows is not None and rows.count > self._graph_from
        return rows.count >= waiting or graph.is_wasteful

    async def _build(self, name: str) -> None:
        while self._is_due(name, 1):
            graph = self._graphs.get(name)
            if graph is None:
                graph = self._graphs[name] = _Graph(self._width)
            if graph.is_wasteful:
                await self._renew(name, graph)
            else:
                await self._move(self._partitions[name], graph)

    async def _move(self, rows: _Rows, graph: _Graph) -> None:
        """The newest rows go into the graph. They stay rows until they are in it; and nothing
        comes in the place of the last ones but what is newer, so that no search misses any."""
        records = rows.newest(BATCH)
        keys = records["key"].copy()
        added = await self._run(graph.add, keys, np.ascontiguousarray(records["vector"]))
        for key in keys[:added].tolist():
            slot = self._entries.find(key)
            if slot is not None:
                self._take(rows, self._entries.rows[slot])
                self._entries.rows[slot] = -1
                graph.live += 1

    async def _renew(self, name: str, graph: _Graph) -> None:
        """What is left of a graph becomes a new one; the old one serves until then."""
        fresh = _Graph(self._width)
        keys = await self._run(graph.keys)
        done = 0
        while done < len(keys):
            part = keys[done : done + BATCH]
            live = np.array([k for k in part.tolist() if self._entries.find(k) is not None], "u8")
            copied = await self._run(graph.copy, live, fresh)
            done += len(part) if copied == len(live) else int(np.argmax(part == live[copied]))
        fresh.live = graph.live
        del self._graphs[name]
        if fresh.live:
            self._graphs[name] = fresh
        elif not self._partitions[name].count:
            del self._partitions[name]
        await self._run(graph.free)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        """In the one thread, one after another."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="turnout-index")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(work, *args))

    def _check(self, vector: Floats) -> None:
        if vector.ndim != 1 or not len(vector) or len(vector) != (self._width or len(vector)):
            raise ValueError(f"a vector of {self._width} numbers is wanted, not {vector.shape}")
        self._width = len(vector)


@cache
def _record(width: int) -> np.dtype[np.void]:
    fields = [("vector", np.int8, (width,)), ("inverse", np.float32), ("key", np.uint64)]
    return np.dtype(fields, align=True)


def _code(vector: Floats) -> tuple[Bytes, float]:
    """A byte a number, and 1 over the length of that; 0 where a vector has no direction."""
    peak = float(np.abs(vector).max())
    if not 0 < peak < float("inf"):
        return np.zeros(len(vector), np.int8), 0.0
    numbers = np.rint(vector.astype(np.float64) * (127 / peak))
    return numbers.astype(np.int8), 1 / float(np.linalg.norm(numbers))
