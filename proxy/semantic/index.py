"""Questions of this process, found by their vectors: the index of a single server, in memory.

Nothing is trained or built, and nothing that is there is skipped: every row of a partition is
looked at. Most partitions are a few rows, and all their cosines are worked out. Of a larger one the
signs of the vectors' numbers are looked at first, a bit each, and cosines are worked out for the
512 rows whose signs differ least: a tenth of the work. docs/cache-index.md says how seldom that
misses the nearest. Beyond 2,000 rows of 384 numbers it is done in a thread.

    LocalVectors   partitions, what ends and what has to go
    _Entries       what else is known of a question, and which one ends first
    _Rows          a partition's vectors

A vector is kept in a byte a number. Its largest number becomes 127 (a cosine does not mind), so
that a cosine is wrong by 0.003 at most, where one scale for all would lose 0.013. The question
that is asked stays as it is.

An entry lives in a numbered slot, and slots are used again. A key is a slot and how often it had
been used before: a key that a thread found is worth nothing once its slot is another's.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.semantic.meaning import Bytes, Floats
from proxy.semantic.vectors import Neighbour

MAX_ENTRIES = 100_000
SEARCHED_HERE = 768_000  # numbers of a partition that is searched on the event loop: 0.2 ms
SIGNED = 1024  # rows beyond which signs are looked at first
PICKED = 512  # rows whose cosines are worked out then, at least
MANY = 1024  # rows of which one is picked, if that makes more
BLOCK = 3_145_728  # numbers a block of rows
DOTTED = 196_608  # numbers a product: as floats they fit the cache, and BLAS starts no threads
SLOTS = 1024  # texts a block
SHARDS = 256  # of the table of ids: a whole one takes 40 ms to grow, at 400,000
TIDIED = 16  # entries that have ended and are removed at each call
DROPPED = 256  # entries that are dropped before others have their turn

Records = NDArray[Any]
"""Structured: `vector` int8 [width], `inverse` of its length, `key`."""
Signs = NDArray[np.uint64]
"""[words, rows]: a bit for each number of a vector, set where it is more than 0."""


class _Texts:
    """Three texts a slot. In numpy's arrays, which the garbage collector does not walk, as it does
    a list; and in blocks, so that none ever has to grow."""

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
    is; `ends` are epoch seconds."""

    def __init__(self) -> None:
        self.rows = array("i")
        self.ends = array("d")
        self._slots: tuple[dict[str, int], ...] = tuple({} for _ in range(SHARDS))
        self._texts = _Texts()
        self._uses = array("I")
        self._free = array("i")
        # A heap of slots that knows where each of them is: the one that ends first is on top.
        self._heap = array("i")
        self._places = array("i")

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, id: str, question: str, partition: str, ends: float) -> int:
        """Its slot."""
        slot = self._free.pop() if self._free else self._new_slot()
        self._slots[hash(id) % SHARDS][id] = slot
        self._texts[slot] = (id, question.encode("utf-8", "surrogatepass"), partition)
        self.ends[slot] = ends
        self._heap.append(slot)
        self._rise(len(self._heap) - 1, slot)
        return slot

    def remove(self, slot: int) -> None:
        name = self._texts[slot][0]
        del self._slots[hash(name) % SHARDS][name]
        last = self._heap.pop()
        if last != slot:
            self._replace(self._places[slot], last)
        self._texts[slot] = None
        self.ends[slot] = float("-inf")
        self._uses[slot] += 1
        self._free.append(slot)

    def slot_of(self, id: str) -> int | None:
        return self._slots[hash(id) % SHARDS].get(id)

    def key_of(self, slot: int) -> int:
        return self._uses[slot] << 32 | slot

    def find(self, key: int) -> int | None:
        """The slot of a key; None where its entry is gone."""
        slot = key & 0xFFFFFFFF
        return slot if slot < len(self._uses) and self._uses[slot] == key >> 32 else None

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

    `near` may run in a thread while the event loop does the rest. What it finds then is to be
    measured again, and it may miss a record that changes its place at that moment.
    """

    __slots__ = ("_blocks", "_length", "_signs", "count", "name")

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.count = 0
        self._length = max(16, BLOCK // width)  # rows a block
        self._blocks: list[Records] = []
        self._signs: list[Signs] = []  # of each block; none while there are few rows

    def append(self, record: Records) -> int:
        """Takes an array of one record, for good. Its row."""
        number, at = divmod(self.count, self._length)
        if number == len(self._blocks):
            length = self._length // 4 if number else 1
            self._blocks.append(np.empty(length, dtype=record.dtype))
            if self._signs:
                self._signs.append(np.empty((len(self._signs[0]), length), dtype=np.uint64))
        elif at == len(self._blocks[number]):
            self._resize(number, min(self._length, max(at + 1, at * 3 // 2)))
        self._blocks[number][at] = record[0]
        if self._signs:
            self._signs[number][:, at] = _signs(record["vector"])[:, 0]
        self.count += 1
        if self.count > SIGNED and not self._signs:
            self._signs = [_signs(block["vector"]) for block in self._blocks]
        return self.count - 1

    def remove(self, row: int) -> int | None:
        """The key of the record that is in that row now, if there is one."""
        self.count -= 1
        (number, at), (last, end) = divmod(row, self._length), divmod(self.count, self._length)
        moved = None
        if row != self.count:
            moved = int(self._blocks[last]["key"][end])
            self._blocks[number][at] = self._blocks[last][end]
            if self._signs:
                self._signs[number][:, at] = self._signs[last][:, end]
        if self.count < SIGNED // 2:
            self._signs.clear()
        if not end:
            del self._blocks[last], self._signs[last:]
        elif not last and 4 * end < len(self._blocks[0]):
            self._resize(0, 2 * end)
        return moved

    def near(self, query: Floats, most: int) -> list[int]:
        """Keys, the nearest first. `query` has length 1."""
        signs, blocks = list(self._signs), list(self._blocks)
        count = min(self.count, sum(map(len, blocks)))
        if not count:
            return []
        if len(signs) == len(blocks):
            picked = max(PICKED, count // MANY, 4 * most)
            records = self._pick(blocks, _alike(signs, query, count, picked))
        else:
            records = np.concatenate(blocks)[:count] if len(blocks) > 1 else blocks[0][:count]
        cosines = _cosines(records, query)
        if most < len(cosines):
            nearest = np.argpartition(-cosines, most - 1)[:most]
            records, cosines = records[nearest], cosines[nearest]
        keys: list[int] = records["key"][np.argsort(-cosines)].tolist()
        return keys

    def cosines(self, rows: Sequence[int], query: Floats) -> list[float]:
        """Those of some rows with `query`, in their order."""
        found = [self._blocks[row // self._length][row % self._length] for row in rows]
        cosines: list[float] = _cosines(np.array(found), query).clip(-1, 1).tolist()
        return cosines

    def _pick(self, blocks: Sequence[Records], rows: NDArray[np.intp]) -> Records:
        """Copies of some rows' records; `rows` ascends."""
        ends = np.searchsorted(rows, np.arange(1, len(blocks)) * self._length)
        parts = zip(blocks, np.split(rows % self._length, ends), strict=True)
        return np.concatenate([block.take(part) for block, part in parts if len(part)])

    def _resize(self, number: int, length: int) -> None:
        block = self._blocks[number]
        kept = min(length, len(block))
        self._blocks[number] = np.empty(length, dtype=block.dtype)
        self._blocks[number][:kept] = block[:kept]
        if self._signs:
            signs = self._signs[number]
            self._signs[number] = np.empty((len(signs), length), dtype=np.uint64)
            self._signs[number][:, :kept] = signs[:, :kept]


class LocalVectors:
    """Questions in memory, for one event loop; `clock` gives epoch seconds.

    All vectors have the width of the first; another one raises `ValueError`. One that has no
    direction (all zeros, or not finite) is near nothing, and not kept. Beyond `max_entries` those
    go first that would end first; `evicted` counts them.
    """

    def __init__(
        self, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.time
    ) -> None:
        self.evicted = 0
        self._max_entries = max_entries
        self._clock = clock
        self._width = 0
        self._entries = _Entries()
        self._partitions: dict[str, _Rows] = {}

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        """Makes a question findable until `expires_at` (epoch seconds); one of the same id goes."""
        self._check(vector)
        self._remove_id(id)
        now = self._clock()
        self._tidy(now)
        coded, inverse = _code(vector)
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
            self.evicted += 1  # one that has ended would have been tidied away
            self._remove(self._entries.first())

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        """The nearest, nearest first."""
        self._check(vector)
        now = self._clock()
        self._tidy(now)
        length = float(np.linalg.norm(vector))
        rows = self._partitions.get(partition)
        if rows is None or count < 1 or not 0 < length < float("inf"):
            return []
        query = np.ascontiguousarray(vector, dtype=np.float32) / np.float32(length)
        most = count
        while True:
            if rows.count * self._width <= SEARCHED_HERE:
                keys = rows.near(query, most)
            else:
                keys = await asyncio.to_thread(rows.near, query, most)
            near = self._measured(partition, keys, query, now)
            if len(near) >= count or len(keys) < most:
                return near[:count]
            most *= 8  # some have ended, and were in the way

    async def drop(self, ids: Iterable[str]) -> None:
        """Those that are there go."""
        for number, each in enumerate(ids, start=1):
            self._remove_id(each)
            if number % DROPPED == 0:
                await asyncio.sleep(0)

    async def size(self) -> int:
        """Questions that are there and have not ended."""
        return self._entries.count_after(self._clock())

    async def close(self) -> None:
        """Lets go of everything."""
        self._entries, self._partitions = _Entries(), {}

    def _measured(
        self, partition: str, keys: Iterable[int], query: Floats, now: float
    ) -> list[Neighbour]:
        """What is there of it, as it is now, nearest first."""
        entries = self._entries
        found = (entries.find(key) for key in keys)
        slots = [slot for slot in found if slot is not None and entries.ends[slot] > now]
        # Never another partition's; and never to be relied on.
        slots = [slot for slot in slots if entries.partition_of(slot) == partition]
        if not slots:
            return []
        rows = self._partitions[partition]
        cosines = rows.cosines([entries.rows[slot] for slot in slots], query)
        near = [entries.neighbour(*pair) for pair in zip(slots, cosines, strict=True)]
        return sorted(near, key=lambda each: -each.similarity)

    def _remove_id(self, id: str) -> None:
        slot = self._entries.slot_of(id)
        if slot is not None:
            self._remove(slot)

    def _remove(self, slot: int) -> None:
        rows = self._partitions[self._entries.partition_of(slot)]
        row = self._entries.rows[slot]
        moved = rows.remove(row)
        if moved is not None:
            other = self._entries.find(moved)
            assert other is not None
            self._entries.rows[other] = row
        self._entries.remove(slot)
        if not rows.count:
            del self._partitions[rows.name]

    def _tidy(self, now: float) -> None:
        """Some of those that have ended go; those that have not had their turn are not found."""
        for _ in range(TIDIED):
            if not len(self._entries) or self._entries.ends[self._entries.first()] > now:
                break
            self._remove(self._entries.first())

    def _check(self, vector: Floats) -> None:
        if vector.ndim != 1 or not len(vector) or len(vector) != (self._width or len(vector)):
            raise ValueError(f"a vector of {self._width} numbers is wanted, not {vector.shape}")
        self._width = len(vector)


def _alike(signs: Sequence[Signs], query: Floats, count: int, most: int) -> NDArray[np.intp]:
    """The rows of the first `count` whose signs differ least from those of `query`, ascending."""
    asked = _signs(query[np.newaxis])
    rows, differences, begin = np.empty(0, np.intp), np.empty(0, np.uint16), 0
    bound = len(query)
    for block in signs:
        words = block[:, : count - begin]
        differing = np.bitwise_count(words ^ asked).sum(axis=0, dtype=np.uint16)
        few = np.flatnonzero(differing <= bound)
        rows = np.concatenate([rows, few + begin])
        differences = np.concatenate([differences, differing[few]])
        if len(rows) > 2 * most:
            kept = np.argpartition(differences, most)[:most]
            rows, differences = rows[kept], differences[kept]
            bound = int(differences.max())
        begin += len(differing)
    if len(rows) > most:
        rows = rows[np.argpartition(differences, most)[:most]]
    return np.sort(rows)


def _signs(vectors: NDArray[Any]) -> Signs:
    """Those of vectors [rows, width]."""
    bits = np.packbits(vectors > 0, axis=1)
    if bits.shape[1] % 8:
        bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))
    return np.ascontiguousarray(bits.view(np.uint64).T)


def _cosines(records: Records, query: Floats) -> Floats:
    cosines = np.empty(len(records), dtype=np.float32)
    step = max(16, DOTTED // len(query))
    for begin in range(0, len(records), step):
        some = slice(begin, begin + step)
        np.dot(records["vector"][some].astype(np.float32), query, out=cosines[some])
    cosines *= records["inverse"]
    return cosines


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
