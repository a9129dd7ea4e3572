"""`turnout providers`: the providers of a configuration, and the presets there are."""

import argparse
import os
import sys
from pathlib import Path

import orjson

from proxy.commands import table
from proxy.config import ConfigError, Provider, find, load
from proxy.presets import PRESETS, Preset

HEAD = ("name", "preset", "dialect", "base URL", "state")
PRESETS_HEAD = ("preset", "dialect", "base URL", "key", "note")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command."""
    parser = commands.add_parser("providers", help="the providers, and which of them are off")
    parser.add_argument("--config", metavar="FILE", help="default: as serve finds it")
    parser.add_argument("--presets", action="store_true", help="the presets that can be named")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when the configuration is at fault. Never shows a key."""
    if args.presets:
        shown = [_preset(name, preset) for name, preset in PRESETS.items()]
        _print(args.json, shown, PRESETS_HEAD, [_cells(row) for row in shown])
        return 0
    path = find(args.config, os.environ, Path.cwd())
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot read {path}: {error.strerror}", file=sys.stderr)
        return 1
    shown = [_provider(name, provider) for name, provider in config.providers.items()]
    rows = [(*_cells(row)[:4], f"off: {row['off']}" if row["off"] else "on") for row in shown]
    _print(args.json, shown, HEAD, rows)
    return 0


def _print(
    as_json: bool,
    shown: list[dict[str, str | None]],
    head: tuple[str, ...],
    rows: list[tuple[str, ...]],
) -> None:
    if as_json:
        print(orjson.dumps(shown).decode())
    else:
        print(table.render(head, rows, left=len(head)))


def _cells(shown: dict[str, str | None]) -> tuple[str, ...]:
    return tuple(value or "" for value in shown.values())


def _provider(name: str, provider: Provider) -> dict[str, str | None]:
    return {
        "name": name,
        "preset": provider.preset,
        "dialect": provider.dialect,
        "base_url": provider.base_url,
        "off": provider.off,
    }


def _preset(name: str, preset: Preset) -> dict[str, str | None]:
    return {
        "preset": name,
        "dialect": preset.dialect,
        "base_url": preset.base_url,
        "key": preset.key,
        "note": preset.note,
    }
