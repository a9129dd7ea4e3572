"""`turnout bench`: the benchmark of `benchmarks/` against the floor."""

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
PLACES = (PACKAGE.parent / "benchmarks", PACKAGE / "_benchmarks")
"""Beside the package in a checkout, inside it in an installed wheel."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command; what follows it is the benchmark's own."""
    parser = commands.add_parser(
        "bench", help="measure Turnout against a bare forwarder", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("options", nargs="*", help="as benchmarks/README.md says")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """The benchmark's exit code."""
    for place in PLACES:
        if (place / "run.py").is_file():
            command = [sys.executable, str(place / "run.py"), *args.options]
            return subprocess.run(command, check=False).returncode  # noqa: S603  (our own file)
    print("the benchmark is not part of this installation", file=sys.stderr)
    return 1
