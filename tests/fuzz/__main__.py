"""`python -m tests.fuzz`: many cases on all cores, or one again. See docs/fuzzing.md."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.fuzz import Report, forms_of, run, run_case, watchdog
from tests.fuzz.mutations import DIALECTS

BLOCK = 3000  # cases that a process does at once; a multiple of the dialects

Block = tuple[int, int, int, tuple[str, ...]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialects", default=",".join(DIALECTS), help="of %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", metavar="SEED:CASE", help="does one case again, and shows it")
    given = parser.parse_args()
    if given.replay:
        seed, _, number = given.replay.partition(":")
        return replay(int(seed), int(number))
    dialects = tuple(given.dialects.split(","))
    if not set(dialects) <= set(DIALECTS):
        parser.error(f"--dialects: there are {', '.join(DIALECTS)}")
    report, seconds = run_all(given.seed, given.cases, dialects, given.jobs)
    summarise(report, seconds, given.jobs)
    return 1 if report.findings else 0


def run_all(seed: int, cases: int, dialects: tuple[str, ...], jobs: int) -> tuple[Report, float]:
    """All cases, in blocks; a line of progress goes to stderr."""
    report, begun = Report(), time.monotonic()
    with multiprocessing.Pool(jobs) as pool:
        for part in pool.imap_unordered(_block, _blocks(seed, cases, dialects)):
            report.join(part)
            done, seconds = report.cases.total(), time.monotonic() - begun
            line = f"\r{done:,} of {cases:,} cases, {done / seconds:,.0f}/s, "
            print(line + f"{len(report.findings)} findings", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return report, time.monotonic() - begun


def _blocks(seed: int, cases: int, dialects: tuple[str, ...]) -> Iterator[Block]:
    """Numbers are dealt out by dialect in turn, so a block of them has its share of cases."""
    start = 0
    while cases > 0:
        size = min(cases, BLOCK * len(dialects) // len(DIALECTS))
        yield seed, size, start, dialects
        cases -= size
        start += BLOCK


def _block(block: Block) -> Report:
    seed, cases, start, dialects = block
    return run(seed, cases, dialects, start)


def summarise(report: Report, seconds: float, jobs: int) -> None:
    print(f"{report.cases.total():,} cases in {seconds:,.1f} s on {jobs} processes")
    for dialect, cases in sorted(report.cases.items()):
        print(f"  {dialect:<10} {cases:>10,}")
    print(f"{report.times.total():,} cases went wrong, in {len(report.findings)} ways")
    for key, times in report.times.most_common():
        finding = report.findings[key]
        print(f"  {times:>7,}  --replay {finding.seed}:{finding.number}  {key}")


def replay(seed: int, number: int) -> int:
    dialect = DIALECTS[number % len(DIALECTS)]
    with watchdog():
        finding = run_case(seed, number, dialect, forms_of(dialect))
    if finding is None:
        print(f"{seed}:{number} ({dialect}) is well")
        return 0
    print(finding, finding.raw, finding.trace, sep="\n\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
