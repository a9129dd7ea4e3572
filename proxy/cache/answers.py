"""Where answers are kept: what a store has to do, and the one in this process's memory.

The store is bounded in bytes. What goes first when it is full is what has cost the least for its
size and was asked for the least of late (GreedyDual-Size-Frequency: Cherkasova, HP Labs 1998);
what has expired goes before it. An entry lives its time and no hit prolongs it.
"""

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import time
from typing import NamedTuple, Protocol

from proxy.cache.types import Entry, Purge

OVERHEAD = 700  # bytes an entry takes beside its texts: measured with tracemalloc
LEAST_COST = 100_000  # nano-dollars; so that answers without a price have a weight too
LARGEST = 0.1  # of the store's bytes: one answer may take that share at most


class Size(NamedTuple):
    """How much is kept; -1 where a store can't tell."""

    entries: int
    bytes: int


class Answers(Protocol):
    """A store of answers. None of its methods raises where the store is away: that is a miss."""

    async def get(self, id: str) -> Entry | None: ...

    async def put(self, entry: Entry) -> bool:
        """Whether it is kept."""
        ...

    async def purge(self, purge: Purge) -> int:
        """Drops what it names; how many those were."""
        ...

    async def size(self) -> Size: ...


@dataclass(slots=True)
class _Kept:
    entry: Entry
    size: int
    weight: float  # nano-dollars a byte
    priority: float
    hits: int = 1


class LocalAnswers:
    """Answers in memory. `clock` gives epoch seconds."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0
        self._queue: list[tuple[float, int, str]] = []  # (priority, turn, id), some out of date
        self._expiring: list[tuple[float, str]] = []
        self._age = 0.0  # of the last that went: what is new begins above it
        self._turn = 0
        self.evicted = 0

    async def get(self, id: str) -> Entry | None:
        kept = self._kept.get(id)
        if kept is None:
            return None
        if kept.entry.expires_at <= self._clock():
            self._drop(id)
            return None
        kept.hits += 1
        kept.priority = self._age + kept.hits * kept.weight
        return kept.entry

    async def put(self, entry: Entry) -> bool:
        size = size_of(entry)
        if size > LARGEST * self.max_bytes or entry.expires_at <= self._clock():
            return False
        self._drop(entry.id)
        weight = max(entry.cost_nanousd or 0, LEAST_COST) / size
        kept = _Kept(entry, size, weight, self._age + weight)
        self._kept[entry.id] = kept
        self._bytes += size
        heapq.heappush(self._expiring, (entry.expires_at, entry.id))
        self._enqueue(entry.id, kept)
        self._make_room()
        self._tidy()
        return entry.id in self._kept

    async def purge(self, purge: Purge) -> int:
        named = [name for name, kept in self._kept.items() if matches(kept.entry, purge)]
        for name in named:
            self._drop(name)
        return len(named)

    async def size(self) -> Size:
        return Size(len(self._kept), self._bytes)

    def entries(self) -> Iterable[Entry]:
        """All that is kept, in no order."""
        return (kept.entry for kept in list(self._kept.values()))

    def _enqueue(self, id: str, kept: _Kept) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (kept.priority, self._turn, id))

    def _make_room(self) -> None:
        now = self._clock()
        while self._bytes > self.max_bytes and self._expiring and self._expiring[0][0] <= now:
            ends, name = heapq.heappop(self._expiring)
            if name in self._kept and self._kept[name].entry.expires_at == ends:
                self._drop(name)
        while self._bytes > self.max_bytes:
            priority, _, name = heapq.heappop(self._queue)
            kept = self._kept.get(name)
            if kept is None:
                continue
            if kept.priority > priority:  # it was asked for since
                self._enqueue(name, kept)
                continue
            self._age = priority
            self.evicted += 1
            self._drop(name)

    def _tidy(self) -> None:
        """The queues forget what is gone, before they are mostly that."""
        if len(self._queue) > 2 * len(self._kept) + 64:
            self._queue = [(kept.priority, 0, name) for name, kept in self._kept.items()]
            heapq.heapify(self._queue)
        if len(self._expiring) > 2 * len(self._kept) + 64:
            self._expiring = [(kept.entry.expires_at, name) for name, kept in self._kept.items()]
            heapq.heapify(self._expiring)

    def _drop(self, id: str) -> None:
        kept = self._kept.pop(id, None)
        if kept is not None:
            self._bytes -= kept.size


def size_of(entry: Entry) -> int:
    """Bytes that an entry takes in memory."""
    return OVERHEAD + len(entry.body) + len(entry.id) + len(entry.question or "")


def matches(entry: Entry, purge: Purge) -> bool:
    """Whether an entry is one that a purge names."""
    if purge.pattern is not None and not fnmatchcase(entry.id, purge.pattern):
        return False
    models = (entry.name, entry.model, f"{entry.provider}/{entry.model}")
    return (
        (purge.id is None or entry.id == purge.id)
        and (purge.model is None or purge.model in models)
        and (purge.task is None or purge.task == (entry.task or "-"))
        and (purge.tag is None or purge.tag in entry.tags)
        and (purge.epoch is None or purge.epoch == entry.epoch)
    )


def age_of(entry: Entry, now: float) -> int:
    """Whole seconds since an entry was made."""
    return max(0, math.floor(now - entry.stored_at))
