"""The blind test: fow-cache's questions and conversations, through the real cache.

    pip install fow-cache
    python -m benchmarks.cache.blind [--json FILE]

fow-cache 0.1.0 (PyPI; code MIT, data CC BY 4.0) has 600 pairs of questions and 240 of
conversations, each labelled whether one answer serves both. Those that it marks as ambiguous are
left out, which leaves 592. One side is asked and answered, then the other is asked of the same
cache. `benchmarks.cache.frozen` prints the hashes of what was frozen before it was opened.

Beside it, on the same pairs: a cosine threshold on the same embeddings, as most caches have it, and
GPTCache 0.1.44 with its own similarity and the same embeddings, where it is installed.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fow_cache.data import load_conversations, load_questions

from benchmarks.cache import corpus, frozen
from benchmarks.cache.decisions import Bench, Remembering, Verdict
from proxy.semantic import pairs

COSINES = (0.80, 0.90, 0.95)


class Case(NamedTuple):
    """One pair. `kind` is the data's category or subtype."""

    kind: str
    serves: bool
    told: Sequence[dict[str, Any]]
    asked: Sequence[dict[str, Any]]


class Row(NamedTuple):
    """Shares of one way to decide."""

    name: str
    hits: float
    traps: float
    served_hits: int
    served_traps: int


def questions() -> list[Case]:
    """The unambiguous ones."""
    found = []
    for pair in load_questions():
        if pair.get("ambiguous"):
            continue
        told, asked = ([{"role": "user", "content": pair[side]}] for side in "ab")
        found.append(Case(pair["category"], pair["same_answer"], told, asked))
    return found


def conversations() -> list[Case]:
    return [
        Case(pair["subtype"], pair["same_answer"], pair["a"], pair["b"])
        for pair in load_conversations()
        if not pair.get("ambiguous")
    ]


def row(name: str, cases: Sequence[Case], served: Iterable[bool]) -> Row:
    hits = traps = 0
    for case, was in zip(cases, served, strict=True):
        hits += was and case.serves
        traps += was and not case.serves
    right = sum(case.serves for case in cases)
    wrong = len(cases) - right
    return Row(name, hits / max(1, right), traps / max(1, wrong), hits, traps)


async def decide(bench: Bench, cases: Sequence[Case]) -> list[Verdict]:
    return [await bench.ask([case.told], case.asked) for case in cases]


async def cosines(embedder: Remembering, cases: Sequence[Case]) -> list[float]:
    """Of the last messages, as caches that look at nothing else have it."""
    told = await embedder.embed([case.told[-1]["content"] for case in cases])
    asked = await embedder.embed([case.asked[-1]["content"] for case in cases])
    return [float(a.vector @ b.vector) for a, b in zip(told, asked, strict=True)]


def best_under(cases: Sequence[Case], scores: Sequence[float], most: float) -> Row:
    """The most hits that any threshold gives with at most that share of traps: picked on the very
    data, so better than anybody could have it."""
    found = Row(f"best with <= {most:.0%} of traps", 0.0, 0.0, 0, 0)
    for least in sorted(set(scores)):
        now = row(found.name, cases, [score >= least for score in scores])
        if now.traps <= most and now.hits > found.hits:
            found = now
    return found


def show(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}")
    print(f"{'':44s} {'should-hits served':>20s} {'traps served':>20s}")
    for one in rows:
        hits = f"{one.hits:.1%} ({one.served_hits})"
        traps = f"{one.traps:.1%} ({one.served_traps})"
        print(f"{one.name:44s} {hits:>20s} {traps:>20s}")


def by_kind(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> None:
    kinds: dict[tuple[bool, str], list[bool]] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        kinds.setdefault((not case.serves, case.kind), []).append(verdict.served)
    for (is_trap, kind), served in sorted(kinds.items()):
        what = "trap" if is_trap else "should hit"
        print(f"  {what:10s} {kind:28s} {sum(served):4d} of {len(served):4d} served")
    reasons: dict[str, int] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        if case.serves and not verdict.served:
            reasons[verdict.reason] = reasons.get(verdict.reason, 0) + 1
    missed = ", ".join(f"{name} {count}" for name, count in sorted(reasons.items(), key=_second))
    print(f"  should-hits missed by reason: {missed}")


def _second(pair: tuple[str, int]) -> int:
    return -pair[1]


def gptcache(embed: Mapping[str, Any], cases: Sequence[Case]) -> Row | None:
    """GPTCache's distance evaluation at its default threshold over the same embeddings."""
    try:
        from gptcache import Cache, Config
        from gptcache.adapter.api import get, put
        from gptcache.embedding.base import BaseEmbedding  # noqa: F401
        from gptcache.manager import CacheBase, VectorBase, get_data_manager
        from gptcache.processor.pre import get_prompt
        from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation
    except ImportError:
        return None
    served = []
    for case in cases:
        cache = Cache()
        manager = get_data_manager(
            CacheBase("sqlite", sql_url="sqlite://"), VectorBase("faiss", dimension=384)
        )
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: embed[text],
            data_manager=manager,
            similarity_evaluation=SearchDistanceEvaluation(),
            config=Config(),
        )
        put(case.told[-1]["content"], "answer", cache_obj=cache)
        served.append(get(case.asked[-1]["content"], cache_obj=cache) is not None)
    return row("GPTCache 0.1.44, same embeddings", cases, served)


async def measure(out: Path | None) -> None:
    print("guards, pair score and prior", frozen.digest()[:16], " corpus", corpus.digest()[:16])
    embedder = Remembering()
    least = dict(pairs.load().thresholds)
    asked, talked = questions(), conversations()
    cosine = await cosines(embedder, asked)
    rows = [
        row(f"MiniLM, cosine >= {at:.2f}", asked, [value >= at for value in cosine])
        for at in COSINES
    ]
    rows += [
        best_under(asked, cosine, most)._replace(
            name=f"MiniLM, best cosine for <= {most:.0%} traps"
        )
        for most in (0.05, 0.01)
    ]
    known = {case.told[-1]["content"]: None for case in asked}
    known |= {case.asked[-1]["content"]: None for case in asked}
    meanings = await embedder.embed(list(known))
    vectors = {text: meaning.vector for text, meaning in zip(known, meanings, strict=True)}
    other = gptcache(vectors, asked)
    rows += [other] if other else []
    results: dict[str, Any] = {}
    settings: list[tuple[str, float | None]] = [("shipped, max_wrong 5 %", None)]
    settings.append(("strict, the prior's score for 1 %", least[0.01]))
    for name, at in settings:
        began = time.perf_counter()
        verdicts = await decide(Bench(embedder, at), asked)
        rows.append(row(f"Turnout, {name}", asked, [verdict.served for verdict in verdicts]))
        print(f"\n{name}: {len(asked)} questions in {time.perf_counter() - began:.1f} s")
        by_kind(asked, verdicts)
        results[name] = [verdict._asdict() for verdict in verdicts]
    show(f"fow-cache questions, {len(asked)} unambiguous", rows)
    likeness = await cosines(embedder, talked)
    chats = [
        row(f"MiniLM on the last message, >= {at:.2f}", talked, [v >= at for v in likeness])
        for at in COSINES
    ]
    verdicts = await decide(Bench(embedder), talked)
    chats.append(row("Turnout, shipped", talked, [verdict.served for verdict in verdicts]))
    by_kind(talked, verdicts)
    show(f"fow-cache conversations, {len(talked)}", chats)
    await embedder.close()
    if out is not None:
        out.write_text(json.dumps(results), encoding="utf-8")


def main(run: Callable[[Any], None] = asyncio.run) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="where each verdict is written")
    run(measure(parser.parse_args().json))


if __name__ == "__main__":
    main()
