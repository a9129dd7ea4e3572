"""`turnout migrate`: another gateway's configuration, made into Turnout's."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from proxy.config import ConfigError, load


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and what it can convert."""
    parser = commands.add_parser("migrate", help="convert another gateway's configuration")
    kinds = parser.add_subparsers(title="from", required=True, metavar="GATEWAY")
    kind = kinds.add_parser("litellm", help="a LiteLLM proxy's config.yaml")
    kind.add_argument("file", metavar="FILE", help="its configuration")
    kind.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    kind.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """0 and the configuration, with all that was not carried over on stderr; 1 when the source
    can't be read, or the result not be written."""
    from proxy.migration import litellm, source

    path = Path(args.file)
    try:
        tree = source.read(path)
    except source.SourceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot read {path}: {error.strerror}", file=sys.stderr)
        return 1
    if args.output and Path(args.output).resolve() == path.resolve():
        print(f"{path} would be overwritten; give -o another name", file=sys.stderr)
        return 1
    converted = litellm.convert(tree, path.name)
    for finding in converted.findings:
        print(finding, file=sys.stderr)
    count = len(converted.findings)
    things = "everything was carried over" if not count else f"{count} things to look at, above"
    print(f"{path.name}: {things}", file=sys.stderr)
    return _delivered(converted.text, args.output)


def _delivered(text: str, output: str | None) -> int:
    """Writes the configuration and checks it as `turnout check` would; the exit code."""
    if output is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(text, encoding="utf-8")
            print(text, end="")
            return _checked(path)
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"cannot write {output}: {error.strerror}", file=sys.stderr)
        return 1
    return _checked(Path(output))


def _checked(path: Path) -> int:
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    on = sum(not provider.off for provider in config.providers.values())
    print(
        f"{path.name} is valid: {len(config.providers)} providers ({on} on), "
        f"{len(config.models)} models",
        file=sys.stderr,
    )
    return 0
