"""`turnout usage`: the books, summed."""

import argparse
import asyncio
import csv
import sys

import orjson

from proxy.commands import table
from proxy.commands.context import opened
from proxy.config import ConfigError
from proxy.ledger.analytics import GROUPS, Summary, summarise
from proxy.storage.engine import StorageError

COLUMNS = (
    "requests",
    "errors",
    "cached",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "cost_usd",
    "avg_latency_ms",
)
HEAD = ("requests", "errors", "hits", "input", "of it cached", "output", "cost USD", "avg ms")
"""Of the table: `hits` were answered from the cache, tokens `cached` by the provider."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command."""
    parser = commands.add_parser("usage", help="requests, tokens and cost")
    parser.add_argument("--days", metavar="N", type=int, default=30, help="default: 30")
    parser.add_argument("--by", choices=GROUPS, default="model", help="default: model")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--config", metavar="FILE")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when the configuration or the database is at fault."""
    try:
        groups, total, names = asyncio.run(_summaries(args))
    except (ConfigError, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if args.format == "json":
        print(orjson.dumps([_plain(args.by, group) for group in groups]).decode())
    elif args.format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow((args.by, *COLUMNS))
        writer.writerows(_plain(args.by, group).values() for group in groups)
    else:
        _print_table(args, groups, total, names)
    return 0


async def _summaries(
    args: argparse.Namespace,
) -> tuple[list[Summary], list[Summary], dict[str, str]]:
    """The groups, the sum of all, and the names of keys by their ids where a table shows them."""
    async with opened(args.config) as context:
        groups = await summarise(context.engine, args.days, args.by, percentiles=False)
        total = await summarise(context.engine, args.days, percentiles=False)
        keys = []
        if args.by == "key" and args.format == "table":
            keys = await (await context.keys()).list()
        return groups, total, {key.id: key.name for key in keys if key.name}


def _plain(by: str, group: Summary) -> dict[str, object]:
    return {by: group.group} | {name: getattr(group, name) for name in COLUMNS}


def _print_table(
    args: argparse.Namespace,
    groups: list[Summary],
    total: list[Summary],
    names: dict[str, str],
) -> None:
    if not groups:
        print(f"no requests in the last {args.days} days")
        return
    lines = [_cells(_label(group.group, names), group) for group in groups]
    lines += [_cells("total", all_) for all_ in total]
    print(table.render((args.by, *HEAD), lines))


def _label(group: str | None, names: dict[str, str]) -> str:
    if group is None:
        return "(none)"
    return f"{names[group]} ({group})" if group in names else group


def _cells(name: str, group: Summary) -> tuple[str, ...]:
    return (
        name,
        f"{group.requests:,}",
        f"{group.errors:,}",
        f"{group.cached:,}",
        f"{group.input_tokens:,}",
        f"{group.cached_tokens:,}",
        f"{group.output_tokens:,}",
        f"{group.cost_usd:.6f}",
        f"{group.avg_latency_ms:,.0f}",
    )
