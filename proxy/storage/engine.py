"""Opens the database, new or old, and brings its schema up to date.

Alembic takes 120 ms and 11 MB to import, and a server has a second and 100 MB in all: a new
database is made from the tables and stamped as newest (a test shows that the migrations give the
same), and an old one is upgraded by a process of its own.
"""

import asyncio
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from proxy.storage import postgres
from proxy.storage.schema import HEAD, metadata

CACHE = 512  # KiB of pages that a connection keeps; the books are written, hardly read
BUSY = 5000  # milliseconds that SQLite waits for another writer
PAUSE = 0.01  # seconds until it is tried again to take the file for oneself

EXAMPLES = "sqlite:///turnout.db or postgresql://user:password@host/database"


class StorageError(Exception):
    """A database that can't be used: why, and what to do. It never has the password."""


async def open_database(url: str, home: Path) -> AsyncEngine:
    """An engine on a database whose schema is the newest. Raises `StorageError`.

    `sqlite:///name.db` is relative to `home`; a fourth slash makes it absolute.
    """
    engine = _engine(_parsed(url), home)
    try:
        async with engine.begin() as connection:
            revision = await connection.run_sync(_newest)
        if revision != HEAD:
            await _upgrade(engine, revision)
    except DBAPIError as error:
        await engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise StorageError(f"cannot open the database {shown}: {error.orig}") from None
    except BaseException:  # whatever it was, the engine must not outlive it
        await engine.dispose()
        raise
    return engine


def _parsed(url: str) -> URL:
    """The URL's parts. What can't be taken apart is not repeated: it may have a password in it."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(f"that is no database URL; write {EXAMPLES}") from None


def _engine(url: URL, home: Path) -> AsyncEngine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite(url, home)
    if backend not in postgres.NAMES:
        raise StorageError(f"{backend} is not supported; use {EXAMPLES}")
    try:
        return postgres.open_engine(postgres.resolved(url))
    except ValueError as error:
        raise StorageError(str(error)) from None
    except ModuleNotFoundError:
        message = (
            "PostgreSQL needs asyncpg, which is not installed: pip install 'turnout[postgres]'"
        )
        raise StorageError(message) from None


def _sqlite(url: URL, home: Path) -> AsyncEngine:
    path = home / (url.database or "turnout.db")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    """WAL lets readers and the writer pass each other; NORMAL loses nothing when a process dies."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY}")
    _use_wal(cursor)
    for pragma in (
        "synchronous=NORMAL",
        f"cache_size=-{CACHE}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """The change needs the file for itself, and where two processes make it at once SQLite does
    not wait for the other but gives up."""
    until = time.monotonic() + BUSY / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                raise
            await_only(asyncio.sleep(PAUSE))
        else:
            return


def _newest(connection: Connection) -> str:
    """The schema's revision; an empty database is made the newest first."""
    if connection.dialect.name == "postgresql":
        for statement in (*postgres.PATIENCE, postgres.LOCK):
            connection.exec_driver_sql(statement)
    revision = _revision(connection)
    if revision is None:
        _create(connection)
    return revision or HEAD


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    """All tables at once, and the stamp of the newest revision.

    The stamp's INSERT takes SQLite's write lock, so that of two processes one makes the tables
    and the other finds them. On PostgreSQL it is the advisory lock that sees to it.
    """
    connection.execute(text(_STAMPS))
    connection.execute(text(_STAMP), {"head": HEAD})
    metadata.create_all(connection)


_STAMPS = """
CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)
"""

_STAMP = "INSERT INTO alembic_version VALUES (:head) ON CONFLICT DO NOTHING"


async def _upgrade(engine: AsyncEngine, revision: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.storage.migrate"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    url = engine.url.render_as_string(hide_password=False)
    _, said = await process.communicate(url.encode())
    if process.returncode != 0:
        why = said.decode(errors="replace").strip()[-300:]
        raise StorageError(
            f"the database has schema {revision}, which this Turnout can't bring to {HEAD}; "
            f"is it of a newer Turnout? {_without_password(why, engine.url)}"
        )


def _without_password(said: str, url: URL) -> str:
    for secret in {url.password or "", url.render_as_string(hide_password=False)} - {""}:
        said = said.replace(str(secret), "***")
    return said
