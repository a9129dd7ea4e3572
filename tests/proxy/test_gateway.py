"""What lives as long as the process: it is made when it starts, and gone when it ends."""

import asyncio
from pathlib import Path

import pytest

from proxy.config import load
from proxy.gateway import Gateway
from proxy.home import Home
from proxy.vault import WrongEncryptionKey
from tests.e2e.gateway import one_upstream, running
from tests.fakes.upstream import Upstream

CONFIG = one_upstream("http://127.0.0.1:9/v1")
CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "x"}]}


def made(folder: Path, environ: dict[str, str] | None = None) -> Gateway:
    path = folder / "config.yaml"
    path.write_text(CONFIG + "\n")
    return Gateway(lambda: load(path, environ or {}), Home(folder / "home"), waits=False)


async def test_nothing_is_left_when_it_ends(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    gateway = made(tmp_path)
    async with gateway.running(None):  # type: ignore[arg-type]
        assert gateway.live.is_on
        assert gateway.keys.known() == []
        assert len(asyncio.all_tasks()) > len(before)
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == before


async def test_a_wrong_encryption_key_is_refused_at_the_start(tmp_path: Path) -> None:
    gateway = made(tmp_path)
    async with gateway.running(None):  # type: ignore[arg-type]
        pass
    (tmp_path / "home" / "encryption_key").write_text("another")
    with pytest.raises(WrongEncryptionKey):
        async with made(tmp_path).running(None):  # type: ignore[arg-type]
            pass


async def test_a_user_s_budget_holds_from_the_start(tmp_path: Path) -> None:
    """What was spent before the process began counts."""
    async with Upstream() as up:
        text = one_upstream(
            up.base_url,
            'pricing: {overrides: {"up/*": {input: 0, output: 1000}}}',
        )
        async with running(tmp_path, text) as gateway:
            budget = {"budget": {"amount": 0.004, "per": "month"}}
            user = {"email": "a@x.test", "password": "correct horse", "limits": budget}
            made = await gateway.call("POST", "/api/v1/users", user)
            assert made.status == 201, made.body
            key = await gateway.call("POST", "/api/v1/keys", {"user_id": made.json["id"]})
            gateway.key = key.json["key"]
            assert (await gateway.post(CHAT | {"max_tokens": 3})).status == 200
            await gateway.rows(1)
        async with running(tmp_path, text) as gateway:
            gateway.key = key.json["key"]
            refused = await gateway.post(CHAT | {"max_tokens": 3})
            assert refused.error == (429, "insufficient_quota", "budget_exceeded")
