"""The command line: `turnout …`, or `python -m proxy …`."""

import argparse
import sys
from importlib.metadata import version

from proxy import lean  # noqa: F401  (before all else: it keeps parts of libraries out)

# isort: split
from proxy.commands import (
    bench,
    cache,
    check,
    keys,
    migrate,
    models,
    providers,
    secrets,
    serve,
    usage,
    users,
)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="turnout", description="One door for every LLM call: an OpenAI-compatible gateway."
    )
    parser.add_argument("--version", action="version", version=f"turnout {version('turnout')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (
        *(serve, check, keys, users, secrets),
        *(usage, cache, providers, models, migrate, bench),
    ):
        command.add(commands)
    args = parser.parse_args(argv)
    result: int = args.func(args)
    return result


if __name__ == "__main__":
    sys.exit(main())
