"""Cells and lines of an export; `test_usage` has the whole of it."""

import asyncio
import csv
import io
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.doors.export import exported, usd_text
from proxy.ledger.analytics import Chosen
from proxy.ledger.books import Books
from tests.proxy.ledger.synthetic import request

NOW = 1_776_772_800_123


async def body(engine: AsyncEngine, form: str, **row: Any) -> str:
    """The export of one row."""
    await Books(engine).write([request(f"{NOW << 80:032x}", NOW, **row)], [])
    sent: list[bytes] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    chosen = Chosen(3650, {})
    await exported(engine, chosen, form)({"type": "http"}, _never, send)  # type: ignore[arg-type]
    return b"".join(sent).decode()


async def _never() -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize(
    "column",
    ["user_id", "service_name", "job_id", "task_type", "key_id", "provider_name", "model",
     "endpoint", "usage_source", "error_message"],
)  # fmt: skip
async def test_no_cell_is_a_formula(engine: AsyncEngine, column: str, start: str) -> None:
    text = await body(engine, "csv", **{column: start + "HYPERLINK(1)"})
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row[column] == "'" + start + "HYPERLINK(1)"


async def test_numbers_are_left_alone(engine: AsyncEngine) -> None:
    """A minus before a number is no formula."""
    text = await body(engine, "csv", cost_nanousd=-1_500_000_000, model="a=b", error_message="")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["cost_usd"], row["model"], row["error_message"]) == ("-1.5", "a=b", "")


async def test_json_is_as_it_was(engine: AsyncEngine) -> None:
    text = await body(engine, "jsonl", user_id="=1+1", metadata='{"a":[1,"\u2028é"]}')
    assert text.endswith("\n")
    (line,) = text.removesuffix("\n").split("\n")
    row = orjson.loads(line)
    assert (row["user_id"], row["metadata"]) == ("=1+1", {"a": [1, "\u2028é"]})
    assert row["created_at"] == "2026-04-21T12:00:00.123Z"


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, None),
        (0, "0.0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10**9, "1.0"),
        (1_234_567_890, "1.23456789"),
        (-1_500_000_000, "-1.5"),
    ],
)
def test_money(nano: int | None, text: str | None) -> None:
    assert usd_text(nano) == text
