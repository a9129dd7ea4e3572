"""Health: open, but for the providers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, one_upstream, running

DARK = """
  dark:
    {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NO_SUCH_KEY}", models: [a, b]}
"""
CONFIG = one_upstream("http://127.0.0.1:9/v1", DARK)


async def test_health_does_not_tell_strangers_what_is_in_the_file(tmp_path: Path) -> None:
    async with running(tmp_path, CONFIG) as gateway:
        gateway.config.write_text(CONFIG + "models: {internal-name: [no-such-provider/m]}\n")
        async with asyncio.timeout(20):
            while (error := (await said(gateway))["config"]["error"]) is None:
                await asyncio.sleep(0.05)
        assert error.startswith("config.yaml:")
        assert error.endswith(
            ": models: the file is not in force, and GET /api/v1/config and the log say why"
        )
        told = await gateway.call("GET", "/api/v1/config")
        assert "no-such-provider" in told.json["error"]


async def said(gateway: Gateway) -> Any:
    async with gateway.session.get(gateway.url + "/health") as reply:
        return await reply.json()


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_health_is_open(tmp_path: Path, prefix: str) -> None:
    async with running(tmp_path, CONFIG) as gateway:
        for path, keys in (
            ("/health", {"status", "service", "database", "ledger", "config"}),
            ("/health/live", {"status"}),
            ("/health/ready", {"status"}),
        ):
            async with gateway.session.get(gateway.url + prefix + path) as reply:
                assert reply.status == 200
                said = await reply.json()
                assert set(said) == keys
                assert said["status"] == "ok"
        async with gateway.session.get(gateway.url + prefix + "/health/providers") as reply:
            assert reply.status == 401
        found = await gateway.call("GET", prefix + "/health/providers", key=gateway.key)
        assert found.json == {
            "providers": [
                {"name": "up", "display_name": "up", "is_enabled": True, "models_count": 0},
                {"name": "dark", "display_name": "dark", "is_enabled": False, "models_count": 2},
            ]
        }
