"""The command itself: what a newcomer sees, and what survives when it is killed."""

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import orjson

from tests.fakes.upstream import Upstream

SERVE = [sys.executable, "-m", "proxy", "serve", "--port", "0"]


class Served:
    """A `turnout serve` in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", lines: list[str]) -> None:
        self.process = process
        self.printed = "\n".join(lines)
        found = re.search(r"base URL: (\S+)", self.printed)
        assert found, self.printed
        self.base_url = found.group(1)

    @property
    def export(self) -> "re.Match[str]":
        found = re.search(
            r"^export OPENAI_BASE_URL=(\S+) OPENAI_API_KEY=(\S+)$", self.printed, re.MULTILINE
        )
        assert found, self.printed
        return found


def environ(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return kept | {"TURNOUT_HOME": str(home), "PYTHONUNBUFFERED": "1"}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [*SERVE, *options],
        cwd=folder,
        env=environ(folder / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if "base URL:" in line:
                first = "key:" not in (follows := process.stdout.readline())
                lines.append(follows.rstrip())
                if "shown this once" in follows:
                    lines += [process.stdout.readline().rstrip() for _ in range(2)]
                assert not first
                break
        yield Served(process, lines)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def turnout(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "proxy", *args],
        cwd=folder,
        env=environ(folder / "home"),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_start_makes_what_is_needed_and_prints_the_line_to_paste(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        base_url, key = served.export.groups()
        assert base_url == served.base_url
        with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
            assert "local/smollm2" in [model.id for model in client.models.list()]
    home = tmp_path / "home"
    assert stat.S_IMODE((home / "master_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert key.encode() not in (home / "turnout.db").read_bytes()
    with serving(tmp_path) as again:
        assert "export" not in again.printed


def config(folder: Path, up: Upstream) -> None:
    (folder / "config.yaml").write_text(
        "cache: {enabled: false}\n"
        f'providers: {{up: {{dialect: openai, base_url: "{up.base_url}", api_key: k}}}}\n'
    )


async def test_kill_9_keeps_keys_and_rows(tmp_path: Path, up: Upstream) -> None:
    config(tmp_path, up)
    chat = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
    with serving(tmp_path) as served:
        _, key = served.export.groups()
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
            for _ in range(3):
                reply = await client.post(served.base_url + "/chat/completions", json=chat)
                assert reply.status_code == 200
        for _ in range(100):
            shown = orjson.loads(turnout(tmp_path, "usage", "--format", "json").stdout or "[]")
            if sum(row["requests"] for row in shown) == 3:
                break
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(5)
    with serving(tmp_path) as served:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
            reply = await client.post(served.base_url + "/chat/completions", json=chat)
            assert reply.status_code == 200
    shown = orjson.loads(turnout(tmp_path, "usage", "--format", "json").stdout)
    assert sum(row["requests"] for row in shown) == 4


async def test_keys_of_the_command_line_hold_in_a_running_server(
    tmp_path: Path, up: Upstream
) -> None:
    config(tmp_path, up)
    with serving(tmp_path) as served:
        made = orjson.loads(turnout(tmp_path, "keys", "create", "--name", "n", "--json").stdout)
        headers = {"authorization": f"Bearer {made['key']}"}
        async with httpx.AsyncClient(headers=headers) as client:
            url = served.base_url + "/models"
            assert (await client.get(url)).status_code == 200
            assert turnout(tmp_path, "keys", "revoke", made["id"]).returncode == 0
            for _ in range(40):
                if (await client.get(url)).status_code == 401:
                    break
                await asyncio.sleep(0.05)
            assert (await client.get(url)).status_code == 401


async def test_several_workers(tmp_path: Path, up: Upstream) -> None:
    config(tmp_path, up)
    with serving(tmp_path, "--workers", "2") as served:
        _, key = served.export.groups()
        chat = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
        transport = httpx.AsyncHTTPTransport(retries=20)
        async with httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"}, transport=transport, timeout=20
        ) as client:
            for _ in range(6):
                reply = await client.post(served.base_url + "/chat/completions", json=chat)
                assert reply.status_code == 200
    shown = orjson.loads(turnout(tmp_path, "usage", "--format", "json").stdout)
    assert sum(row["requests"] for row in shown) == 6


def test_a_bad_configuration_is_told_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  prot: 1\nmodels:\n  m: nowhere/x\n")
    done = turnout(tmp_path, "serve", "--port", "0")
    assert done.returncode == 1
    assert "config.yaml:2" in done.stderr
    assert "config.yaml:4" in done.stderr
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        port = served.base_url.rsplit(":", 1)[1].split("/")[0]
        done = turnout(tmp_path, "serve", "--port", port)
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_anonymous_is_refused_off_loopback(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("auth: {anonymous: true}\n")
    done = turnout(tmp_path, "serve", "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "anonymous" in done.stderr
