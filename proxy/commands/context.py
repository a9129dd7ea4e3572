"""What commands share: the configuration, the home folder, and the database, opened."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config import Config, find, load
from proxy.home import Home
from proxy.keys import KeyStore
from proxy.storage.engine import open_database
from proxy.vault import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """An open database under its configuration."""

    config: Config
    home: Home
    engine: AsyncEngine

    @property
    def encryption_key(self) -> SecretStr:
        """The secret that the server opens its vault with."""
        return self.config.auth.encryption_key or self.home.secret("encryption_key")

    async def vault(self) -> Vault:
        """The server's vault. Raises `StorageError` when the encryption key is the wrong one."""
        return await Vault.open(self.engine, self.encryption_key)

    async def keys(self) -> KeyStore:
        """The virtual keys, digested as the server does it. Raises `StorageError`."""
        vault = await self.vault()
        return KeyStore(self.engine, vault.digest_key)


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
