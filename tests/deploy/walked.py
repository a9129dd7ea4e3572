"""What the deployment's files start, started: their commands, in processes on loopback."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import asyncpg
import pytest

from tests import redis_server
from tests.deploy.files import NGINX, ROOT, Mounts, compose, entrypoint
from tests.ports import lasting_port
from tests.redis_server import RedisServer
from tests.servers import PASSWORD, postgres

PATIENCE = 60  # seconds that anything may take to start


def nginx_binary() -> str:
    """nginx, which Debian keeps off a user's PATH; fails aloud without it."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail("nginx is missing; type: apt-get install nginx-light")
    return found


def is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status) == 200
    except HTTPError as told:
        told.close()
        return False
    except OSError:
        return False


class Replica:
    """One container of Turnout as a process; the same port and home at each start."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], mounts: Mounts) -> None:
        words = [*entrypoint(), *command]
        assert words[:4] == ["turnout", "serve", "--host", "0.0.0.0"]
        self.port = lasting_port()
        self._words = [sys.executable, "-m", "proxy", "serve", "--host", "127.0.0.1"]
        self._words += [mounts.at(word) for word in words[4:]] + ["--port", str(self.port)]
        self.environ = {name: mounts.at(value) for name, value in environ.items()}
        self._home = Path(self.environ["TURNOUT_HOME"])
        self._home.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._log = self._home.parent / f"replica-{self.port}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def begin(self) -> None:
        """Starts it; `wait` returns when it is ready."""
        with self._log.open("ab") as said:
            self.process = subprocess.Popen(
                self._words,
                cwd=self._home,
                env={"PATH": os.defpath, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def wait(self) -> None:
        assert self.process is not None
        until = time.monotonic() + PATIENCE
        while not is_well(self.url + "/health/ready"):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.05)

    def start(self) -> None:
        self.begin()
        self.wait()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait_for_end(self, seconds: float) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@contextmanager
def redis_of(service: Mapping[str, Any], folder: Path) -> Iterator[RedisServer]:
    """The service's own command, on a free port."""
    server = RedisServer(folder, service["environment"]["REDIS_PASSWORD"])
    *shell, script = service["command"]
    assert shell == ["sh", "-c"]
    script += f" --port {server.port} --bind 127.0.0.1 --dir {folder}"
    path = f"{Path(redis_server.binary()).parent}:{os.defpath}"
    process = subprocess.Popen(
        [*shell, script],
        env={"PATH": path, **service["environment"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if server.ask("PING") == b"+PONG":
                    break
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        yield server
    finally:
        process.kill()
        process.wait()


class Nginx:
    """nginx with the deployment's own file; only addresses and writable places are others."""

    def __init__(self, folder: Path, replicas: Sequence[int]) -> None:
        folder.mkdir(exist_ok=True)
        self.port = lasting_port()
        self._folder = folder
        text = NGINX.read_text(encoding="utf-8")
        for name, port in zip(("turnout-1:8000", "turnout-2:8000"), replicas, strict=True):
            assert text.count(name) == 1
            text = text.replace(name, f"127.0.0.1:{port}")
        assert text.count("listen 8080;") == 1
        text = text.replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
        text = text.replace("/tmp/", f"{folder}/").replace("/dev/stdout", f"{folder}/access.log")
        text = text.replace("/dev/stderr", f"{folder}/error.log")
        self.path = folder / "nginx.conf"
        self.path.write_text(text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def errors(self) -> str:
        return (self._folder / "error.log").read_text()

    def lines(self) -> list[str]:
        return (self._folder / "access.log").read_text().splitlines()

    @contextmanager
    def running(self) -> Iterator["Nginx"]:
        service = compose(FULL)["services"]["nginx"]
        [mounted] = service["volumes"]
        here, inside, _ = mounted.split(":")
        assert ROOT / here == NGINX
        command = [str(self.path) if word == inside else word for word in service["command"]]
        assert command.pop(0) == "nginx"
        if os.geteuid() == 0:  # workers as the test's user, whose folder this is
            command[-1] += " user root;"
        process = subprocess.Popen([nginx_binary(), "-p", str(self._folder), *command])
        try:
            until = time.monotonic() + PATIENCE
            while not is_listening(self.port):
                assert process.poll() is None, "nginx has ended"
                assert time.monotonic() < until
                time.sleep(0.02)
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def is_listening(port: int) -> bool:
    """An error of HTTP's is an answer too."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).close()
    except HTTPError as told:
        told.close()
    except OSError:
        return False
    return True


FULL = {
    "TURNOUT_MASTER_KEY": "sk-turnout-master-of-the-walked-deployment",
    "TURNOUT_ENCRYPTION_KEY": "an-encryption-key-of-the-walked-deployment",
    "TURNOUT_JWT_SECRET": "a-jwt-secret-of-the-walked-deployment-0123456789",
    "TURNOUT_SERVICE_KEY": "a-service-key-of-the-walked-deployment",
    "POSTGRES_PASSWORD": PASSWORD,
    "REDIS_PASSWORD": "of-the-walked-redis",
    "TURNOUT_REDIS_TIMEOUT": "5s",  # this machine may be busy
    "OPENAI_API_KEY": "sk-of-the-fake-upstream",
}
"""A filled-in .env; the password is that of the tests' PostgreSQL."""


async def empty_database(name: str) -> None:
    """An empty database of that name on the tests' PostgreSQL."""
    connection = await asyncpg.connect(postgres().url("postgres"))
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


def database(name: str) -> None:
    asyncio.run(empty_database(name))


def on_loopback(value: str, redis_port: int) -> str:
    """A URL of compose.yaml's with the addresses of the tests' servers."""
    value = re.sub(r"@postgres:5432/", f"@127.0.0.1:{postgres().port}/", value)
    return re.sub(r"@redis:6379/", f"@127.0.0.1:{redis_port}/", value)


def replica_of(service: Mapping[str, Any], home: Path, redis_port: int) -> Replica:
    """A service of compose.yaml: its command, its environment, its mounts."""
    pairs = []
    for volume in service["volumes"]:
        source, inside = volume.split(":")[:2]
        pairs.append((inside, str(home if source == "home" else ROOT / source)))
    environ = {
        name: on_loopback(value, redis_port) for name, value in service["environment"].items()
    }
    return Replica(service["command"], environ, Mounts(tuple(pairs)))
