"""The embedded model: llama.cpp's own server in a process beside this one, behind a key of its own.

The gateway talks to it over loopback with the client that it has for every provider, so that
streaming, cancelling and several requests at once are what they are everywhere: a client that
leaves closes the connection, and llama.cpp frees the slot. `proxy.local_server` says why it has a
process of its own.
"""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from proxy.models import LocalModel, ModelError, is_pulled, known, path_of, pull

KEY = "TURNOUT_LOCAL_KEY"  # as `proxy.local_server` has it
LONGEST_LOAD = 120.0  # seconds
END = 2.0  # seconds that a server has to end by itself


class LocalModelUnavailable(Exception):
    """The model can't be served: why, and what to type."""


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """Where a loaded model listens."""

    base_url: str
    api_key: SecretStr


@dataclass(frozen=True, slots=True)
class _Running:
    process: asyncio.subprocess.Process
    endpoint: LocalEndpoint

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None


class LocalModels:
    """Owner of the embedded servers, one a model, started at first use."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._starting: dict[str, asyncio.Future[_Running]] = {}
        self._closing = threading.Event()

    async def ready(self, name: str) -> LocalEndpoint:
        """Where `name` listens, once it is loaded. Raises `LocalModelUnavailable`.

        However many ask, it is loaded once; a caller that leaves does not stop it. One that has
        crashed is started again.
        """
        starting = self._starting.get(name)
        if starting is None or (starting.done() and not _is_good(starting)):
            starting = asyncio.ensure_future(self._start(name))
            self._starting[name] = starting
        return (await asyncio.shield(starting)).endpoint

    async def close(self) -> None:
        """Ends the servers at once, also one that is being pulled or loaded."""
        self._closing.set()
        for starting in self._starting.values():
            starting.cancel()
        started = await asyncio.gather(*self._starting.values(), return_exceptions=True)
        self._starting.clear()
        for running in started:
            if isinstance(running, _Running):
                await _end(running.process)

    async def _start(self, name: str) -> _Running:
        if importlib.util.find_spec("xllamacpp") is None:
            message = "the embedded model needs an extra; type: pip install 'turnout[local]'"
            raise LocalModelUnavailable(message)
        try:
            model = known(name)
            if not is_pulled(self._home, model):
                await asyncio.to_thread(pull, self._home, name, self._closing)
        except ModelError as error:
            raise LocalModelUnavailable(str(error)) from None
        began = time.monotonic()
        print(f"loading {name} …", end=" ", file=sys.stderr, flush=True)
        running = await self._spawn(model)
        print(f"ready in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        return running

    async def _spawn(self, model: LocalModel) -> _Running:
        key = secrets.token_urlsafe(32)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder `proxy` where the gateway was started is not ours
            "-m",
            "proxy.local_server",
            str(path_of(self._home, model)),
            model.name,
            str(model.context),
            stdin=asyncio.subprocess.PIPE,  # held open: its end is the server's sign to end
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {KEY: key},
        )
        assert process.stdout is not None
        line = b""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_LOAD):
                    line = await process.stdout.readline()
        finally:
            if not line:
                await _kill(process)
        if not line:
            raise LocalModelUnavailable(
                f"llama.cpp could not load {model.name}; its words are above"
            )
        return _Running(process, LocalEndpoint(f"{line.decode().strip()}/v1", SecretStr(key)))


def _is_good(starting: "asyncio.Future[_Running]") -> bool:
    if starting.cancelled() or starting.exception() is not None:
        return False
    return starting.result().is_alive


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END):
            await process.wait()
    except TimeoutError:
        await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
