"""Opens the database, new or old, and brings its schema up to date.

Alembic takes 120 ms and 11 MB to import, and a server has a second and 100 MB in all: a new
database is made from the tables and stamped as newest (a test shows that the migrations give the
same), and an old one is upgraded by a process of its own.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from proxy.storage.schema import HEAD, metadata

CACHE = 512  # KiB of pages that a connection keeps; the books are written, hardly read
BUSY = 5000  # milliseconds that SQLite waits for another writer


class StorageError(Exception):
    """A database that can't be used: why, and what to do."""


async def open_database(url: str, home: Path) -> AsyncEngine:
    """An engine on a database whose schema is the newest. Raises `StorageError`.

    `sqlite:///name.db` is relative to `home`; a fourth slash makes it absolute.
    """
    engine = create_async_engine(_resolved(url, home))
    event.listen(engine.sync_engine, "connect", _prepare)
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(_revision)
        if revision is None:
            async with engine.begin() as connection:
                await connection.run_sync(_create)
        elif revision != HEAD:
            await _upgrade(engine, revision)
    except OperationalError as error:
        await engine.dispose()
        raise StorageError(f"cannot open the database {url}: {error.orig}") from None
    except BaseException:  # whatever it was, the engine must not outlive it
        await engine.dispose()
        raise
    return engine


def _resolved(url: str, home: Path) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StorageError(f"{url!r} is no database URL; write sqlite:///turnout.db") from None
    if parsed.get_backend_name() != "sqlite":
        message = f"{parsed.get_backend_name()} is not supported yet; use sqlite:///turnout.db"
        raise StorageError(message)
    path = home / (parsed.database or "turnout.db")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return f"sqlite+aiosqlite:///{path}"


def _prepare(connection: Any, _: Any) -> None:
    """WAL lets readers and the writer pass each other; NORMAL loses nothing when a process dies."""
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY}",  # first: the next one needs the file for itself
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"cache_size=-{CACHE}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    """All tables at once, and the stamp of the newest revision.

    The stamp's INSERT takes SQLite's write lock, so that of two processes one makes the tables
    and the other finds them.
    """
    connection.execute(text(_STAMPS))
    connection.execute(text("INSERT OR IGNORE INTO alembic_version VALUES (:head)"), {"head": HEAD})
    metadata.create_all(connection)


_STAMPS = """
CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)
"""


async def _upgrade(engine: AsyncEngine, revision: str) -> None:
    url = engine.url.render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.storage.migrate", url, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise StorageError(
            f"the database has schema {revision}, which this Turnout can't bring to {HEAD}; "
            f"is it of a newer Turnout? {said.decode(errors='replace').strip()[-300:]}"
        )
