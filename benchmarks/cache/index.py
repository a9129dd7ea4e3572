"""Measures the index of the cache by meaning, in this process, at growing sizes.

    python -m benchmarks.cache.index [--entries 10000,100000,1000000] [--corpus]

Vectors of 384 numbers, all in one partition, of a mixture: 2,000 topics, each a normal vector; an
entry is its topic and 0.9 of another normal vector, brought to length 1. Two of one topic are 0.55
alike, two of different ones 0. Asked are 1,000 that are 0.85 to 0.95 like an entry (near), and
1,000 drawn from the mixture like the entries (anywhere). Recall is the share of questions whose
first neighbour is the one that a scan of the float32 vectors finds; `lost` is by how much the one
that was found is less alike, at worst. It is asked once while nothing changes, and again while
1,000 entries a second come, and as many go (changing).

A pause is by how much a task that sleeps for a millisecond on the event loop wakes late. Other
processes make it late too: `idle` is what it is while nothing happens here.

`--corpus` embeds the project's own questions instead (23,000, some minutes): asked is the first
rephrasing of each group, among all other texts.
"""

import argparse
import asyncio
import os
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache import corpus
from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.index import LocalVectors
from proxy.semantic.meaning import EmbedderUnavailable, Floats
from proxy.semantic.vectors import Neighbour

WIDTH, TOPICS, NOISE = 384, 2_000, 0.9
BLOCK = 5_000
ASKED = 1_000  # of each kind
NEAREST = 4
PARTITION = "0" * 32
LATER = 4e9  # epoch seconds
BEAT = 0.001  # seconds
SEED = 1


class Found(NamedTuple):
    """What was found for some questions. `recall` is a share, `lost` a cosine."""

    recall: float
    lost: float


class Row(NamedTuple):
    """One size. Searches and pauses in milliseconds, an `add` in microseconds."""

    entries: int
    p50: float
    p99: float
    changing_p50: float
    changing_p99: float
    add: float
    size: float
    near: Found
    anywhere: Found
    pause_idle: float
    pause_searching: float
    pause_changing: float


class Beats:
    """How late a sleeping task woke, in milliseconds."""

    def __init__(self) -> None:
        self.late: list[float] = []

    @property
    def worst(self) -> float:
        return max(self.late, default=0.0)

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(BEAT)
            self.late.append((time.perf_counter() - began - BEAT) * 1000)


@asynccontextmanager
async def beating(beats: Beats) -> AsyncIterator[None]:
    task = asyncio.create_task(beats.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def unit(vectors: NDArray[np.floating]) -> Floats:
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def drawn(count: int, seed: int) -> Floats:
    """[count, WIDTH] of the mixture; the same for a seed."""
    topics = np.random.default_rng(0).standard_normal((TOPICS, WIDTH), dtype=np.float32)
    chance = np.random.default_rng([SEED, seed])
    noise = chance.standard_normal((count, WIDTH), dtype=np.float32)
    return unit(topics[chance.integers(0, TOPICS, count)] + np.float32(NOISE) * noise)


def blocks(entries: int) -> Iterator[Floats]:
    """The entries, made anew at each call: at a million they would fill 1.5 GB."""
    for number, begin in enumerate(range(0, entries, BLOCK)):
        yield drawn(min(BLOCK, entries - begin), number)


def beside(vectors: Floats) -> Floats:
    """For each vector one that is 0.85 to 0.95 like it."""
    chance = np.random.default_rng(SEED)
    noise = chance.standard_normal(vectors.shape, dtype=np.float32)
    noise = unit(noise - (noise * vectors).sum(axis=1, keepdims=True) * vectors)
    cosine = chance.uniform(0.85, 0.95, (len(vectors), 1))
    return unit(cosine * vectors + np.sqrt(1 - cosine**2) * noise)


async def ask(vectors: LocalVectors, asked: Floats) -> tuple[list[list[Neighbour]], list[float]]:
    """One after another: what was found, and the milliseconds that each took."""
    found, took = [], []
    for vector in asked:
        began = time.perf_counter()
        found.append(await vectors.nearest(PARTITION, vector, NEAREST))
        took.append((time.perf_counter() - began) * 1000)
    return found, took


async def fill(vectors: LocalVectors, given: Floats, since: int = 0) -> float:
    """Seconds that adding took, without the other tasks' turns between."""
    took = 0.0
    for number, vector in enumerate(given, start=since):
        text = f"{number:07d} how do I get from the station to the old town, please"
        began = time.perf_counter()
        await vectors.add(PARTITION, f"{number:032x}", text, vector, LATER)
        took += time.perf_counter() - began
        await asyncio.sleep(0)
    return took


async def size_of(entries: int) -> float:
    """Bytes an entry, texts of 60 characters and ids of 32 and all."""
    vectors = LocalVectors(entries)
    tracemalloc.start()
    for number, block in enumerate(blocks(entries)):
        await fill(vectors, block, number * BLOCK)
    del block
    size = tracemalloc.get_traced_memory()[0] / entries
    tracemalloc.stop()
    return size


def compared(
    found: Sequence[list[Neighbour]], asked: Floats, made: Iterator[Floats]
) -> list[Found]:
    """What was found beside what a scan of the float32 vectors finds, for each half of `asked`."""
    first = np.array([int(near[0].id, 16) for near in found])
    best = np.full(len(asked), -1.0, dtype=np.float32)
    told, nearest, begin = best.copy(), np.zeros(len(asked), dtype=np.int64), 0
    for block in made:
        cosines = asked @ block.T
        here = cosines.argmax(axis=1)
        better = cosines[np.arange(len(asked)), here] > best
        best[better] = cosines[better, here[better]]
        nearest[better] = begin + here[better]
        mine = np.flatnonzero((first >= begin) & (first < begin + len(block)))
        told[mine] = cosines[mine, first[mine] - begin]
        begin += len(block)
    halves = np.array_split(np.arange(len(asked)), 2)
    return [
        Found(float((nearest[half] == first[half]).mean()), float((best - told)[half].max()))
        for half in halves
    ]


async def churn(vectors: LocalVectors, given: Floats) -> None:
    """Adds some 1,000 a second, each in the place of another, until it is cancelled."""
    number = 0
    while True:
        for _ in range(5):
            name = f"new {number:028x}"
            await vectors.add(PARTITION, name, "?" * 60, given[number % len(given)], LATER)
            number += 1
        await asyncio.sleep(0.005)


async def measure(entries: int) -> Row:
    chance = np.random.default_rng(SEED)
    sources = np.sort(chance.choice(entries, ASKED, replace=False))
    anywhere = drawn(ASKED, 1_000_000)
    idle, searching, changing = Beats(), Beats(), Beats()
    async with beating(idle):
        await asyncio.sleep(5)
    vectors, seconds, picked = LocalVectors(entries), 0.0, []
    for number, block in enumerate(blocks(entries)):
        begin = number * BLOCK
        picked.append(block[sources[(sources >= begin) & (sources < begin + BLOCK)] - begin])
        seconds += await fill(vectors, block, begin)
    asked = np.concatenate([beside(np.concatenate(picked)), anywhere])
    async with beating(searching):
        found, took = await ask(vectors, asked)
    near, far = compared(found, asked, blocks(entries))
    adding = asyncio.create_task(churn(vectors, anywhere))
    async with beating(changing):
        _, took_changing = await ask(vectors, asked)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await vectors.close()
    p50, p99 = np.percentile(took, [50, 99])
    changing_p50, changing_p99 = np.percentile(took_changing, [50, 99])
    pauses = (idle.worst, searching.worst, changing.worst)
    add, size = seconds / entries * 1e6, await size_of(entries)
    return Row(entries, p50, p99, changing_p50, changing_p99, add, size, near, far, *pauses)


async def embedded(texts: Sequence[str]) -> list[Floats | None]:
    """None where the embedder refuses a text."""
    embedder = MiniLm(timeout=60)

    async def one(text: str) -> Floats | None:
        try:
            return (await embedder.embed([text]))[0].vector
        except EmbedderUnavailable:
            return None

    found: list[Floats | None] = []
    for begin in range(0, len(texts), 128):
        found += await asyncio.gather(*map(one, texts[begin : begin + 128]))
    await embedder.close()
    return found


async def measure_corpus() -> None:
    groups = corpus.read()
    asked_texts = [group.same[0] for group in groups]
    texts = [t for g in groups for t in (g.question, *g.same[1:], *(trap.text for trap in g.near))]
    asked = np.array([v for v in await embedded(asked_texts) if v is not None])
    given = np.array([v for v in await embedded(texts) if v is not None])
    vectors = LocalVectors(len(given))
    await fill(vectors, given)
    found, took = await ask(vectors, asked)
    halves = compared(found, asked, iter([given]))
    recall = sum(half.recall for half in halves) / 2
    lost = max(half.lost for half in halves)
    p50, p99 = np.percentile(took, [50, 99])
    print(f"{len(given)} texts, {len(asked)} asked: recall@1 {recall:.4f}, lost {lost:.4f},")
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")


HEAD = """\
| entries | p50 ms | p99 ms | changing: p50 ms | p99 ms | add µs | bytes an entry | recall@1 near \
| lost | recall@1 anywhere | lost | pause ms idle | searching | changing |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def shown(row: Row) -> str:
    return (
        f"| {row.entries:,} | {row.p50:.2f} | {row.p99:.2f} | {row.changing_p50:.2f} "
        f"| {row.changing_p99:.2f} | {row.add:.0f} | {row.size:.0f} | {row.near.recall:.3f} "
        f"| {row.near.lost:.4f} | {row.anywhere.recall:.3f} | {row.anywhere.lost:.4f} "
        f"| {row.pause_idle:.1f} | {row.pause_searching:.1f} | {row.pause_changing:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--entries", default="10000,100000,1000000")
    parser.add_argument("--corpus", action="store_true")
    arguments = parser.parse_args()
    if arguments.corpus:
        asyncio.run(measure_corpus())
        return
    print(f"{os.cpu_count()} cores\n\n{HEAD}", flush=True)
    for entries in map(int, arguments.entries.split(",")):
        print(shown(asyncio.run(measure(entries))), flush=True)


if __name__ == "__main__":
    main()
