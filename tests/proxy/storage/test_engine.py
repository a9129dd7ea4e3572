"""Opening a database: new, twice at once, too new, and not at all."""

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from proxy.storage.engine import StorageError, open_database

OPEN = "import asyncio, sys; from pathlib import Path; "
OPEN += "from proxy.storage.engine import open_database; "
OPEN += "asyncio.run(open_database('sqlite:///t.db', Path(sys.argv[1])))"


async def test_a_new_one(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await connection.execute(text("SELECT count(*) FROM requests"))).scalar() == 0
    await engine.dispose()
    assert stat.S_IMODE((tmp_path / "t.db").stat().st_mode) == 0o600


async def test_several_processes_at_once(tmp_path: Path) -> None:
    opening = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", OPEN, str(tmp_path)])
        for _ in range(4)
    ]
    assert [await asyncio.to_thread(process.wait) for process in opening] == [0] * 4


async def test_one_of_a_newer_turnout(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(StorageError, match="9999"):
        await open_database("sqlite:///t.db", tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:secret@h/d"])
async def test_what_can_not_be_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageError) as caught:
        await open_database(url, tmp_path)
    assert "secret" not in str(caught.value)
