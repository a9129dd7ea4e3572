"""What is made through the API comes into the configuration in force."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config import load
from proxy.control import ControlPlane
from proxy.home import Home
from proxy.own_keys import SYSTEM
from proxy.registry import ProviderSpec
from proxy.signing import Signer
from proxy.upstream import Upstream
from proxy.vault import WrongEncryptionKey
from tests.servers import database, engine

__all__ = ["database", "engine"]

CONFIG = """
providers:
  up: {dialect: openai, base_url: "http://up.test/v1", api_key: "${NO_SUCH_KEY}"}
"""
URL = "http://up.test/v1"


async def plane(
    engine: AsyncEngine, stack: AsyncExitStack, folder: Path, key: str = "sealing"
) -> ControlPlane:
    async def start(work, what):  # type: ignore[no-untyped-def]
        await work()

    upstream = Upstream(Signer())
    return await ControlPlane.open(
        engine, SecretStr(key), Home(folder / "home"), upstream, start, stack
    )


async def test_providers_and_system_keys_are_merged(engine: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    config = load(path, {})
    async with AsyncExitStack() as stack:
        control = await plane(engine, stack, tmp_path)
        assert control.merged(config).providers["up"].off == "NO_SUCH_KEY is not set"
        changes: list[int] = []
        control.own_keys.on_system_change = lambda: changes.append(1)
        await control.own_keys.save("user_1", "up", URL, SecretStr("sk-theirs-1234567890"))
        assert control.merged(config).providers["up"].off, "a user's key is no system key"
        assert changes == []
        await control.own_keys.save(SYSTEM, "up", URL, SecretStr("sk-ours-12345678901"))
        merged = control.merged(config)
        assert merged.providers["up"].off is None
        assert [key.get_secret_value() for key in merged.providers["up"].keys] == [
            "sk-ours-12345678901"
        ]
        assert changes == [1]
        assert merged.version == config.version
        await control.own_keys.remove(SYSTEM, "up")
        assert control.merged(config).providers["up"].off
        assert config.providers["up"].off, "the file's own is left as it is"


async def test_a_system_key_that_was_saved_for_another_place(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    async with AsyncExitStack() as stack:
        control = await plane(engine, stack, tmp_path)
        await control.own_keys.save(
            SYSTEM, "up", "http://other.test/v1", SecretStr("sk-ours-12345678901")
        )
        provider = control.merged(load(path, {})).providers["up"]
        assert provider.off is not None
        assert "moved" in provider.off
        assert provider.lacks_key, "users may bring their own still"
        assert not provider.keys


async def test_a_wrong_encryption_key_starts_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await plane(engine, stack, tmp_path)
    async with AsyncExitStack() as stack:
        with pytest.raises(WrongEncryptionKey):
            await plane(engine, stack, tmp_path, "another")


def test_a_spec_is_what_the_door_makes() -> None:
    assert ProviderSpec._fields[0] == "name"
