"""How often the guards forbid rightly and wrongly, on the project's own corpus.

    python -m benchmarks.cache.guards [--all] [--wrong REASON] [--missed KIND]

Tuned on four fifths of the groups, reported on the fifth that was held out (fold 0); `--all` is
for all of them. A reason's precision is the share of traps among the pairs that it forbids: ten
pairs of rephrasings a group count, and each trap with the group's own question.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.cache import corpus
from benchmarks.cache.corpus import Group, Pair
from proxy.semantic.guards import REASONS, Reading, doubts, read, veto

HELD_OUT = 0  # the fold
WORDS = range(20, 31)  # of the texts that are timed
RUNS = 3  # of each pair, of which the quickest counts: neighbours on the machine are not meant
SHOWN = 60


class Verdict(NamedTuple):
    pair: Pair
    reason: str | None


class Timing(NamedTuple):
    """CPU time of this thread in milliseconds: reading the new text, `veto` and `doubts`."""

    median: float
    late: float


def judge(groups: Sequence[Group]) -> list[Verdict]:
    """What the guards say of every pair."""
    readings: dict[str, Reading] = {}
    verdicts = []
    for group in groups:
        for pair in corpus.pairs(group):
            for text in (pair.left, pair.right):
                if text not in readings:
                    readings[text] = read(text)
            # The trap is asked, the question it resembles is kept.
            reason = veto(readings[pair.right], readings[pair.left])
            verdicts.append(Verdict(pair, reason))
    return verdicts


def measure(groups: Sequence[Group]) -> Timing:
    """The new text is read, the old one is at hand: what a lookup does."""
    texts = [pair for group in groups for pair in corpus.pairs(group)]
    timed = [p for p in texts if all(len(t.split()) in WORDS for t in (p.left, p.right))]
    taken = []
    for pair in timed[:2_000]:
        old = read(pair.left)
        taken.append(min(_once(pair.right, old) for _ in range(RUNS)))
    taken.sort()
    return Timing(taken[len(taken) // 2], taken[int(len(taken) * 0.99)])


def _once(text: str, old: Reading) -> float:
    begun = time.thread_time()
    new = read(text)
    veto(new, old)
    doubts(new, old)
    return 1_000 * (time.thread_time() - begun)


def main() -> None:
    """Prints the two tables, and the pairs that were asked for."""
    parser = argparse.ArgumentParser(description="What the guards of the cache forbid.")
    parser.add_argument("--all", action="store_true", help="not only the groups held out")
    parser.add_argument("--wrong", choices=REASONS, help="show rephrasings forbidden for it")
    parser.add_argument("--missed", help="show traps of this kind that pass")
    given = parser.parse_args()
    groups = [g for g in corpus.read() if given.all or g.fold == HELD_OUT]
    verdicts = judge(groups)
    _print_reasons(verdicts)
    _print_kinds(verdicts)
    timing = measure(groups)
    print(f"\nread, veto, doubts: median {timing.median:.2f} ms, p99 {timing.late:.2f} ms")
    if given.wrong:
        _show(v for v in verdicts if v.pair.right_to_serve and v.reason == given.wrong)
    if given.missed:
        _show(v for v in verdicts if v.pair.kind == given.missed and v.pair.first and not v.reason)


def _print_reasons(verdicts: Sequence[Verdict]) -> None:
    same = [v for v in verdicts if v.pair.right_to_serve]
    traps = [v for v in verdicts if not v.pair.right_to_serve and v.pair.first]
    wrong, right = Counter(v.reason for v in same), Counter(v.reason for v in traps)
    forbidden = len(same) - wrong[None]
    print(f"{len(same)} pairs of rephrasings, {forbidden} forbidden: {forbidden / len(same):.2%}\n")
    print("| reason | rephrasings | traps | precision |\n|---|---|---|---|")
    for reason in REASONS:
        total = wrong[reason] + right[reason]
        precision = f"{right[reason] / total:.1%}" if total else ""
        print(f"| {reason} | {wrong[reason]} | {right[reason]} | {precision} |")


def _print_kinds(verdicts: Sequence[Verdict]) -> None:
    traps = [v for v in verdicts if not v.pair.right_to_serve]
    print("\n| kind of trap | traps | forbidden | beside its rephrasings too |\n|---|---|---|---|")
    for kind, count in Counter(v.pair.kind for v in traps if v.pair.first).most_common():
        near = [v.reason is not None for v in traps if v.pair.kind == kind and v.pair.first]
        every = [v.reason is not None for v in traps if v.pair.kind == kind]
        shares = f"{sum(near) / len(near):.0%} | {sum(every) / len(every):.0%}"
        print(f"| {kind} | {count} | {shares} |")


def _show(verdicts: Iterator[Verdict]) -> None:
    for verdict in list(verdicts)[:SHOWN]:
        print(f"\n  {verdict.pair.left}\n  {verdict.pair.right}")


if __name__ == "__main__":
    main()
