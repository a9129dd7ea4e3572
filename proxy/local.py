"""The embedded model: llama.cpp's own server, in this process, behind a key of its own.

The gateway talks to it over loopback with the client that it has for every provider, so that
streaming, cancelling and several requests at once are what they are everywhere: a client that
leaves closes the connection, and llama.cpp frees the slot.
"""

import asyncio
import logging
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from proxy.models import ModelError, is_pulled, known, path_of, pull

SLOTS = 4  # requests that are answered at once; more wait in llama.cpp's queue
QUIET = -1  # llama.cpp's verbosity: nothing on our streams

log = logging.getLogger("turnout.local")


class LocalModelUnavailable(Exception):
    """The model can't be served: why, and what to type."""


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """Where a loaded model listens."""

    base_url: str
    api_key: SecretStr


class LocalModels:
    """Owner of the embedded servers, one a model, loaded at first use."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loading: dict[str, asyncio.Future[LocalEndpoint]] = {}
        self._servers: list[Any] = []

    async def ready(self, name: str) -> LocalEndpoint:
        """Where `name` listens, once it is loaded. Raises `LocalModelUnavailable`.

        However many ask, it is loaded once; a caller that leaves does not stop it.
        """
        loading = self._loading.get(name)
        if loading is None or (loading.done() and _failed(loading)):
            loading = asyncio.ensure_future(asyncio.to_thread(self._load, name))
            self._loading[name] = loading
        return await asyncio.shield(loading)

    async def close(self) -> None:
        """Stops the servers; waits for one that is being loaded."""
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        self._loading.clear()
        await asyncio.to_thread(self._servers.clear)

    def _load(self, name: str) -> LocalEndpoint:
        """In a thread: fetching and loading both block."""
        try:
            model = known(name)
            if not is_pulled(self._home, model):
                pull(self._home, name)
        except ModelError as error:
            raise LocalModelUnavailable(str(error)) from None
        began = time.monotonic()
        print(f"loading {name} …", end=" ", file=sys.stderr, flush=True)
        key = secrets.token_urlsafe(32)
        server = _serve(path_of(self._home, model), name, model.context, key)
        self._servers.append(server)
        print(f"ready in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        return LocalEndpoint(f"{server.listening_address}/v1", SecretStr(key))


def _failed(loading: "asyncio.Future[LocalEndpoint]") -> bool:
    return loading.cancelled() or loading.exception() is not None


def _serve(path: Path, name: str, context: int, key: str) -> Any:
    """llama.cpp's server on a free port of loopback.

    xllamacpp weighs 100 MB and is an extra: this is the one place that imports it.
    """
    try:
        import xllamacpp
    except ImportError:
        message = "the embedded model needs an extra; type: pip install 'turnout[local]'"
        raise LocalModelUnavailable(message) from None
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = context
    params.n_parallel = SLOTS
    params.kv_unified = True  # one context that the slots share, instead of a quarter each
    params.cpuparams.n_threads = os.cpu_count() or 1
    params.cache_ram_mib = 0
    params.verbosity = QUIET
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise LocalModelUnavailable(f"llama.cpp could not load {name}: {error}") from None
