"""Questions that all processes share, found by their vectors in Redis's query engine.

That is in Redis 8, in Redis Stack and in Valkey with valkey-search; what is asked of it here is
what all three know. Each question is a hash that ends when its answer does. Its partition is part
of the search and is compared again in each reply: nothing of another one is ever returned.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from proxy.semantic.meaning import Floats
from proxy.semantic.vectors import Neighbour
from proxy.shared.redis import Away, Field, Link, Reply, Script
from proxy.tasks import end, spawn

PREFIX = "turnout:{cache}:"
SCHEMA = 1  # of the hashes and their index: another number is another index
BATCH = 500  # keys that are dropped at once
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds between attempts to find the index again

PARTITION = re.compile("[0-9a-f]{32}")

KEEP = Script.load("question")


class SharedQuestions:
    """Questions in Redis, of one embedder. `probe` it before use: until it says True there are
    none, and none are kept. Nothing of it raises but `ValueError`, for what can't be asked.

    `width` is that of the vectors. `failures` counts what Redis left unanswered, `refused` the
    questions that it would not keep (it is full).
    """

    def __init__(self, link: Link, width: int, embedder_id: str) -> None:
        self._link = link
        self._width = width
        made_by = hashlib.sha256(f"{SCHEMA} {width} {embedder_id}".encode()).hexdigest()[:12]
        self.index = f"{PREFIX}i:{made_by}:{width}"
        self._prefix = f"{PREFIX}q:{made_by}:{width}:"
        self._is_ready = False
        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        self.failures = 0
        self.refused = 0
        link.on_back(self._look)

    async def probe(self) -> bool:
        """Whether Redis has a query engine with our index; makes the index if it lacks."""
        self._is_ready = await self._find_index() is True
        return self._is_ready

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        blob = self._blob(partition, vector)
        if not self._is_ready:
            return
        fields: list[Field] = [round(expires_at * 1000), "partition", partition, "vector", blob]
        fields += ["question", question.encode("utf-8", "surrogatepass")]
        try:
            kept = await self._link.run(KEEP, [self._name(id)], fields)
        except Away:
            self.failures += 1
            return
        self.refused += kept != 1

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        blob = self._blob(partition, vector)
        if not self._is_ready or count < 1:
            return []
        query = f"(@partition:{{{partition}}})=>[KNN {count} @vector $v AS d]"
        command: list[Field] = ["FT.SEARCH", self.index, query, "PARAMS", 2, "v", blob]
        # Without SORTBY, which valkey-search came to know late: it is sorted here.
        command += ["RETURN", 3, "partition", "question", "d", "LIMIT", 0, count, "DIALECT", 2]
        try:
            reply = await self._link.ask(*command)
        except Away:
            self.failures += 1
            self._look()  # the index may be gone: FLUSHALL takes it along
            return []
        found = [self._read(partition, *hit) for hit in zip(reply[1::2], reply[2::2], strict=True)]
        near = [neighbour for neighbour in found if neighbour is not None]
        return sorted(near, key=lambda neighbour: -neighbour.similarity)

    async def drop(self, ids: Iterable[str]) -> None:
        names = [self._name(each) for each in ids]
        try:
            for start in range(0, len(names), BATCH):
                await self._link.ask("UNLINK", *names[start : start + BATCH])
        except Away:
            self.failures += 1

    async def size(self) -> int:
        if not self._is_ready:
            return -1
        try:
            told = await self._link.ask("FT.INFO", self.index)
        except Away:
            self.failures += 1
            return -1
        counts = [value for name, value in pairwise(told) if name == b"num_docs"]
        return int(counts[0]) if counts else -1

    async def close(self) -> None:
        """Ends the search for a lost index."""
        self._closed = True
        if self._looking is not None:
            await end(self._looking)

    async def _find_index(self) -> bool | None:
        """False where there is no engine, None where nobody knows."""
        try:
            # What is asked first can't be an error of Redis, as three of them shut the link.
            if None in await self._link.ask("COMMAND", "INFO", "FT.SEARCH", "FT.CREATE"):
                return False
            if not await self._has_index():
                await self._make_index()
            return await self._has_index() or None
        except Away:
            self.failures += 1
            return None

    async def _has_index(self) -> bool:
        return self.index.encode() in await self._link.ask("FT._LIST")

    async def _make_index(self) -> None:
        hashes: list[Field] = ["ON", "HASH", "PREFIX", 1, self._prefix]
        vector: list[Field] = ["TYPE", "FLOAT32", "DIM", self._width, "DISTANCE_METRIC", "COSINE"]
        vector += ["M", 16, "EF_CONSTRUCTION", 200]
        fields = ["partition", "TAG", "vector", "VECTOR", "HNSW", len(vector), *vector]
        try:
            await self._link.ask("FT.CREATE", self.index, *hashes, "SCHEMA", *fields)
        except Away:  # another process may have been first
            self.failures += 1

    def _look(self) -> None:
        """Leaves the index alone until it is seen again."""
        self._is_ready = False
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = spawn(self._find_again(), "look for the index of questions")

    async def _find_again(self) -> None:
        pause = FIRST_PAUSE
        while (found := await self._find_index()) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._is_ready = found

    def _read(self, partition: str, name: bytes, fields: Reply) -> Neighbour | None:
        """A hit; None where it is none, or has ended meanwhile."""
        if not fields:
            return None
        told = dict(zip(fields[::2], fields[1::2], strict=True))
        try:
            similarity = 1.0 - float(told[b"d"])
            answer = name.decode().removeprefix(self._prefix)
            question = told[b"question"].decode("utf-8", "surrogatepass")
        except (KeyError, ValueError):
            return None
        if told.get(b"partition") != partition.encode() or not math.isfinite(similarity):
            return None
        return Neighbour(answer, question, min(1.0, max(-1.0, similarity)))

    def _blob(self, partition: str, vector: Floats) -> bytes:
        if PARTITION.fullmatch(partition) is None:  # it becomes a part of a query
            raise ValueError("a partition has 32 hex digits")
        if vector.shape != (self._width,):
            raise ValueError(f"a vector of {self._width} numbers is wanted, not {vector.shape}")
        return np.ascontiguousarray(vector, dtype="<f4").tobytes()

    def _name(self, id: str) -> str:
        """The key of a question. What is no text can't be sent: it gets a name of its own."""
        return self._prefix + id.encode("utf-8", "backslashreplace").decode()
