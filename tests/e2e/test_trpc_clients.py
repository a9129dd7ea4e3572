"""tRPC's own clients, from npm, against a running gateway."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.gateway import MASTER, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

SCRIPT = Path(__file__).parents[1] / "suites" / "trpc_clients.mjs"
CACHE = Path(tempfile.gettempdir()) / "turnout-trpc-clients"
VERSIONS = {"v10": "10.45.4", "v11": "11.25.2"}

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  openrouter: {{dialect: openai, base_url: "{url}", api_key: k}}
"""
WRONG = {"name": "TRPCClientError", "number": -32600, "code": "BAD_REQUEST", "status": 400}
CLIENTS = [
    f"{version} {link} {kind}"
    for version in ("v10", "v11")
    for link in ("single", "batch")
    for kind in ("plain", "superjson")
]


def packages() -> Path:
    """The folder with a folder of packages for each version, or a skip that says what to type."""
    for name, version in VERSIONS.items():
        folder = CACHE / name
        command = ["npm", "install", "--prefix", str(folder), "--legacy-peer-deps", "--no-audit"]
        command += ["--no-fund", "--ignore-scripts"]
        command += [f"@trpc/client@{version}", f"@trpc/server@{version}", "superjson@2.2.6"]
        advice = f"tRPC's clients are missing; install Node.js and type: {' '.join(command)}"
        if shutil.which("npm") is None or shutil.which("node") is None:
            pytest.skip(advice)
        if (folder / "node_modules" / "superjson" / "package.json").is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"{advice}\n{done.stderr[-300:]}")
    return CACHE


async def walked(gateway: Gateway) -> dict[str, Any]:
    """What each client saw."""
    given = (str(packages()), gateway.url, gateway.key, MASTER)
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    node = await asyncio.create_subprocess_exec("node", str(SCRIPT), *given, **pipes)
    async with asyncio.timeout(60):
        out, err = await node.communicate()
    assert node.returncode == 0, err.decode()
    found: dict[str, Any] = orjson.loads(out)
    return found


def answered(received: Received) -> Script:
    return fake.chat_reply("85", usage=fake.count(10, 2))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    packages()
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        up.on(answered)
        yield gateway


async def test_the_real_clients(gateway: Gateway) -> None:
    every = await walked(gateway)
    assert list(every) == CLIENTS
    for client, found in every.items():
        _check_answers(client, found)
        _check_errors(client, found)
    rows = await gateway.rows(3 * len(CLIENTS))
    assert len(rows) == 3 * len(CLIENTS), "a row for each chat, in a batch or not"
    assert len({row["id"] for row in rows}) == len(rows)


def _check_answers(client: str, found: dict[str, Any]) -> None:
    assert found["complete"]["content"] == "85", client
    assert found["complete"]["usage"] == {
        "promptTokens": 10,
        "completionTokens": 2,
        "totalTokens": 12,
    }
    assert found["complete"]["metadata"]["taskType"] == "qualification"
    assert [each["content"] for each in found["batch"]] == ["85", "85"]
    assert len(found["summary"]["dailyUsage"]) == 31, client
    assert len(found["summaryOfAll"]["dailyUsage"]) == 8, client
    assert [day["day"] for day in found["forecast"]["dailyForecast"]] == [1, 2, 3]
    assert set(found["cacheMetrics"]) == {"hits", "misses", "hitRate", "estimatedSavingsUSD"}
    assert found["circuits"]["openrouter"]["state"] == "CLOSED"
    assert found["reset"] == {"success": True, "reset": 0}, client
    assert found["invalidated"] == {"invalidated": 0}, client


def _check_errors(client: str, found: dict[str, Any]) -> None:
    def seen(name: str) -> dict[str, Any]:
        return {field: value for field, value in found[name].items() if field != "message"}

    assert seen("unknownTask") == {**WRONG, "path": "llm.complete", "param": "taskType"}, client
    assert seen("wrongDays") == {**WRONG, "path": "llmAnalytics.summary", "param": "days"}, client
    for name, number, code, status, path in (
        ("forbidden", -32003, "FORBIDDEN", 403, "llmAnalytics.cacheInvalidate"),
        ("unknown", -32004, "NOT_FOUND", 404, "llm.nothing"),
        ("wrongKind", -32005, "METHOD_NOT_SUPPORTED", 405, "llm.complete"),
        ("stranger", -32001, "UNAUTHORIZED", 401, "llmAnalytics.cacheMetrics"),
    ):
        assert seen(name) == {
            "name": "TRPCClientError",
            "number": number,
            "code": code,
            "status": status,
            "path": path,
            "param": None,
        }, (client, name)
        assert found[name]["message"], (client, name)
