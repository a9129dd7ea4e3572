"""Opening a database: new, several at once, too new, and not at all."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.engine import StorageError, open_database
from proxy.storage.migrate import migrate
from proxy.storage.schema import HEAD
from tests.servers import PASSWORD, postgres

OPEN = "import asyncio, sys; from pathlib import Path; "
OPEN += "from proxy.storage.engine import open_database; "
OPEN += "asyncio.run(open_database(sys.argv[1], Path(sys.argv[2])))"


async def test_a_new_one(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for table in ("requests", "attempts", "keys", "rollups"):
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar() == 0
        stamp = await connection.execute(text("SELECT version_num FROM alembic_version"))
        assert stamp.scalars().all() == [HEAD]


async def test_sqlite_is_a_file_of_its_owner(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
    await engine.dispose()
    assert stat.S_IMODE((tmp_path / "t.db").stat().st_mode) == 0o600


async def open_at_once(url: str, home: Path, count: int = 4) -> list[tuple[int, bytes]]:
    """Exit codes and complaints of so many processes that open one database."""
    command = [sys.executable, "-W", "ignore", "-c", OPEN, url, str(home)]
    opening = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(count)]
    said = [(await asyncio.to_thread(process.communicate))[1] for process in opening]
    return [(process.returncode, text) for process, text in zip(opening, said, strict=True)]


async def test_several_processes_at_once(database: str, tmp_path: Path) -> None:
    opened = await open_at_once(database, tmp_path)
    assert [code for code, _ in opened] == [0] * 4, opened


async def test_one_has_the_file_for_itself_meanwhile(tmp_path: Path) -> None:
    """A new database, which another process is just giving its write-ahead log."""
    other = sqlite3.connect(tmp_path / "t.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.execute("BEGIN EXCLUSIVE")
    opening = asyncio.ensure_future(open_database("sqlite:///t.db", tmp_path))
    await asyncio.sleep(0.3)
    assert not opening.done()
    other.execute("COMMIT")
    await (await opening).dispose()
    other.close()


async def test_many_that_make_the_tables_at_the_same_moment(database: str, tmp_path: Path) -> None:
    engines = await asyncio.gather(*(open_database(database, tmp_path) for _ in range(8)))
    for engine in engines:
        await engine.dispose()


async def test_several_processes_upgrade_at_once(database: str, tmp_path: Path) -> None:
    at = database.replace("sqlite:///", f"sqlite:///{tmp_path}/")
    await asyncio.to_thread(migrate, at, "0001")
    opened = await open_at_once(database, tmp_path)
    assert [code for code, _ in opened] == [0] * 4, opened
    engine = await open_database(database, tmp_path)
    async with engine.connect() as connection:
        stamp = await connection.execute(text("SELECT version_num FROM alembic_version"))
        assert stamp.scalars().all() == [HEAD]
    await engine.dispose()


async def test_one_of_a_newer_turnout(database: str, tmp_path: Path) -> None:
    engine = await open_database(database, tmp_path)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(StorageError, match="9999") as caught:
        await open_database(database, tmp_path)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "no database URL"),
        ("postgresql//u:secret@h/d", "no database URL"),
        ("postgresql://u:secret@h:port/d", "no database URL"),
        ("mysql://u:secret@h/d", "mysql is not supported"),
        ("postgresql://u:secret@h/d?channel_binding=require", "'channel_binding'"),
        ("postgresql://u:secret@127.0.0.1:1/d", r"u:\*\*\*@127.0.0.1:1/d: .*Connect call failed"),
        ("postgresql://u:secret@[::1]:1/d?sslmode=prefer", "Connect call failed"),
    ],
)
async def test_what_can_not_be_opened(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(StorageError, match=says) as caught:
        await open_database(url, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((":hunter2@", ":secret@"), "password authentication failed"),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ],
)
async def test_a_server_that_refuses(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    url = postgres().url("postgres").replace(*change)
    with pytest.raises(StorageError, match=says) as caught:
        await open_database(url, tmp_path)
    assert "secret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_without_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StorageError, match=r"pip install 'turnout\[postgres\]'"):
        await open_database("postgresql://h/d", tmp_path)
