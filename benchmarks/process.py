"""Processes of the benchmark: started pinned to a core, awaited, and always ended."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
POLL = 0.002


class NotStarted(Exception):
    """A server that ended, or did not answer in time; the message shows what it last said."""


@dataclass(frozen=True)
class Cores:
    """Which cores the server under test may use, and which the upstream and the load."""

    server: frozenset[int]
    helpers: frozenset[int]

    @property
    def pinned(self) -> bool:
        return self.server != self.helpers


def pick_cores() -> Cores:
    """One core for the server and another for the rest, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(frozenset(cores), frozenset(cores))
    return Cores(frozenset(cores[:1]), frozenset(cores[1:2]))


def clean_env(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without the keys, proxies and settings of whoever runs the benchmark."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"HOME": str(home)} | dict(extra or {})


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def piece(name: str, *arguments: str) -> list[str]:
    """The command that runs a file of this folder on its own."""
    return [sys.executable, "-P", str(HERE / f"{name}.py"), *arguments]


@dataclass(frozen=True)
class Command:
    """How to start a process, and where it will answer once it is up."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    port: int
    health: str
    folder: Path
    cores: frozenset[int]
    patience: float = 30.0


class Process:
    """A started command. Use as a context manager, so that it ends with the block."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.log = command.folder / f"{command.name}.log"
        started = time.perf_counter()
        with self.log.open("wb") as log:
            self.popen = spawn(command, log.fileno())
        try:
            self.start_seconds = self._wait(started)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self.popen.pid

    def _wait(self, started: float) -> float:
        """Seconds from the start to the first 200."""
        while (elapsed := time.perf_counter() - started) < self.command.patience:
            if self.popen.poll() is not None:
                raise NotStarted(
                    f"{self.command.name} ended with code {self.popen.returncode}\n{self.tail()}"
                )
            if get(self.command.port, self.command.health)[0] == 200:
                return time.perf_counter() - started
            time.sleep(POLL)
        raise NotStarted(
            f"{self.command.name} did not answer 200 on {self.command.health}"
            f" in {elapsed:.0f} s\n{self.tail()}"
        )

    def tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"  | {line}" for line in text) or "  | (it wrote nothing)"

    def stop(self) -> None:
        """Asks it to end, and makes it end if it does not."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)  # children it may have left

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def spawn(command: Command, output: int) -> subprocess.Popen[bytes]:
    """Starts the command on its cores, in a process group of its own."""
    mine = os.sched_getaffinity(0)
    # A child inherits the affinity of the thread that starts it, so all its threads have it.
    os.sched_setaffinity(0, command.cores)
    try:
        return subprocess.Popen(
            command.argv,
            env=dict(command.env),
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.sched_setaffinity(0, mine)


def get(port: int, path: str) -> tuple[int, bytes]:
    """GET from loopback; status 0 when nobody answers."""
    return ask(port, "GET", path)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """One small request to loopback; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
