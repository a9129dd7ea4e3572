"""`turnout users`: makes, lists and switches off accounts."""

import argparse
import asyncio
import getpass
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
from sqlalchemy.exc import SQLAlchemyError

from proxy.allowance import shown
from proxy.commands import table
from proxy.commands.context import opened
from proxy.config import ConfigError
from proxy.errors import TurnoutError
from proxy.passwords import Passwords, check_new
from proxy.storage.engine import StorageError
from proxy.types import Role
from proxy.users import ROLES, User, UserStore

MANY = 10**9  # users of one list


class PasswordError(ValueError):
    """No password, or two that differ: what to do."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and its own commands."""
    parser = commands.add_parser("users", help="make, list and switch off accounts")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make an account")
    create.add_argument("--email", metavar="E", required=True, help="whose it is; logs in with it")
    create.add_argument("--role", choices=[role.value for role in ROLES], default="user")
    create.add_argument("--name", metavar="N", help="what to call the person")
    create.add_argument(
        "--password-file",
        metavar="FILE",
        help="its first line is the password; else it is asked for, or with --json one is made",
    )
    create.set_defaults(func=run, action=_create)
    listing = actions.add_parser("list", help="every account")
    listing.set_defaults(func=run, action=_list)
    disable = actions.add_parser("disable", help="switch an account off, and all its tokens")
    disable.add_argument("id", metavar="ID")
    disable.set_defaults(func=run, action=_disable)
    for action in (create, listing, disable):
        action.add_argument("--config", metavar="FILE")
        action.add_argument("--json", action="store_true", help="one JSON value on stdout")


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something is at fault, which stderr tells."""
    try:
        code: int = asyncio.run(args.action(args))
    except (ConfigError, StorageError, TurnoutError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"the database says no: {type(error).__name__}", file=sys.stderr)
        return 1
    return code


async def _create(args: argparse.Namespace) -> int:
    made = secrets.token_urlsafe(16) if args.json and args.password_file is None else None
    password = made or _password(args.password_file)
    check_new(password, args.email)
    passwords = Passwords()
    try:
        hashed = await passwords.hash(password)
    finally:
        passwords.close()
    async with opened(args.config) as context:
        users = UserStore(context.engine)
        await users.refresh()
        user = await users.create(args.email, Role(args.role), args.name, hashed)
    if args.json:
        shown_once = {} if made is None else {"password": made}
        print(orjson.dumps({**_shown(user), **shown_once}).decode())
    else:
        print(f"{user.id}  {user.email}  {user.role.value}")
    return 0


def _password(path: str | None) -> str:
    """From a file, or asked for twice. Raises `PasswordError`, `OSError`."""
    if path is not None:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise PasswordError("there is no terminal to ask at; use --password-file FILE, or --json")
    password = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != password:
        raise PasswordError("the two differ")
    return password


async def _list(args: argparse.Namespace) -> int:
    async with opened(args.config) as context:
        users = UserStore(context.engine)
        await users.refresh()
        found = users.list(MANY).users
    if args.json:
        print(orjson.dumps([_shown(user) for user in found]).decode())
        return 0
    lines = [
        (user.id, user.email, user.role.value, user.name or "", _date(user), _state(user))
        for user in found
    ]
    print(table.render(("id", "email", "role", "name", "created", "state"), lines, left=6))
    return 0


async def _disable(args: argparse.Namespace) -> int:
    async with opened(args.config) as context:
        users = UserStore(context.engine)
        await users.refresh()
        user = await users.change(args.id, {"is_active": False})
    if user is None:
        print(f"there is no user {args.id!r}; turnout users list shows them", file=sys.stderr)
        return 1
    print(orjson.dumps(_shown(user)).decode() if args.json else f"{user.email} is switched off")
    return 0


def _shown(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "is_active": user.is_active,
        "limits": shown(user.limits) or {},
        "external_id": user.external_id,
        "created_at": user.created_at,
    }


def _state(user: User) -> str:
    return "active" if user.is_active else "off"


def _date(user: User) -> str:
    return datetime.fromtimestamp(user.created_at / 1000, UTC).strftime("%Y-%m-%d")
