"""What the command itself writes to stderr."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_serve import SERVE, environ

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "a secret prompt"}]}


@pytest.mark.parametrize("workers", [1, 2])
def test_json_lines(tmp_path: Path, workers: int) -> None:
    (tmp_path / "config.yaml").write_text(
        f"server: {{access_log: true, workers: {workers}}}\n"
        "retry: {attempts: 1}\n"
        'providers: {up: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: k}}\n'
        "telemetry: {logs: {format: json}}\n"
    )
    with subprocess.Popen(
        SERVE,
        cwd=tmp_path,
        env=environ(tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        base_url = key = ""
        for out in process.stdout:
            if out.startswith("export "):
                base_url, key = (part.partition("=")[2] for part in out.split()[1:])
                break
        with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=20) as client:
            answer = client.post(base_url + "/chat/completions", json=CHAT)
            assert answer.status_code == 502
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    lines = [json.loads(each) for each in err.splitlines()]
    (access,) = [each for each in lines if each["logger"] == "turnout.access"]
    duration = access.pop("duration_ms")
    assert duration > 0
    assert access.pop("ts").endswith("Z")
    assert access == {
        "level": "info",
        "logger": "turnout.access",
        "message": "request",
        "request_id": answer.headers["x-request-id"].removeprefix("req_"),
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 502,
    }
    assert "secret" not in err


def test_an_environment_that_says_neither(tmp_path: Path) -> None:
    given = environ(tmp_path / "home") | {"TURNOUT_LOG_FORMAT": "xml"}
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--port", "0"],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "environment: TURNOUT_LOG_FORMAT: must be text or json\n"
