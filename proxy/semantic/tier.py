"""The tier by meaning: from a question to the kept answer of one that means the same, or a reason.

    embed      the question's vector and its tokens' states     a thread of the embedder's own
    search     the nearest of its partition                     index
    floor      nothing below it is looked at                    cosine
    guards     plain differences forbid                         `guards`
    pair       P(right), of the nearest that are left           `pairs`
    threshold  what labels, or the shipped prior, certify       `calibration`

What is not served is asked, and the fresh answer labels the near miss; of what is served a share is
asked all the same. Whatever fails is a miss.
"""

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from adapters.answers import text_of
from proxy.cache.answers import Answers
from proxy.cache.counts import Counts
from proxy.cache.policy import Meaning as Policy
from proxy.cache.report import MeaningReport
from proxy.cache.types import Entry, Key, Purge
from proxy.cache.visit import Found, Near, Visit
from proxy.semantic import pairs
from proxy.semantic.calibration import Calibration, Label, Source
from proxy.semantic.guards import Reading, doubts, read, veto
from proxy.semantic.judge import agree
from proxy.semantic.meaning import Embedder, EmbedderUnavailable, Meaning
from proxy.semantic.pairs import Prior, Side
from proxy.semantic.reporting import report_of
from proxy.semantic.vectors import Neighbour, Vectors
from proxy.tasks import spawn

NEAREST = 4  # questions that are looked at
KEPT_SIDES = 1000  # questions of others that are kept ready to be compared, 5 KB each
KEPT_READINGS = 200  # 14 KB each
SIZED = 50  # entries between two looks at how many there are
LABELLING = 64  # comparisons of answers under way; more are left undone
ANSWER = 500  # characters of an answer that are embedded to compare it
TOLD_EVERY = 60.0  # seconds between two lines in the log that say the same

log = logging.getLogger("turnout.cache")


class Shelf(Protocol):
    """Where labels last, and the entries that were served and wrong are known."""

    def note(self, label: Label, entry: str) -> None: ...

    def is_quarantined(self, entry: str) -> bool: ...

    @property
    def quarantined(self) -> int: ...


class _Candidate(NamedTuple):
    neighbour: Neighbour
    score: float


class MeaningTier:
    """`vectors` gives an index for the width that the embedder turns out to have."""

    def __init__(
        self,
        embedder: Embedder,
        vectors: Callable[[int], Vectors],
        answers: Answers,
        counts: Counts,
        calibration: Calibration,
        shelf: Shelf,
        prior: Prior,
        clock: Callable[[], float] = time.time,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.embedder = embedder
        self.calibration = calibration
        self.failure: str | None = None
        self.entries = 0
        self.shadow_requests = 0
        self.shadow_nanousd = 0
        self.serves = True
        self._make_vectors = vectors
        self._vectors: Vectors | None = None
        self._answers = answers
        self._counts = counts
        self._shelf = shelf
        self._prior = prior if prior.fits(embedder.id) else None
        self._clock = clock
        self._uniform = uniform
        self._sides: OrderedDict[str, Side] = OrderedDict()
        self._readings: OrderedDict[str, Reading] = OrderedDict()
        self._labelling = 0
        self._kept = 0
        self._seen: set[float] = set()  # max_wrong that was asked for
        self._told = ("", -TOLD_EVERY)  # what was last said in the log, and when

    async def warm(self) -> None:
        """Loads the model, before a question has to wait for it."""
        await self._embed_all(["warm up"])

    # Looking up.

    async def find(self, visit: Visit, key: Key) -> Found:
        """The nearest question's answer, and whether it may serve. Never raises."""
        policy, question, partition = visit.policy.meaning, key.question, key.partition
        if policy is None or question is None or partition is None:
            return Found(False, "ineligible")
        meaning = await self._embed(question)
        if meaning is None:
            return Found(False, "embedder")
        visit.meaning = meaning
        began = time.perf_counter()
        vectors = self._index(meaning)
        near = await vectors.nearest(partition, meaning.vector, NEAREST)
        self._counts.took("search", time.perf_counter() - began)
        if not near:
            return Found(False, "none-near")
        near = [one for one in near if one.similarity >= policy.floor]
        if not near:
            return Found(False, "floor")
        return await self._judge(vectors, policy, key, meaning, near)

    async def _judge(
        self,
        vectors: Vectors,
        policy: Policy,
        key: Key,
        meaning: Meaning,
        near: Sequence[Neighbour],
    ) -> Found:
        began = time.perf_counter()
        allowed, forbidden = self._guarded(key.question or "", near)
        self._counts.took("guards", time.perf_counter() - began)
        if not allowed:
            return Found(False, f"guard:{forbidden}")
        scored = await self._scored(meaning, allowed)
        if not scored:  # their tokens' states can't be had
            return Found(False, "embedder")
        for candidate in scored:
            entry = await self._answers.get(candidate.neighbour.id)
            if entry is None:  # it has gone before its question
                await vectors.drop([candidate.neighbour.id])
                continue
            if entry.partition != key.partition:  # never so; and never to be relied on
                continue
            return self._decided(policy, key.pool, candidate, entry)
        return Found(False, "none-near")

    def _decided(self, policy: Policy, pool: str, candidate: _Candidate, entry: Entry) -> Found:
        self._seen.add(policy.max_wrong)
        self.serves = policy.serves
        least = self.calibration.threshold_for(policy.max_wrong, pool)
        similarity, score = candidate.neighbour.similarity, candidate.score
        near = Near(entry, similarity, score)
        if least is None:
            return Found(False, "uncertified", near)
        if score < least:
            return Found(False, "score", near)
        if not policy.serves:
            return Found(False, "shadow", near)
        drawn = self._uniform() < policy.shadow
        return Found(True, "", near._replace(drawn=drawn))

    def _guarded(
        self, question: str, near: Sequence[Neighbour]
    ) -> tuple[list[tuple[Neighbour, tuple[float, ...]]], str]:
        """The neighbours that no guard forbids, with the doubts that are left; the first veto."""
        new = read(question)
        allowed, forbidden = [], ""
        for one in near:
            if self._shelf.is_quarantined(one.id):
                forbidden = forbidden or "quarantine"
                continue
            old = self._reading(one.question)
            reason = veto(new, old)
            if reason is None:
                allowed.append((one, doubts(new, old)))
            else:
                forbidden = forbidden or reason
        return allowed, forbidden

    async def _scored(
        self,
        meaning: Meaning,
        allowed: Sequence[tuple[Neighbour, tuple[float, ...]]],
    ) -> list[_Candidate]:
        """Best first; none that can't be scored. Without a prior for this embedder the cosine is
        the score: with one never, as its thresholds are of another scale."""
        if self._prior is None:
            return [_Candidate(one, max(0.0, one.similarity)) for one, _ in allowed]
        mine = pairs.side_of(meaning, self._prior.weights)
        if mine is None:
            return []
        sides = await self._sides_of([one.question for one, _ in allowed])
        began = time.perf_counter()
        scored = [
            _Candidate(one, pairs.score(mine, side, doubted, self._prior.weights))
            for (one, doubted), side in zip(allowed, sides, strict=True)
            if side is not None
        ]
        self._counts.took("pair", time.perf_counter() - began)
        return sorted(scored, key=lambda candidate: candidate.score, reverse=True)

    async def _sides_of(self, questions: Sequence[str]) -> list[Side | None]:
        assert self._prior is not None
        unknown = [question for question in questions if question not in self._sides]
        if unknown:
            for question, meaning in zip(unknown, await self._embed_all(unknown), strict=False):
                side = pairs.side_of(meaning, self._prior.weights)
                if side is not None:
                    self._sides[question] = side
        found = [self._sides.get(question) for question in questions]
        while len(self._sides) > KEPT_SIDES:
            self._sides.popitem(last=False)
        return found

    def _reading(self, question: str) -> Reading:
        reading = self._readings.get(question)
        if reading is None:
            reading = self._readings[question] = read(question)
            if len(self._readings) > KEPT_READINGS:
                self._readings.popitem(last=False)
        return reading

    # Keeping and learning.

    async def keep(self, visit: Visit, entry: Entry) -> None:
        """Makes an answer findable by its question. Never raises."""
        if entry.question is None or entry.partition is None:
            return
        meaning = visit.meaning if isinstance(visit.meaning, Meaning) else None
        if meaning is None:
            meaning = await self._embed(entry.question)
        if meaning is None or self._shelf.is_quarantined(entry.id):
            return
        vectors = self._index(meaning)
        await vectors.add(
            entry.partition, entry.id, entry.question, meaning.vector, entry.expires_at
        )
        self._kept += 1
        if self._kept <= SIZED or self._kept % SIZED == 0:  # to ask a server each time is dear
            self.entries = await vectors.size()

    def learn(self, visit: Visit, fresh: Entry) -> None:
        """A fresh answer is there: was the near one right? Answered in the background."""
        near, policy = visit.near, visit.policy.meaning
        if near is None or near.score is None or policy is None:
            return
        if near.drawn:
            self.shadow_requests += 1
            self.shadow_nanousd += fresh.cost_nanousd or 0
        if self._labelling >= LABELLING:
            return
        source: Source = "shadow" if near.drawn else "near_miss"
        weight = 1 / policy.shadow if near.drawn else 1.0
        pool = "" if visit.key is None else visit.key.pool
        spawn(self._label(near, fresh, source, weight, pool), "compare two answers")

    async def _label(
        self, near: Near, fresh: Entry, source: Source, weight: float, pool: str
    ) -> None:
        self._labelling += 1
        try:
            new = text_of(fresh.endpoint, fresh.body)
            old = text_of(near.entry.endpoint, near.entry.body)
            right = agree(fresh.question or "", new, old, await self._likeness(new, old))
        finally:
            self._labelling -= 1
        if right is None or near.score is None:
            return
        label = Label(near.score, right, weight, source, self._clock(), pool)
        self.calibration.add([label])
        self._shelf.note(label, near.entry.id)
        if source == "shadow" and not right:
            await self.quarantine([near.entry.id])

    async def _likeness(self, new: str, old: str) -> float | None:
        """The cosine of two answers' beginnings; None where they can't be embedded."""
        if new == old:
            return 1.0
        most = min(ANSWER, self.embedder.limit)
        meanings = await self._embed_all([new[:most], old[:most]])
        return float(meanings[0].vector @ meanings[1].vector) if len(meanings) == 2 else None

    async def quarantine(self, entries: Sequence[str]) -> None:
        """These were served and wrong: they serve nobody any more, not even the same question."""
        for entry in entries:
            await self._answers.purge(Purge(id=entry))
        if self._vectors is not None:
            await self._vectors.drop(entries)

    async def purge(self, purge: Purge) -> None:
        """Answers that are gone take their questions along when these are next found."""
        if purge.id is not None and self._vectors is not None:
            await self._vectors.drop([purge.id])
        self._sides.clear()
        self._readings.clear()

    # The embedder.

    async def _embed(self, text: str) -> Meaning | None:
        meanings = await self._embed_all([text])
        return meanings[0] if meanings else None

    async def _embed_all(self, texts: Sequence[str]) -> list[Meaning]:
        """Nothing where the embedder can't; said once in the log, and in the report."""
        if any(len(text) > self.embedder.limit for text in texts):
            return []
        began = time.perf_counter()
        try:
            meanings = await self.embedder.embed(texts)
        except EmbedderUnavailable as error:
            self.failure = str(error)
            self._tell(self.failure)
            return []
        self._counts.took("embed", time.perf_counter() - began)
        self.failure = None
        return meanings

    def _tell(self, failure: str) -> None:
        said, at = self._told
        now = time.monotonic()
        if failure != said or now >= at + TOLD_EVERY:
            self._told = (failure, now)
            log.warning("the cache by meaning is off for now: %s", failure)

    def _index(self, meaning: Meaning) -> Vectors:
        if self._vectors is None:
            self._vectors = self._make_vectors(len(meaning.vector))
        return self._vectors

    # What it says of itself.

    @property
    def quarantined(self) -> int:
        """Entries that were served and wrong."""
        return self._shelf.quarantined

    def report(self) -> MeaningReport:
        """For `/api/v1/cache/metrics`."""
        return report_of(self, sorted(self._seen))
