"""`turnout secrets`: another encryption key for the database, and a look whether all can be read.

A new key is in a file before the database is changed, and the old one is where it was until the
database has changed: whenever this is broken off, one of the two opens the vault.
"""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from proxy.commands.context import Context, opened
from proxy.config import THROW_AWAY, ConfigError
from proxy.config_types import Secret
from proxy.storage.engine import StorageError
from proxy.vault import Rotation, Vault, WrongEncryptionKey, check, rotate

NAME = "encryption_key"
NEW_NAME = "encryption_key.new"
"""The files of the key in `TURNOUT_HOME`: in use, and about to be."""

VARIABLE = "TURNOUT_NEW_ENCRYPTION_KEY"


class BadNewKey(ValueError):
    """A new key that can't be taken: why, and what to do. It never has the key."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and its own commands."""
    parser = commands.add_parser("secrets", help="rotate the encryption key; check what it seals")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    change = actions.add_parser("rotate", help="seal everything under another encryption key")
    change.add_argument(
        "--new-key-file",
        metavar="F",
        help=f"a file with the new key (default: ${VARIABLE}, else one is made)",
    )
    change.set_defaults(func=run, action=_rotate)
    look = actions.add_parser("check", help="open everything; list what can't be read")
    look.set_defaults(func=run, action=_check)
    for action in (change, look):
        action.add_argument("--config", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something is at fault or can't be read, which stderr tells."""
    try:
        code: int = asyncio.run(args.action(args))
    except (ConfigError, StorageError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return code


async def _check(args: argparse.Namespace) -> int:
    async with opened(args.config) as context:
        await _finish(context)
        found = await check(context.engine, await context.vault())
    print(f"can be read: {_counts(found)}")
    return _tell_unreadable(found, "can't be read")


async def _rotate(args: argparse.Namespace) -> int:
    given = _given(args.new_key_file, os.environ)
    async with opened(args.config) as context:
        await _finish(context)
        old = context.encryption_key
        new = given or SecretStr(secrets.token_urlsafe(32))
        if new == old:
            raise BadNewKey("the new encryption key is the old one; give another")
        is_ours = context.config.auth.encryption_key is None
        draft = _write(context.home.path / NEW_NAME, new) if is_ours or not given else None
        try:
            done = await rotate(context.engine, old, new)
        except WrongEncryptionKey:
            if draft is not None:
                draft.unlink()
            raise
        if is_ours and draft is not None:
            draft.replace(context.home.path / NAME)
    print(f"sealed anew: {_counts(done)}")
    print(_advice(context, None if is_ours else draft))
    return _tell_unreadable(done, "could not be read, and stay as they were")


async def _finish(context: Context) -> None:
    """Puts the new key in its place when a rotation was broken off after the database changed."""
    draft = context.home.path / NEW_NAME
    if context.config.auth.encryption_key is not None or not draft.exists():
        return
    if await _opens(context, context.encryption_key):
        return
    if await _opens(context, SecretStr(draft.read_text().strip())):
        draft.replace(context.home.path / NAME)
        print(f"a rotation was broken off: {NEW_NAME} is now {NAME}", file=sys.stderr)


async def _opens(context: Context, key: SecretStr) -> bool:
    try:
        await Vault.open(context.engine, key)
    except WrongEncryptionKey:
        return False
    return True


def _given(file: str | None, environ: Mapping[str, str]) -> SecretStr | None:
    """The new key, from the variable or the file; None when it is to be made. Raises `BadNewKey`
    for one that a configuration would not take either, `OSError`."""
    text = environ.get(VARIABLE)
    if file is not None:
        if text:
            raise BadNewKey(f"both --new-key-file and ${VARIABLE} give a new key; leave one out")
        text = Path(file).read_text(errors="replace").strip()
        if not text:
            raise BadNewKey(f"{file} is empty")
    if not text:
        return None
    if text in THROW_AWAY:
        raise BadNewKey("everybody knows that key; give 32 random bytes, or let one be made")
    try:
        return TypeAdapter(Secret).validate_python(SecretStr(text))
    except ValidationError:
        message = "the new encryption key must be plain ASCII without control characters"
        raise BadNewKey(message) from None


def _write(path: Path, key: SecretStr) -> Path:
    """The key in a new file of mode 0600, on the disk. Raises `BadNewKey` when there is one."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise BadNewKey(
            f"{path} is there, of a rotation that was broken off or whose key is not in use yet; "
            "if the key in use is another, and 'turnout secrets check' reads everything with it, "
            "delete that file"
        ) from None
    with os.fdopen(handle, "w") as file:
        file.write(key.get_secret_value())
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name too is there before the database changes
    finally:
        os.close(folder)
    return path


def _advice(context: Context, draft: Path | None) -> str:
    """What is still to be done."""
    if context.config.auth.encryption_key is None:
        return f"the new key is in {context.home.path / NAME}; restart every process of this server"
    where = "the new key" if draft is None else f"what {draft} holds, and then delete that file"
    return f"set auth.encryption_key to {where}; restart every process with it"


def _counts(rotation: Rotation) -> str:
    return f"{rotation.user_keys} keys of users, {rotation.providers} keys of providers"


def _tell_unreadable(rotation: Rotation, what: str) -> int:
    if not rotation.unreadable:
        return 0
    print(f"{len(rotation.unreadable)} rows {what}:", file=sys.stderr)
    for name in rotation.unreadable:
        print(f"  {name}", file=sys.stderr)
    return 1
