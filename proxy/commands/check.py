"""`turnout check`: says whether a configuration is valid, and what is wrong with it."""

import argparse
import os
import sys
from pathlib import Path

from proxy.config import ConfigError, built_in, find, load


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command."""
    parser = commands.add_parser("check", help="validate a configuration")
    parser.add_argument("file", metavar="FILE", nargs="?", help="default: as serve finds it")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """0, a line about the configuration and its notes, or 1 and every fault with its line."""
    path = find(args.file, os.environ, Path.cwd())
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot read {path}: {error.strerror}", file=sys.stderr)
        return 1
    on = sum(not provider.off for provider in config.providers.values())
    name = path.name if path else "the built-in configuration"
    shipped = built_in().tasks
    same = sum(shipped.get(task) == said for task, said in config.tasks.items())
    print(
        f"{name} is valid: {_number(len(config.providers), 'provider')} ({on} on), "
        f"{_number(len(config.models), 'model')}, "
        f"{_number(len(config.tasks), 'task')} ({same} built in), version {config.version}"
    )
    for note in config.notes:
        print(f"  {note}")
    return 0


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
