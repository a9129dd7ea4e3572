"""`turnout serve` in processes of its own: started, killed and started again on one port."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from tests.e2e.gateway import MASTER
from tests.ports import lasting_port

ROOT = Path(__file__).parents[2]
PATIENCE = 30  # seconds that a start or an end may take
ORPHANS = 5.0  # seconds in which the workers of a parent that died have to be gone


class Served:
    """One gateway. `module` is what is run; `inside` is put before the command."""

    def __init__(
        self,
        folder: Path,
        config: str,
        workers: int = 1,
        module: str = "proxy",
        inside: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.workers = workers
        self.port = lasting_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        (folder / "config.yaml").write_text(f'auth: {{master_key: "{MASTER}"}}\n{config}')
        options = ["serve", "--port", str(self.port), "--workers", str(workers)]
        self._command = [*inside, sys.executable, "-m", module, *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "it is not running"
        return self._process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    async def start(self, session: aiohttp.ClientSession) -> float:
        """Returns when it answers; the seconds that it took."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environ = kept | {"TURNOUT_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=environ, stdout=log, stderr=log
            )
        while await self.health(session, "live") != 200:
            assert self._process.poll() is None, f"it ended: {self.log[-2000:]}"
            assert time.monotonic() < began + PATIENCE, f"it did not start: {self.log[-2000:]}"
            await asyncio.sleep(0.02)
        self.starts += 1
        return time.monotonic() - began

    async def health(self, session: aiohttp.ClientSession, which: str) -> int:
        """The status of `/health/WHICH`; 0 without an answer."""
        try:
            async with session.get(f"{self.url}/health/{which}") as reply:
                return reply.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def new_key(self, session: aiohttp.ClientSession) -> str:
        headers = {"authorization": f"Bearer {MASTER}"}
        url = f"{self.url}/api/v1/keys"
        async with session.post(url, json={"name": "chaos"}, headers=headers) as reply:
            assert reply.status == 201, await reply.text()
            key: str = (await reply.json())["key"]
            return key

    def worker_pids(self) -> list[int]:
        """The processes that serve, where they are several."""
        return [pid for pid in children(self.process.pid) if "spawn_main" in _command_of(pid)]

    async def kill(self) -> int:
        """`kill -9` of the process, or of the parent of several; returns how many of its workers
        had to be killed as well, because they outlived it."""
        left = self.worker_pids()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        self._process = None
        until = time.monotonic() + ORPHANS
        while (left := [pid for pid in left if is_alive(pid)]) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        while any(is_alive(pid) for pid in left):
            await asyncio.sleep(0.01)
        return len(left)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        code = await asyncio.to_thread(self.process.wait, PATIENCE)
        self._process = None
        return code

    async def close(self) -> None:
        """Whatever state it is in."""
        if self._process is not None:
            await self.kill()

    def spools(self) -> list[str]:
        """What lies in the spool's folder."""
        folder = self.home / "spool"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def up(base_url: str, extra: str = "") -> str:
    """A configuration with the provider `up`, whose circuits hardly ever open."""
    return f"""
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{base_url}", api_key: sk-up-secret}}
retry: {{backoff: [10ms, 50ms]}}
breaker: {{failures: 1000, ratio: 1.0, open: 100ms}}
{extra}
"""
