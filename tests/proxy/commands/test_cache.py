"""`turnout cache` against a real server."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.__main__ import main
from proxy.commands.cache import FileError, Server, ServerError, _url, read_prompts
from proxy.config import load
from tests.e2e.gateway import MASTER, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
server: {{port: {port}}}
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
pricing: {{overrides: {{"*/*": {{input: 1, output: 10}}}}}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k}}
tasks:
  t: {{targets: [up/m]}}
"""


@pytest.fixture(autouse=True)
def _master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_MASTER_KEY", MASTER)


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url, port=8000)) as gateway:
        yield gateway


async def turnout(*args: str) -> int:
    """The command's exit code; it blocks, so it has a thread of its own."""
    return await asyncio.to_thread(main, ["cache", *args])


async def test_warm_report_and_purge(
    gateway: Gateway, tmp_path: Path, up: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--url", gateway.url)
    (tmp_path / "faq.txt").write_text("How high?\n\n  How deep?\nHow high?\n")
    options = ("--model", "up/m", "--concurrency", "1")
    assert await turnout("warm", "faq.txt", *options, *at) == 0
    said = capsys.readouterr()
    assert said.out == "2 stored, 1 hit, 0 not_kept, 0 failed, 0.000078 USD\n"
    assert "warming: 100%" in said.err
    assert "3/3" in said.err
    asked = [received.json["messages"] for received in up.log]
    words = ["How high?", "How deep?"]
    assert asked == [[{"role": "user", "content": text}] for text in words]

    assert await turnout("report", "--format", "json", *at) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["stored"], found["hits"]["exact"], found["entries"]) == (2, 1, 2)
    assert await turnout("report", "--days", "7", *at) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hits,", "exact", "1"] in lines
    assert ["hit", "rate", "33.3%"] in lines
    assert ["saved", "USD", "0.000039"] in lines
    assert ["answers", "kept", "now", "2"] in lines
    assert ["requests,", "7", "days,", "all", "processes", "0"] in lines
    assert ["new", "2"] in lines

    assert await turnout("purge", "--task", "t", *at) == 0
    assert capsys.readouterr().out == "0 answers dropped\n"
    assert await turnout("purge", "--pattern", "llm:cache:-:*", "--epoch", "", *at) == 0
    assert capsys.readouterr().out == "2 answers dropped\n"
    assert await turnout("purge", "--all", *at) == 0
    assert capsys.readouterr().out == "0 answers dropped\n"


async def test_as_a_key_or_a_user(gateway: Gateway, tmp_path: Path) -> None:
    made = (await gateway.call("POST", "/api/v1/keys", {"user_id": "u"})).json
    keys = {("--key", made["id"]): "a", ("--user", "u"): "b"}
    for owner, text in keys.items():
        (tmp_path / "p.jsonl").write_text(f'{{"prompt": "{text}", "system": "s"}}\n')
        assert await turnout("warm", "p.jsonl", "--task", "t", *owner, "--url", gateway.url) == 0
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": text}]
        headers = {"authorization": f"Bearer {made['key']}"}
        answer = await gateway.post({"model": "task/t", "messages": messages}, headers=headers)
        assert answer.headers["x-turnout-cache"].startswith("hit")


async def test_more_prompts_than_one_request_takes(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "many").write_text("\n".join(f"prompt {n}" for n in range(1002)))
    options = ("--model", "up/m", "--concurrency", "32", "--url", gateway.url)
    assert await turnout("warm", "many", *options) == 0
    assert capsys.readouterr().out.startswith("1,002 stored, 0 hit,")


async def test_prompts_that_fail_are_told(
    gateway: Gateway, tmp_path: Path, up: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    up.on(lambda got: fake.error_reply(400) if b'"b"' in got.body else None)
    (tmp_path / "p").write_text("a\nb\n")
    assert await turnout("warm", "p", "--model", "up/m", "--url", gateway.url) == 1
    said = capsys.readouterr()
    assert said.out == "1 stored, 0 hit, 0 not_kept, 1 failed, 0.000039 USD\n"
    assert "1 failed: " in said.err


async def test_what_the_server_refuses_is_said(
    gateway: Gateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "p").write_text("a\n")
    assert await turnout("warm", "p", "--model", "no/m", "--url", gateway.url) == 1
    assert "'no/m' does not exist" in capsys.readouterr().err
    assert await turnout("report", "--days", "0", "--url", gateway.url) == 1
    assert "'days': input should be greater than or equal to 1" in capsys.readouterr().err
    monkeypatch.setenv("TURNOUT_MASTER_KEY", "sk-another-master-key-of-this-test")
    assert await turnout("report", "--url", gateway.url) == 1
    err = capsys.readouterr().err
    assert "has another master key" in err
    assert "sk-another" not in err


def test_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (tmp_path / "config.yaml").write_text(CONFIG.format(url="http://127.0.0.1:1", port=port))
        assert main(["cache", "report"]) == 1
    err = capsys.readouterr().err
    assert f"no Turnout answers at http://127.0.0.1:{port}" in err
    assert "turnout serve" in err
    assert "--url" in err


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """Something on a port that answers once with `raw` and closes."""

    def serve() -> None:
        peer, _ = listening.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(raw)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"HTTP/1.1 404 X\r\nContent-Length: 5\r\n\r\n<p>no", "is no Turnout: status 404"),
        (
            b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "is no Turnout: status 302",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "no Turnout answers at"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", "broke off"),
    ],
)
def test_something_else_answers(
    raw: bytes, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with answering(raw) as url:
        assert main(["cache", "report", "--url", url]) == 1
    assert said in capsys.readouterr().err


def test_a_server_that_breaks_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = b'{"index":0,"status":"stored","cost_usd":0.5,"done":1,"total":2}\n'
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    (tmp_path / "p").write_text("a\nb\n")
    for end in (b"", b"0\r\n\r\n"):
        with answering(head + b"%x\r\n%b\r\n" % (len(line), line) + end) as url:
            assert main(["cache", "warm", "p", "--model", "m", "--url", url]) == 1
        assert "broke off" in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["--all", "--task", "t"]])
def test_what_to_purge_has_to_be_said(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "purge", "--url", "http://127.0.0.1:1", *args]) == 1
    assert "--all for everything" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "x", "http://"])
def test_a_url_that_can_not_be(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "report", "--url", url]) == 1
    assert "--url is an http or https URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("'::'", "http://[::1]:8000"),
        ("gateway.example", "http://gateway.example:8000"),
    ],
)
def test_where_the_configured_server_is(host: str, url: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"server: {{host: {host}}}\nproviders: {{}}\n")
    assert _url(load(path, {})) == url


def test_a_port_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("server: {port: 0}\nproviders: {}\n")
    with pytest.raises(ServerError, match="--url"):
        _url(load(path, {}))


def test_a_server_does_not_show_its_key() -> None:
    assert repr(Server("http://x", "secret")) == "Server(url='http://x')"


# Files of prompts.


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        ("a.txt", "one\r\n two \n\n", ["one", "two"]),
        ("a.txt", '"quoted"\nplain\u2028still\n', ['"quoted"', "plain\u2028still"]),
        ("a.jsonl", '"one"\n{"prompt": "two"}\n', ["one", {"prompt": "two"}]),
        ("a", '\ufeff{"messages": []}\n\n"two"', [{"messages": []}, "two"]),
    ],
)
def test_prompts(name: str, text: str, prompts: list[Any], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_prompts(str(tmp_path / name)) == prompts


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("a.jsonl", b'"a"\n\nplain\n', r"a\.jsonl:3: not valid JSON"),
        ("a", b'{"prompt": "a"}\nplain\n', r"a:2: not valid JSON"),
        ("a", b"\n \n", "has no prompts"),
        ("a", b"\xff\xfe", "is not a text in UTF-8"),
    ],
)
def test_files_that_are_none(name: str, raw: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(FileError, match=said):
        read_prompts(str(tmp_path / name))


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "warm", "nowhere", "--model", "m"]) == 1
    assert "nowhere" in capsys.readouterr().err
