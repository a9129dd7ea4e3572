"""An embedder, an index and a prior of a few numbers, for the tests of the tier by meaning."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from proxy.cache.answers import LocalAnswers
from proxy.cache.counts import Counts
from proxy.cache.policy import Meaning as MeaningPolicy
from proxy.cache.policy import Policy
from proxy.cache.types import Directives, Entry, Key
from proxy.cache.visit import Visit
from proxy.semantic.calibration import Calibration, Label
from proxy.semantic.guards import DOUBTS
from proxy.semantic.meaning import EmbedderUnavailable, Floats, Meaning
from proxy.semantic.pairs import Prior, Weights
from proxy.semantic.tier import MeaningTier
from proxy.semantic.vectors import Neighbour
from tests.proxy.cache.entries import NOW, Clock, completion, entry

ASKED = "What is the capital of Australia?"
OTHERWISE = "Which city is the capital of Australia?"
ROOM, POOL = "partition-1", "pool-1"
SCALE, SHIFT = 20.0, -16.0


def score_of(cosine: float) -> float:
    """What `PRIOR` makes of a cosine."""
    return 1 / (1 + math.exp(-(SCALE * cosine + SHIFT)))


def prior() -> Prior:
    """One whose score depends on the cosine alone; 0.5 at 0.8."""
    zeros = {
        "project": (2, 1), "project_bias": (1,), "compare": (6, 1), "compare_bias": (1,),
        "compare_more": (1, 1), "compare_more_bias": (1,), "gist": (2, 1), "gist_bias": (1,),
        "judge": (10 + len(DOUBTS), 1), "judge_bias": (1,), "verdict": (1,),
    }  # fmt: skip
    given: dict[str, Any] = {name: np.zeros(size, np.float32) for name, size in zeros.items()}
    given["judge"][6, 0] = given["verdict"][0] = 1  # after four strengths and two gists
    given |= {"sharpness": 1.0, "verdict_bias": 0.0, "scale": SCALE, "shift": SHIFT}
    return Prior(Weights(**given), "a-model", ((0.05, 0.9),), "0123456789abcdef")


PRIOR = prior()


class Embedder:
    """Knows the cosines to `ASKED` that it is given; has one state a text."""

    def __init__(self, cosines: dict[str, float], id: str = "a-model/1", states: bool = True):
        self.id = id
        self.limit = 200
        self.cosines = {ASKED: 1.0} | cosines
        self.states = states
        self.failure: str | None = None
        self.asked: list[list[str]] = []
        self.closed = 0

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        self.asked.append(list(texts))
        if self.failure is not None:
            raise EmbedderUnavailable(self.failure)
        return [self._meaning(text) for text in texts]

    def _meaning(self, text: str) -> Meaning:
        cosine = self.cosines.get(text, 0.0)
        vector = np.array([cosine, math.sqrt(1 - cosine**2)], np.float32)
        return Meaning(vector, vector[None, :], (1,)) if self.states else Meaning(vector)

    async def close(self) -> None:
        self.closed += 1


class Index:
    """Questions in a list. `leaks`: it finds those of any partition."""

    def __init__(self, leaks: bool = False) -> None:
        self.leaks = leaks
        self.rows: dict[str, tuple[str, str, list[float], float]] = {}

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        self.rows[id] = (partition, question, vector.tolist(), expires_at)

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        found = [
            Neighbour(
                name, row[1], sum(a * b for a, b in zip(row[2], vector.tolist(), strict=True))
            )
            for name, row in self.rows.items()
            if self.leaks or row[0] == partition
        ]
        return sorted(found, key=lambda one: -one.similarity)[:count]

    async def drop(self, ids: Iterable[str]) -> None:
        for name in ids:
            self.rows.pop(name, None)

    async def size(self) -> int:
        return len(self.rows)


class Shelf:
    """Labels in a list."""

    def __init__(self) -> None:
        self.noted: list[tuple[Label, str]] = []
        self.bad: set[str] = set()

    def note(self, label: Label, entry: str) -> None:
        self.noted.append((label, entry))

    def is_quarantined(self, entry: str) -> bool:
        return entry in self.bad

    @property
    def quarantined(self) -> int:
        return len(self.bad)


POLICY = MeaningPolicy(
    max_wrong=0.05, floor=0.7, shadow=0.05, serves=True, temperature=0.3, allow=frozenset()
)


def visit(question: str = ASKED, partition: str = ROOM, **over: Any) -> Visit:
    """One of a request that may be answered by meaning; `over` is of its policy."""
    meaning = POLICY if not over else type(POLICY)(**{**fields(POLICY), **over})
    policy = Policy(enabled=True, ttl=60, temperature=1, epoch="", meaning=meaning)
    key = Key("digest-of-" + question, None, partition, question, pool=POOL)
    return Visit(policy, Directives(), key, "")


def fields(policy: MeaningPolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in type(policy).__slots__}


class World:
    """A tier of fakes. `draws` is what chance says: from 0.05 on, no hit is checked."""

    def __init__(
        self,
        cosines: dict[str, float],
        *,
        certified: bool = True,
        leaks: bool = False,
        draws: float = 0.5,
        **over: Any,
    ) -> None:
        self.clock = Clock()
        self.embedder = Embedder(cosines, **over)
        self.index = Index(leaks)
        self.widths: list[int] = []
        self.answers = LocalAnswers(1 << 20, self.clock)
        self.counts = Counts()
        self.calibration = Calibration(PRIOR.thresholds if certified else ())
        self.shelf = Shelf()
        self.tier = MeaningTier(
            self.embedder,
            self._make,
            self.answers,
            self.counts,
            self.calibration,
            self.shelf,
            PRIOR,
            self.clock,
            lambda: draws,
        )

    def _make(self, width: int) -> Index:
        self.widths.append(width)
        return self.index

    async def keep(self, question: str, text: str = "Canberra.", partition: str = ROOM) -> Entry:
        """An answer of before; the clock's next second."""
        made = entry(
            question, body=completion(text), question=question, partition=partition,
            expires_at=NOW + 600,
        )  # fmt: skip
        assert await self.answers.put(made)
        await self.tier.keep(visit(question, partition), made)
        return made
