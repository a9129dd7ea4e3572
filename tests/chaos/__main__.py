"""`python -m tests.chaos NAME`: one long form, or all. See docs/chaos.md."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import Report
from tests.chaos.away import ended_while_locked, locked, postgres_away, worker_dies
from tests.chaos.disk import full
from tests.chaos.drain import drain
from tests.chaos.kills import kills
from tests.chaos.soak import soak


async def _kills(folder: Path, given: argparse.Namespace) -> Report:
    return await kills(folder, given.times, given.workers, given.seed)


async def _locked(folder: Path, given: argparse.Namespace) -> Report:
    return await locked(folder, given.seconds or 300.0, given.rate)


async def _ended(folder: Path, given: argparse.Namespace) -> Report:
    return await ended_while_locked(folder, given.rate)


async def _halted(folder: Path, given: argparse.Namespace) -> Report:
    return await postgres_away(folder, given.seconds or 60.0, 0, given.rate)


async def _killed(folder: Path, given: argparse.Namespace) -> Report:
    return await postgres_away(folder, 0, given.seconds or 60.0, given.rate)


async def _worker(folder: Path, given: argparse.Namespace) -> Report:
    return await worker_dies(folder, given.seconds or 15.0)


async def _soak(folder: Path, given: argparse.Namespace) -> Report:
    return await soak(folder, given.seconds or 600.0, given.seed)


async def _drain(folder: Path, given: argparse.Namespace) -> Report:
    return await drain(folder, min(given.times, 10), given.workers, given.seed)


async def _serve(folder: Path, given: argparse.Namespace) -> Report:
    return await full(folder, "serve", given.at_start)


async def _reject(folder: Path, given: argparse.Namespace) -> Report:
    return await full(folder, "reject", given.at_start)


EXPERIMENTS = {
    "kills": _kills,
    "locked": _locked,
    "locked-end": _ended,
    "halted": _halted,
    "killed": _killed,
    "worker-dies": _worker,
    "soak": _soak,
    "full-serve": _serve,
    "full-reject": _reject,
    "drain": _drain,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--times", type=int, default=100, help="kills")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0, help="0 for the long form's own")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--at-start", action="store_true", help="the disk is full already")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="turnout-chaos-") as folder:
        report = asyncio.run(EXPERIMENTS[given.name](Path(folder), given))
    print(report)
    print(f"  {'seconds':<34} {time.monotonic() - began:.0f}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
