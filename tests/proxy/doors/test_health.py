"""Health: open, but for the providers."""

from pathlib import Path

import pytest

from tests.e2e.gateway import one_upstream, running

DARK = """
  dark:
    {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NO_SUCH_KEY}", models: [a, b]}
"""
CONFIG = one_upstream("http://127.0.0.1:9/v1", DARK)


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
