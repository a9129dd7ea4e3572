"""What commands share: the configuration, the home folder, and the database, opened."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config import Config, find, load
from proxy.home import Home, digest_key
from proxy.keys import KeyStore
from proxy.storage.engine import open_database


@dataclass(frozen=True, slots=True)
class Context:
    """An open database under its configuration."""

    config: Config
    home: Home
    engine: AsyncEngine

    def keys(self) -> KeyStore:
        """The virtual keys, digested under the secret that the server uses too."""
        sealing = self.config.auth.encryption_key or self.home.secret("encryption_key")
        return KeyStore(self.engine, digest_key(sealing))


@asynccontextmanager
async def opened(given: str | None) -> AsyncIterator[Context]:
    """The context of a command. Raises `ConfigError`, `StorageError`, `OSError`."""
    config = load(find(given, os.environ, Path.cwd()), os.environ)
    home = Home.find(os.environ)
    engine = await open_database(config.storage.database, home.path)
    try:
        yield Context(config, home, engine)
    finally:
        await engine.dispose()
