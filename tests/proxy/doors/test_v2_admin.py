"""The system's keys: who may set them, and that none is ever shown."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from proxy.config import load
from proxy.doors.api import Asked, fault_at, validated
from proxy.doors.v2_admin import SystemKeyBody, SystemKeyStatus, V2AdminDoor
from proxy.errors import Conflict, NotFound, Unprocessable
from proxy.own_keys import OwnKeyRow
from proxy.types import Principal, Role
from tests.e2e.gateway import MASTER, Gateway, running

CONFIG = """
auth: {master_key: "${TURNOUT_MASTER_KEY}"}
providers:
  written: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-0123456789-0123456-wxyz}
  named: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NAMED_KEY}"}
  dark: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NO_SUCH_KEY}"}
  open: {dialect: ollama, base_url: "http://127.0.0.1:9"}
  local: {dialect: llamacpp, model: smollm2}
"""
ENVIRON = {"TURNOUT_MASTER_KEY": MASTER, "NAMED_KEY": "sk-9876543210-9876543210-stuv"}
PATH = "/v2/admin/llm-keys"
SECRET = "sk-abcdefghijkl-abcdefghijkl-1234"


class Kept:
    """The store of keys, as far as it is asked here."""

    def __init__(self) -> None:
        self.saved: dict[tuple[str, str], tuple[str, SecretStr]] = {}

    async def save(
        self, user_id: str, provider: str, base_url: str, secret: SecretStr
    ) -> OwnKeyRow:
        self.saved[user_id, provider] = (base_url, secret)
        return OwnKeyRow(provider, "sk-…1234", 1, 1)

    async def remove(self, user_id: str, provider: str | None) -> int:
        assert provider is not None
        return int(self.saved.pop((user_id, provider), None) is not None)

    async def list(self, user_id: str) -> Sequence[OwnKeyRow]:
        return [OwnKeyRow(p, "sk-…1234", 1, 1) for owner, p in self.saved if owner == user_id]


class Set:
    """A door over such a store."""

    def __init__(self, folder: Path) -> None:
        path = folder / "config.yaml"
        path.write_text(CONFIG)
        config = load(path, ENVIRON)

        class Snapshot:
            pass

        snapshot: Any = Snapshot()
        snapshot.config = config
        self.kept = Kept()
        api: Any = None
        self.door = V2AdminDoor(
            api, lambda: snapshot, lambda: self.kept, lambda name: name == "named"
        )


@pytest.fixture
def keys(tmp_path: Path) -> Set:
    return Set(tmp_path)


def asked(provider: str = "", secret: str = SECRET) -> Asked:
    request = Request({"type": "http", "path_params": {"provider": provider}})
    return Asked(Principal(Role.ADMIN), request, SystemKeyBody(api_key=SecretStr(secret)), None)


async def shown(keys: Set) -> dict[str, SystemKeyStatus]:
    return {status.provider: status for status in await keys.door._statuses()}


async def test_what_is_set_and_whence(keys: Set) -> None:
    assert [status.model_dump() for status in (await shown(keys)).values()] == [
        {
            "provider": "written",
            "is_set": True,
            "masked_key": "sk-…wxyz",
            "source": "file",
            "is_enabled": True,
        },
        {
            "provider": "named",
            "is_set": True,
            "masked_key": "sk-…stuv",
            "source": "environment",
            "is_enabled": True,
        },
        {
            "provider": "dark",
            "is_set": False,
            "masked_key": None,
            "source": "none",
            "is_enabled": False,
        },
        {
            "provider": "open",
            "is_set": False,
            "masked_key": None,
            "source": "none",
            "is_enabled": True,
        },
        {
            "provider": "local",
            "is_set": False,
            "masked_key": None,
            "source": "none",
            "is_enabled": True,
        },
    ]


async def test_a_key_that_is_set_here_comes_first(keys: Set) -> None:
    answer = await keys.door.save(asked("written"))
    assert SECRET.encode() not in answer.body
    [(owner, (base_url, secret))] = keys.kept.saved.items()
    assert owner == ("system:", "written")
    assert (base_url, secret.get_secret_value()) == ("http://127.0.0.1:9/v1", SECRET)
    status = (await shown(keys))["written"]
    assert (status.source, status.masked_key) == ("api", "sk-…1234")
    assert (await keys.door.remove(asked("written"))).status_code == 204
    assert (await shown(keys))["written"].source == "file"


async def test_what_can_not_be_removed(keys: Set) -> None:
    with pytest.raises(Conflict):
        await keys.door.remove(asked("named"))
    with pytest.raises(NotFound):
        await keys.door.remove(asked("dark"))
    for handler in (keys.door.save, keys.door.remove):
        with pytest.raises(NotFound):
            await handler(asked("nobody"))
    with pytest.raises(Unprocessable):
        await keys.door.save(asked("local"))
    assert keys.kept.saved == {}


@pytest.mark.parametrize("wrong", ["", "   ", "a\nb", "ключ", "x" * 4097, None, 7])
def test_what_is_no_key(wrong: Any) -> None:
    with pytest.raises(Unprocessable) as raised:
        validated(SystemKeyBody, {"api_key": wrong}, fault_at(PATH))
    assert raised.value.param == "api_key"
    assert not str(wrong or "").strip() or str(wrong) not in raised.value.message


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG, ENVIRON) as gateway:
        yield gateway


async def test_only_admins(gateway: Gateway) -> None:
    answer = await gateway.call("GET", f"{PATH}/")
    names = [status["provider"] for status in answer.json]
    assert names == ["written", "named", "dark", "open", "local"]
    assert b"0123456789" not in answer.body
    for method, path in (("GET", PATH), ("PUT", f"{PATH}/dark"), ("DELETE", f"{PATH}/dark")):
        body = {"api_key": SECRET} if method == "PUT" else None
        answer = await gateway.call(method, path, body, key=gateway.key)
        assert answer.error == (403, "permission_error", "forbidden"), path


async def test_over_http(gateway: Gateway) -> None:
    answer = await gateway.call("PUT", f"{PATH}/dark", {"api_key": SECRET})
    assert answer.status == 200, answer.body
    assert SECRET.encode() not in answer.body
    assert (answer.json["is_set"], answer.json["source"]) == (True, "api")
    assert (await gateway.call("DELETE", f"{PATH}/dark")).status == 204
    assert (await gateway.call("DELETE", f"{PATH}/dark")).status == 404
    answer = await gateway.call("PUT", f"{PATH}/dark", {"api_key": "", "x": 1})
    assert answer.status == 422
