"""The commands of docs/operations.md for backups, run as they are written there."""

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.keys import KeyStore
from proxy.storage.engine import StorageError, open_database
from proxy.vault import Vault
from tests.deploy import files
from tests.deploy.files import ROOT
from tests.deploy.walked import empty_database
from tests.servers import postgres

PAGE = ROOT / "docs" / "operations.md"
KEY = "an-encryption-key-that-a-backup-is-kept-without"


def block(name: str) -> str:
    """The fenced block that follows `<!-- NAME … -->`."""
    found = re.search(
        rf"<!-- [^>]*\b{re.escape(name)}\b[^>]*-->\n+```\w+\n(.*?)```",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found, f"{PAGE.name} has no block marked {name}"
    return found.group(1)


class Machine:
    """A machine with a home, a database, and the page's commands."""

    def __init__(self, home: Path, backup: Path, database: str, key: str = KEY) -> None:
        home.mkdir(exist_ok=True)
        backup.mkdir(exist_ok=True)
        self.home = home
        binaries = postgres()._bin if database.startswith("postgresql") else Path(sys.executable)
        path = f"{_shims(home)}:{binaries}:{Path(sys.executable).parent}:{os.defpath}"
        self._environ = {
            "PATH": path,
            "TURNOUT_HOME": str(home),
            "TURNOUT_DATABASE": database,
            "TURNOUT_ENCRYPTION_KEY": key,
            "BACKUP": str(backup),
        }

    @asynccontextmanager
    async def keys(self) -> AsyncIterator[KeyStore]:
        """The virtual keys in the machine's database, as the server opens them."""
        engine = await open_database(self._environ["TURNOUT_DATABASE"], self.home)
        try:
            vault = await Vault.open(engine, SecretStr(self._environ["TURNOUT_ENCRYPTION_KEY"]))
            yield KeyStore(engine, vault.digest_key)
        finally:
            await engine.dispose()

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-euc", script],
            cwd=self.home,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


def _shims(home: Path) -> Path:
    """`turnout` on the PATH, whatever the tests were started from."""
    folder = home.parent / "bin"
    folder.mkdir(exist_ok=True)
    shim = folder / "turnout"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m proxy "$@"\n')
    shim.chmod(0o755)
    return folder


async def test_sqlite_is_copied_while_it_is_written_and_comes_back(tmp_path: Path) -> None:
    backup, books = tmp_path / "backup", "sqlite:///turnout.db"
    here = Machine(tmp_path / "home", backup, books)
    async with here.keys() as keys:  # a connection that writes, and a WAL that is not folded in
        secret = (await keys.create(name="kept")).secret
        here.must(block("backup-sqlite"))
        await keys.create(name="later")
    assert secret.encode() not in (backup / "turnout.db").read_bytes()
    assert stat.S_IMODE((backup / "turnout.db").stat().st_mode) == 0o600
    there = Machine(tmp_path / "other", backup, books)
    there.must(block("restore-sqlite"))
    async with there.keys() as keys:
        assert [key.name for key in await keys.list()] == ["kept"]
    with pytest.raises(StorageError, match="does not open the vault"):
        async with Machine(tmp_path / "other", backup, books, "some-other-key" * 3).keys():
            pass


def test_a_copy_of_the_file_alone_lacks_what_is_in_the_wal(tmp_path: Path) -> None:
    """Why the page does not say `cp`."""
    books = sqlite3.connect(tmp_path / "turnout.db", isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute("CREATE TABLE t (x)")
    books.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    books.execute("INSERT INTO t VALUES (1)")
    shutil.copy(tmp_path / "turnout.db", tmp_path / "copied.db")
    books.execute("VACUUM INTO ?", [str(tmp_path / "vacuumed.db")])
    books.close()
    found = []
    for name in ("copied.db", "vacuumed.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as copy:
            found += copy.execute("SELECT count(*) FROM t").fetchone()
    assert found == [0, 1]


async def test_postgresql_is_dumped_and_comes_back(tmp_path: Path) -> None:
    await empty_database("backed_up")
    await empty_database("restored")
    backup = tmp_path / "backup"
    here = Machine(tmp_path / "home", backup, postgres().url("backed_up"))
    async with here.keys() as keys:
        await keys.create(name="kept")
        here.must(block("backup-postgresql"))
        await keys.create(name="later")
    there = Machine(tmp_path / "other", backup, postgres().url("restored"))
    _configure(there.home)
    there.must(block("restore-postgresql"))
    async with there.keys() as keys:
        assert [key.name for key in await keys.list()] == ["kept"]
    again = there.run(block("restore-postgresql"))
    assert again.returncode != 0, "into a database that has something it restores nothing"
    async with there.keys() as keys:
        assert [key.name for key in await keys.list()] == ["kept"]


def _configure(home: Path) -> None:
    shutil.copy(ROOT / "deploy" / "compose" / "config.yaml", home / "config.yaml")


def test_the_unit_on_the_page_is_the_file() -> None:
    assert block("systemd") == files.UNIT.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)", PAGE.read_text("utf-8")))
def test_what_the_page_leads_to_is_there(path: str) -> None:
    assert (PAGE.parent / path).exists()
