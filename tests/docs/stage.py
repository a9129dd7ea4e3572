"""What the blocks of the documents are run against: one gateway, started by its own command, over
one scripted upstream that is every provider they name."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.docs.blocks import ROOT
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

MASTER = "sk-turnout-master-of-the-documents-tests"
SERVICE = "service-key-of-the-documents-tests"
ALERT_SECRET = "secret-of-the-documents-webhook"

PROVIDERS = ("up", "openai", "anthropic", "groq", "openrouter", "local")
CONFIG = """\
auth: {{master_key: {master}, service_keys: [{service}]}}
providers:
{providers}
models:
  fast: [openai/gpt-4o-mini, up/m-1]
  openai/gpt-oss-20b: [groq/openai/gpt-oss-20b, openrouter/openai/gpt-oss-20b]
tasks:
  scoring: {{targets: [openai/gpt-4o-mini], defaults: {{temperature: 0.3}}}}
  support: {{targets: [openai/gpt-4o-mini]}}
pricing: {{overrides: {{"*": {{input: 1, output: 10}}}}}}
alerts: {{webhook: "{hook}", secret: {secret}, thresholds: [50%, 80%, 100%], every: 1s}}
"""
FREE = "    base_url: {url}\n    api_key: k\n    dialect: openai\n    priority: {priority}\n"


@contextmanager
def upstream() -> Iterator[Upstream]:
    """The upstream, in a loop and a thread of its own: the tests wait for processes."""
    ready = threading.Event()
    ended = asyncio.Event()
    made: list[tuple[Upstream, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with Upstream() as up:
            up.on(answer)
            made.append((up, asyncio.get_running_loop()))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield made[0][0]
    finally:
        made[0][1].call_soon_threadsafe(ended.set)
        thread.join(10)


def answer(received: Received) -> Script | None:
    """What the usual script lacks: the receiver of alerts."""
    return fake.json_reply({}) if received.path == "/hook" else None


@dataclass
class Served:
    """A `turnout serve`, and what it printed."""

    process: "subprocess.Popen[str]"
    printed: str

    @property
    def url(self) -> str:
        found = re.search(r"base URL: (\S+)/v1$", self.printed, re.MULTILINE)
        assert found, self.printed
        return found[1]

    @property
    def first_key(self) -> str | None:
        found = re.search(r"OPENAI_API_KEY=(\S+)$", self.printed, re.MULTILINE)
        return found and found[1]

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


def serve(folder: Path, environ: Mapping[str, str], *options: str) -> Served:
    """Starts the command and waits until it serves. Raises `AssertionError` with what it said
    when it does not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "serve", *options, "--port", "0"],
        cwd=folder,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("export OPENAI_BASE_URL=") or "API key:  one you have" in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()  # keeps it flowing
            return Served(process, "".join(lines))
    process.wait(5)
    raise AssertionError(f"turnout serve ended with {process.returncode}:\n{''.join(lines)}")


def bare_environ() -> dict[str, str]:
    """This process's environment without anybody's keys or settings."""
    dropped = ("TURNOUT_", "OPENAI_", "ANTHROPIC_", "PYTEST_", "COV_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) and not name.endswith(("_API_KEY", "_TOKEN"))
    } | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@dataclass
class Stage:
    """The running gateway, its upstream, and a key of each kind."""

    url: str
    folder: Path
    up: Upstream
    http: httpx.Client
    key: str = ""
    key_id: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """What a block finds in its environment."""
        return bare_environ() | {
            "URL": self.url,
            "KEY": self.key,
            "MASTER_KEY": MASTER,
            "SERVICE_KEY": SERVICE,
            "OPENAI_BASE_URL": self.url + "/v1",
            "OPENAI_API_KEY": self.key,
            "TURNOUT_HOME": str(self.folder / "home"),
            "TURNOUT_CONFIG": str(self.folder / "config.yaml"),
        }

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call with the master key."""
        return self.http.request(method, path, json=body)

    def make_key(self, **fields: Any) -> tuple[str, str]:
        """(secret, id) of another virtual key."""
        made = self.call("POST", "/api/v1/keys", {"name": "documents", **fields})
        assert made.status_code == 201, made.text
        return made.json()["key"], made.json()["id"]

    def hooked(self, seconds: float = 15.0) -> Received:
        """The first event that the webhook was told."""
        for _ in range(int(seconds / 0.1)):
            for received in list(self.up.log):
                if received.path == "/hook":
                    return received
            time.sleep(0.1)
        raise AssertionError("the webhook was told nothing")


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """The stage in `folder`, gone at the end."""
    with upstream() as up:
        (folder / "config.yaml").write_text(_config(up.base_url))
        environ = bare_environ() | {"TURNOUT_HOME": str(folder / "home")}
        served = serve(folder, environ)
        try:
            headers = {"authorization": f"Bearer {MASTER}"}
            with httpx.Client(base_url=served.url, headers=headers, timeout=30) as http:
                stage = Stage(served.url, folder, up, http)
                stage.key, stage.key_id = stage.make_key()
                yield stage
        finally:
            served.end()


def _config(url: str) -> str:
    entries = [
        f"  {name}:\n" + FREE.format(url=url, priority=20 if name == "up" else 10)
        for name in PROVIDERS
    ]
    return CONFIG.format(
        master=MASTER,
        service=SERVICE,
        secret=ALERT_SECRET,
        hook=url.removesuffix("/v1") + "/hook",
        providers="".join(entries).replace("  up:\n", "  up:\n    models: [m-1, m-2]\n"),
    )
