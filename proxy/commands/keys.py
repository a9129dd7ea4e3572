"""`turnout keys`: makes, lists and revokes virtual keys."""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime

import orjson

from proxy.allowance import own_limits, shown
from proxy.commands import table
from proxy.commands.context import opened
from proxy.config import ConfigError
from proxy.keys import KeyRow, shown_cache
from proxy.storage.engine import StorageError
from proxy.types import OwnCache
from proxy.units import parse_duration

CACHE = {
    "on": OwnCache(enabled=True),
    "off": OwnCache(enabled=False),
    "exact": OwnCache(enabled=True, semantic=False),
    "semantic": OwnCache(enabled=True, semantic=True),
}
"""What `--cache` may say, and what a key says then."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and its own commands."""
    parser = commands.add_parser("keys", help="make, list and revoke virtual keys")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument("--name", metavar="N", help="what it is for")
    create.add_argument(
        "--models", metavar="A,B", help="names and wildcards it may use (default: all)"
    )
    create.add_argument("--expires", metavar="DURATION", help="how long it lives, such as 90d")
    create.add_argument("--rpm", metavar="N", type=int, help="requests a minute")
    create.add_argument("--tpm", metavar="N", type=int, help="tokens a minute")
    create.add_argument("--budget", metavar="USD", type=float, help="dollars a month")
    create.add_argument(
        "--cache", choices=CACHE, help="kept answers: exact ones only, also by meaning, or none"
    )
    create.set_defaults(func=run, action=_create)
    listing = actions.add_parser("list", help="every key, without its secret")
    listing.set_defaults(func=run, action=_list)
    revoke = actions.add_parser("revoke", help="end a key")
    revoke.add_argument("id", metavar="ID")
    revoke.set_defaults(func=run, action=_revoke)
    for action in (create, listing, revoke):
        action.add_argument("--config", metavar="FILE")
        action.add_argument("--json", action="store_true", help="one JSON value on stdout")


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something is at fault, which stderr tells."""
    try:
        code: int = asyncio.run(args.action(args))
    except (ConfigError, StorageError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return code


async def _create(args: argparse.Namespace) -> int:
    models = None
    if args.models is not None:
        models = tuple(name.strip() for name in args.models.split(",") if name.strip())
    expires_at = None
    if args.expires is not None:
        expires_at = int(1000 * (time.time() + parse_duration(args.expires)))
    given = {"rpm": args.rpm, "tpm": args.tpm, "budget": args.budget}
    said = {name: value for name, value in given.items() if value is not None}
    limits = own_limits(said) if said else None
    async with opened(args.config) as context:
        keys = await context.keys()
        new = await keys.create(
            args.name, models, expires_at, limits=limits, cache=CACHE.get(args.cache)
        )
    if args.json:
        made = {
            "id": new.id,
            "key": new.secret,
            "name": new.name,
            "models": None if new.models is None else list(new.models),
            "created_at": new.created_at,
            "expires_at": new.expires_at,
            "limits": shown(limits) or {},
            "cache": shown_cache(CACHE.get(args.cache)),
        }
        print(orjson.dumps(made).decode())
    else:
        print(f"{new.id}\n{new.secret}  (shown this once)")
    return 0


async def _list(args: argparse.Namespace) -> int:
    async with opened(args.config) as context:
        keys = await context.keys()
        rows = await keys.list()
    if args.json:
        print(orjson.dumps([_shown(row) for row in rows]).decode())
        return 0
    lines = [
        (
            row.id,
            row.name or "",
            "all" if row.models is None else ",".join(row.models),
            _date(row.created_at),
            _date(row.expires_at),
            _state(row),
        )
        for row in rows
    ]
    print(table.render(("id", "name", "models", "created", "expires", "state"), lines, left=6))
    return 0


async def _revoke(args: argparse.Namespace) -> int:
    async with opened(args.config) as context:
        keys = await context.keys()
        done = await keys.revoke(args.id)
    if not done:
        print(f"there is no live key {args.id!r}; turnout keys list shows them", file=sys.stderr)
        return 1
    print(
        orjson.dumps({"id": args.id, "revoked": True}).decode()
        if args.json
        else f"{args.id} is revoked"
    )
    return 0


def _shown(row: KeyRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "models": None if row.models is None else list(row.models),
        "user_id": row.user_id,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "limits": shown(row.limits) or {},
        "tags": list(row.tags),
        "cache": shown_cache(row.cache),
        "state": _state(row),
    }


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "live" if row.is_live(time.time()) else "expired"


def _date(millis: int | None) -> str:
    return "" if millis is None else datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d")
