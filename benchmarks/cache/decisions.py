"""Asks the real cache, piece by piece as the gateway has it, whether one request is answered by
what another was told: key, scope, eligibility, index, floor, guards, pair score, threshold.

Only the embedding is done once a question, as the same ones are asked again and again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from adapters.base import Ask, Endpoint, Target, Usage
from proxy.cache.answers import LocalAnswers
from proxy.cache.counts import Counts
from proxy.cache.lookup import Answered, Cache
from proxy.cache.policy import NO_TASK
from proxy.cache.types import Tier
from proxy.cache.visit import Visit
from proxy.config_types import CacheSection
from proxy.semantic import pairs
from proxy.semantic.calibration import Calibration, Label
from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.index import LocalVectors
from proxy.semantic.meaning import Meaning
from proxy.semantic.tier import MeaningTier
from proxy.types import Call, Controls, Plan, Principal, Role

TARGET = Target("up", "model", "openai", "http://127.0.0.1:1")
CALLER = Principal(Role.KEY, "key_bench")

Turns = Sequence[dict[str, Any]]


class Verdict(NamedTuple):
    """Whether a kept answer was served, by which tier, and what was found on the way. `score` is
    None where none was reached."""

    served: bool
    tier: Tier | None
    reason: str
    similarity: float | None
    score: float | None


class Remembering:
    """The real embedder, asked once a text."""

    def __init__(self) -> None:
        self._inner = MiniLm(timeout=120.0)
        self.id, self.limit = self._inner.id, self._inner.limit
        self._known: dict[str, Meaning] = {}

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        for begin in range(0, len(unknown), 32):
            some = unknown[begin : begin + 32]
            self._known.update(zip(some, await self._inner.embed(some), strict=True))
        return [self._known[text] for text in texts]

    async def close(self) -> None:
        await self._inner.close()


class NoShelf:
    """Labels that are not kept."""

    quarantined = 0

    def note(self, label: Label, entry: str) -> None:
        pass

    def is_quarantined(self, entry: str) -> bool:
        return False


class Open(Calibration):
    """Serves from one score up, whatever the labels say: the threshold under test."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self._least = least

    def threshold_for(self, max_wrong: float, scope: str = "") -> float | None:
        return self._least


def section(floor: float | None = None) -> CacheSection:
    """Meaning on, as an operator would turn it on; temperatures don't matter here."""
    semantic: dict[str, Any] = {"enabled": True, "max_wrong": 0.05, "shadow": 0}
    if floor is not None:
        semantic["floor"] = floor
    return CacheSection.model_validate({"semantic": semantic})


class Bench:
    """One cache, emptied for each question asked. `least` is the score to serve from; None is the
    shipped prior's for `max_wrong` 5 %."""

    def __init__(self, embedder: Remembering, least: float | None = None) -> None:
        self._embedder = embedder
        self._prior = pairs.load()
        self._calibration = Calibration(self._prior.thresholds) if least is None else Open(least)
        self._section = section()

    async def ask(self, told: Iterable[Turns], asked: Turns) -> Verdict:
        """`told` was asked before, and answered; now comes `asked`."""
        counts, answers = Counts(), LocalAnswers(10**8)
        tier = MeaningTier(
            self._embedder,
            lambda width: LocalVectors(1000),
            answers,
            counts,
            self._calibration,
            NoShelf(),
            self._prior,
        )
        cache = Cache(answers, lambda: tier)
        for number, turns in enumerate(told):
            await self._tell(cache, turns, f"answer {number}")
        _, _, visit = self._visit(cache, asked)
        entry = await cache.look_up(visit)
        await cache.close(visit, False)
        near = visit.near
        return Verdict(
            entry is not None,
            visit.tier if entry is not None else None,
            visit.reason,
            near.similarity if near else None,
            near.score if near else None,
        )

    def _visit(self, cache: Cache, turns: Turns) -> tuple[Call, Plan, Visit]:
        body = {"model": "m", "messages": list(turns), "temperature": 0}
        ask = Ask(Endpoint.CHAT, orjson.dumps(body), body)
        call, plan = Call(CALLER, ask, "m", Controls()), Plan("m", (TARGET,))
        return call, plan, cache.open(self._section, NO_TASK, call, plan, ask)

    async def _tell(self, cache: Cache, turns: Turns, answer: str) -> None:
        call, plan, visit = self._visit(cache, turns)
        if await cache.look_up(visit) is not None or visit.tape is None:
            await cache.close(visit, False)
            return
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        given = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
        visit.tape.take(orjson.dumps({**given, "choices": [choice]}))
        made = cache.made(visit, call.ask, plan, Answered("up", "model", Usage(9, 9), 1000))
        assert made is not None
        await cache.keep(visit, made)
        await cache.close(visit, True)
