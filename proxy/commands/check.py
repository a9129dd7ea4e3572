"""`turnout check`: says whether a configuration is valid, and what is wrong with it."""

import argparse
import os
import sys
from pathlib import Path

from proxy.config import ConfigError, find, load


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command."""
    parser = commands.add_parser("check", help="validate a configuration")
    parser.add_argument("file", metavar="FILE", nargs="?", help="default: as serve finds it")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """0 and a line about the configuration, or 1 and every fault with its path and line."""
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
    print(
        f"{name} is valid: {len(config.providers)} providers ({on} on), "
        f"{len(config.models)} models, {len(config.tasks)} tasks, version {config.version}"
    )
    return 0
