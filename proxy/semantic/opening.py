"""Brings the tier by meaning about: its embedder, its index, its labels."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.cache.answers import Answers
from proxy.cache.counts import Counts
from proxy.semantic import pairs
from proxy.semantic.calibration import Calibration, Label
from proxy.semantic.embedders.making import PostTo, make
from proxy.semantic.index import LocalVectors
from proxy.semantic.meaning import Floats
from proxy.semantic.tier import MeaningTier
from proxy.semantic.vectors import Neighbour, Vectors
from proxy.storage.labels import LabelBook, Labels, StoredLabel
from proxy.tasks import end, spawn

PROBE_EVERY = 60.0  # seconds between two looks for a query engine


class Probed(Vectors, Protocol):
    """An index that processes share, if its server has a query engine."""

    async def probe(self) -> bool: ...


SharedVectors = Callable[[int, str], Probed]
"""From a vector's width and the embedder's id to such an index."""


class Either:
    """The shared index where there is one, else this process's own. Asked again after a while:
    a server may be started later, or be replaced."""

    def __init__(self, shared: Probed, local: Vectors) -> None:
        self._shared = shared
        self._local = local
        self._chosen: Vectors | None = None
        self._again = 0.0

    async def _choose(self) -> Vectors:
        if self._chosen is not self._shared and time.monotonic() >= self._again:
            self._again = time.monotonic() + PROBE_EVERY
            self._chosen = self._shared if await self._shared.probe() else self._local
        return self._chosen or self._local

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        await (await self._choose()).add(partition, id, question, vector, expires_at)

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        return await (await self._choose()).nearest(partition, vector, count)

    async def drop(self, ids: Iterable[str]) -> None:
        await (await self._choose()).drop(ids)

    async def size(self) -> int:
        return await (await self._choose()).size()


class Shelf:
    """Labels in the database, and from there those of other processes."""

    def __init__(self, book: LabelBook) -> None:
        self.book = book

    def note(self, label: Label, entry: str) -> None:
        self.book.add([StoredLabel(*label, entry)])

    def is_quarantined(self, entry: str) -> bool:
        return self.book.is_quarantined(entry)

    @property
    def quarantined(self) -> int:
        return self.book.quarantined


class OpenTier:
    """The tier with all that it is made of; `close` gives it back."""

    def __init__(self, tier: MeaningTier, book: LabelBook, local: LocalVectors) -> None:
        self.tier = tier
        self._book = book
        self._local = local
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Loads the labels of before, and in the background the model."""
        await self._book.start()
        self._warming = spawn(self.tier.warm(), "load the embedder")

    async def close(self) -> None:
        """May be called again, if it was cut off."""
        if self._warming is not None:
            await end(self._warming)
        await self._book.stop()
        await self.tier.embedder.close()
        await self._local.close()


def open_tier(
    spec: str,
    max_entries: int,
    answers: Answers,
    counts: Counts,
    engine: AsyncEngine,
    post: PostTo,
    shared: SharedVectors | None,
) -> OpenTier:
    """Builds it; nothing is loaded and nothing asked yet. Raises `ValueError` for a wrong spec."""
    embedder = make(spec, post, states=True)
    prior = pairs.load()
    calibration = Calibration(prior.thresholds if prior.fits(embedder.id) else ())

    def on_labels(labels: Labels) -> None:
        calibration.add(Label(*label[:-1]) for label in labels)

    def on_quarantine(entries: Sequence[str]) -> None:
        spawn(tier.quarantine(entries), "drop entries that were wrong")

    scores = f"{embedder.id}/{prior.sha256[:12]}"
    book = LabelBook(engine, scores, on_labels, on_quarantine)

    local = LocalVectors(max_entries)

    def vectors(width: int) -> Vectors:
        return local if shared is None else Either(shared(width, embedder.id), local)

    tier = MeaningTier(embedder, vectors, answers, counts, calibration, Shelf(book), prior)
    return OpenTier(tier, book, local)
