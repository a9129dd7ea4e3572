"""`turnout usage` in its three forms."""

import asyncio
import csv
from pathlib import Path

import orjson
import pytest

from proxy.__main__ import main
from proxy.ledger.books import Books
from proxy.ledger.writer import Writer
from proxy.storage.engine import open_database
from proxy.types import Principal, Record, Role
from tests.proxy.ledger.records import record


async def fill(home: Path, *more: Record) -> None:
    engine = await open_database("sqlite:///turnout.db", home)
    writer = Writer(Books(engine))
    await writer.start()
    for made in (record(), record(), record(model="other"), *more):
        writer.submit(made)
    await writer.stop()
    await engine.dispose()


def test_empty_books(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--days", "7"]) == 0
    assert "no requests in the last 7 days" in capsys.readouterr().out


def test_the_table_has_names_of_keys_and_hits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "create", "--name", "demo", "--json"]) == 0
    made = orjson.loads(capsys.readouterr().out)["id"]
    hit = record(principal=Principal(Role.KEY, made), cached=True)
    asyncio.run(fill(tmp_path / "home", hit, record(principal=Principal(Role.ADMIN))))
    assert main(["usage", "--by", "key"]) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split("  ")[-1].strip() == "avg ms"
    assert "  errors  hits  input  of it cached  output  " in head
    assert sorted(line.split()[:5] for line in lines) == [
        ["(none)", "1", "0", "0", "10"],
        ["demo", f"({made})", "1", "0", "1"],
        ["key_1", "3", "0", "0", "30"],
        ["total", "5", "0", "1", "50"],
    ]


def test_the_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").mkdir()
    asyncio.run(fill(tmp_path / "home"))
    assert main(["usage"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["m", "2"], ["other", "1"], ["total", "3"]]
    assert main(["usage", "--by", "key", "--format", "json"]) == 0
    (group,) = orjson.loads(capsys.readouterr().out)
    assert (group["key"], group["requests"], group["total_tokens"]) == ("key_1", 3, 45)
    assert group["cost_usd"] == 0.003
    assert main(["usage", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["model"], row["requests"]) for row in rows] == [("m", "2"), ("other", "1")]
