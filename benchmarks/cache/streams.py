"""Does `max_wrong` hold? Replayed streams of questions, with the real calibration.

    python -m benchmarks.cache.streams [--length 10000] [--seeds 20]

Each stream draws pairs at random, with replacement, from fow-cache's unambiguous questions, with
the score that the frozen prior gives them. What is not served is labelled, and of what is served
5 %: as the gateway does it. Counted is what was served and wrong in truth, over all of the stream.
"""

import argparse
import asyncio
import random
from statistics import mean
from typing import NamedTuple

from benchmarks.cache.blind import decide, questions
from benchmarks.cache.decisions import Bench, Remembering
from proxy.semantic import pairs
from proxy.semantic.calibration import Calibration, Label

SHADOW = 0.05
MOST = (0.01, 0.02, 0.05)


class Candidate(NamedTuple):
    """A pair that reached a score."""

    score: float
    right: bool


class Stream(NamedTuple):
    """What came of one: shares of what was served that was wrong, and of the right that was
    served, over all and in the last half."""

    wrong: float
    served: float
    served_late: float


def replay(found: list[Candidate], most: float, length: int, seed: int) -> Stream:
    chance = random.Random(seed)
    calibration = Calibration(pairs.load().thresholds)
    served: list[bool] = []
    right: list[bool] = []
    for at in range(length):
        score, is_right = found[chance.randrange(len(found))]
        least = calibration.threshold_for(most)
        serves = least is not None and score >= least
        served.append(serves)
        right.append(is_right)
        if not serves:
            calibration.add([Label(score, is_right, 1.0, "near_miss", at)])
        elif chance.random() < SHADOW:
            calibration.add([Label(score, is_right, 1 / SHADOW, "shadow", at)])
    total = sum(served)
    wrong = sum(was and not is_right for was, is_right in zip(served, right, strict=True))
    half = length // 2
    return Stream(wrong / max(1, total), _hits(served, right), _hits(served[half:], right[half:]))


def _hits(served: list[bool], right: list[bool]) -> float:
    both = sum(was and is_right for was, is_right in zip(served, right, strict=True))
    return both / max(1, sum(right))


async def candidates() -> list[Candidate]:
    embedder = Remembering()
    cases = questions()
    verdicts = await decide(Bench(embedder, 0.0), cases)
    await embedder.close()
    return [
        Candidate(verdict.score, case.serves)
        for case, verdict in zip(cases, verdicts, strict=True)
        if verdict.score is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    found = asyncio.run(candidates())
    right = sum(one.right for one in found)
    print(f"{len(found)} pairs reach a score, {right} of them right; {given.seeds} streams each")
    print("max_wrong   P(wrong | served): mean   most   seeds above   right served: all   late")
    for most in MOST:
        streams = [replay(found, most, given.length, seed) for seed in range(given.seeds)]
        rates = [stream.wrong for stream in streams]
        above = sum(rate > most for rate in rates)
        print(
            f"{most:9.0%} {mean(rates):25.2%} {max(rates):6.2%} {above:13d} "
            f"{mean(s.served for s in streams):19.1%} {mean(s.served_late for s in streams):6.1%}"
        )


if __name__ == "__main__":
    main()
