"""What the stages cost that every candidate goes through: exact look-up, guards, pair score.

    python -m benchmarks.cache.stages

CPU time of one thread, each the best of three, over pairs of the project's own corpus.
"""

import asyncio
import time
from collections.abc import Callable

import orjson

from adapters.base import Ask, Endpoint, Usage
from benchmarks.cache import corpus
from benchmarks.cache.decisions import CALLER, TARGET, Remembering, section
from proxy.cache.answers import LocalAnswers
from proxy.cache.lookup import Answered, Cache
from proxy.cache.policy import NO_TASK
from proxy.semantic import pairs
from proxy.semantic.guards import doubts, read, veto
from proxy.types import Call, Controls, Plan

COUNT = 1500


def best(work: Callable[[], object]) -> float:
    """Microseconds."""
    found = []
    for _ in range(3):
        began = time.thread_time_ns()
        work()
        found.append((time.thread_time_ns() - began) / 1000)
    return min(found)


def show(name: str, micros: list[float]) -> None:
    micros.sort()
    p50, p99 = micros[len(micros) // 2], micros[len(micros) * 99 // 100]
    print(f"{name:34s} p50 {p50:8.1f} us   p99 {p99:8.1f} us")


async def exact() -> None:
    """Digest, look-up in memory, hit; for a request that meaning is on for."""
    cache = Cache(LocalAnswers(10**8), lambda: None)
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "Hi there"}]}
    ask = Ask(Endpoint.CHAT, orjson.dumps(body), body)
    call, plan, settings = Call(CALLER, ask, "m", Controls()), Plan("m", (TARGET,)), section()
    visit = cache.open(settings, NO_TASK, call, plan, ask)
    await cache.look_up(visit)
    assert visit.tape is not None
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    given = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    visit.tape.take(orjson.dumps({**given, "choices": [choice]}))
    made = cache.made(visit, ask, plan, Answered("up", "model", Usage(9, 9), 1))
    assert made is not None
    await cache.keep(visit, made)
    await cache.close(visit, True)
    found = []
    for _ in range(20_000):
        began = time.perf_counter_ns()
        again = cache.open(settings, NO_TASK, call, plan, ask)
        entry = await cache.look_up(again)
        found.append((time.perf_counter_ns() - began) / 1000)
        assert entry is not None
    show("exact hit, in memory", found)


async def meaning() -> None:
    chosen = [pair for group in corpus.read()[::9] for pair in corpus.pairs(group)][:COUNT]
    embedder, weights = Remembering(), pairs.load().weights
    texts = list({text for pair in chosen for text in (pair.left, pair.right)})
    known = dict(zip(texts, await embedder.embed(texts), strict=True))
    await embedder.close()
    guards, scores = [], []
    for pair in chosen:
        old = read(pair.left)

        def guarded(new: str = pair.right, old=old) -> None:  # type: ignore[no-untyped-def]
            reading = read(new)
            veto(reading, old)
            doubts(reading, old)

        guards.append(best(guarded))
        mine = pairs.side_of(known[pair.right], weights)
        side = pairs.side_of(known[pair.left], weights)
        assert mine is not None
        assert side is not None
        doubted = doubts(read(pair.right), old)

        def scored(meaning=known[pair.right], side=side, doubted=doubted) -> None:  # type: ignore[no-untyped-def]
            new = pairs.side_of(meaning, weights)
            assert new is not None
            pairs.score(new, side, doubted, weights)

        scores.append(best(scored))
    show("guards: read, veto, doubts", guards)
    show("pair score", scores)
    show("both", [guard + score for guard, score in zip(guards, scores, strict=True)])


if __name__ == "__main__":
    asyncio.run(exact())
    asyncio.run(meaning())
