"""Usage under `/api/v1/usage`: who may read what, in which words, and exports of any size."""

import asyncio
import csv
import io
import time
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import httpx
import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from proxy.auth import Authenticator
from proxy.config_types import PricingSection
from proxy.doors.usage import UsageDoor
from proxy.errors import Unprocessable
from proxy.keys import KeyStore, NewKey
from proxy.ledger.books import Books
from proxy.live import Live
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.types import Principal, Role
from tests.proxy.ledger.synthetic import many, request

MASTER, SERVICE = "master-secret", "service-secret"
DAY = 86_400_000

EXPORTED = [
    "request_id", "created_at", "user_id", "service_name", "job_id", "task_type", "key_id",
    "provider_name", "model", "endpoint", "status_code", "input_tokens", "cached_tokens",
    "output_tokens", "reasoning_tokens", "usage_source", "cost_usd", "saved_usd", "duration_ms",
    "first_token_ms", "attempts", "cached", "error_message", "metadata",
]  # fmt: skip


@dataclass
class Door:
    """The door over real books, behind the layers that answer errors and name requests."""

    app: ASGIApp
    books: Books
    key: NewKey
    config: SimpleNamespace

    async def get(self, path: str, as_: str = MASTER, **query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {as_}"} if as_ else {}
        if as_ == SERVICE:
            headers = {"x-service-key": SERVICE}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(f"/api/v1/usage/{path}", headers=headers, params=query)

    async def json(self, path: str, as_: str = MASTER, **query: Any) -> Any:
        answer = await self.get(path, as_, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


class People(Authenticator):
    """Knows the users ann and bob, too, by the tokens of their names."""

    async def identify_at(self, method: str, headers: Mapping[bytes, bytes]) -> Principal:
        for name in ("ann", "bob"):
            if headers.get(b"authorization") == f"Bearer {name}".encode():
                return Principal(Role.USER, None, name)
        return await super().identify_at(method, headers)


@pytest.fixture
async def door(engine: AsyncEngine) -> Door:
    keys = KeyStore(engine, b"d" * 32)
    key = await keys.create()
    auth = People(keys, SecretStr(MASTER), [SecretStr(SERVICE)], anonymous=True)
    config = SimpleNamespace(pricing=PricingSection())
    live = cast("Live", SimpleNamespace(current=SimpleNamespace(auth=auth, config=config)))
    app = Starlette(routes=UsageDoor(live, lambda: engine).routes())
    return Door(RequestId(Errors(app.router)), Books(engine), key, config)


def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
async def filled(door: Door) -> Door:
    """Three requests of two customers: the first by the door's key."""
    at = now() - 60_000
    common: dict[str, Any] = {"provider_name": "up", "model": "m", "duration_ms": 100}
    common |= {"input_tokens": 10, "output_tokens": 5, "cost_nanousd": 1_500_000}
    rows = [
        request(f"{at << 80 | 1:032x}", at, **common, key_id=door.key.id, user_id="ann"),
        request(f"{at << 80 | 2:032x}", at, **common, service_name="web", user_id="ann"),
        request(
            f"{at << 80 | 3:032x}",
            at + 1,
            **common
            | {"cost_nanousd": None, "outcome": "failed", "status_code": 502, "model": "n"},
            user_id="bob",
            task_type="chat",
            cached=True,
            reasoning_tokens=2,
            first_token_ms=40,
            error_message='it "broke",\nat once',
            metadata='{"team":"a"}',
        ),
    ]
    await door.books.write(rows, [])
    return door


async def test_the_summary(filled: Door) -> None:
    assert await filled.json("summary") == {
        "period_days": 30,
        "total_requests": 3,
        "total_cost_usd": 0.003,
        "total_tokens": 45,
        "cached_requests": 1,
        "error_requests": 1,
        "error_rate": 1 / 3,
        "cache_hit_rate": 1 / 3,
        "saved_usd": 0.0,
        "input_tokens": 30,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 15,
        "reasoning_tokens": 2,
        "images": 0,
        "avg_latency_ms": 100.0,
        "avg_first_token_ms": 40.0,
        "p50_latency_ms": 108.5,  # the middle of 87 … 130
        "p95_latency_ms": 122.8,
        "p99_latency_ms": 122.8,
    }


async def test_empty_books(door: Door) -> None:
    found = await door.json("summary", days=365)
    assert (found["period_days"], found["total_requests"], found["cache_hit_rate"]) == (365, 0, 0)
    assert await door.json("by-provider") == []
    assert await door.json("requests") == {"data": [], "has_more": False, "next_cursor": None}
    assert (await door.get("export")).content == b""
    assert (await door.get("export", format="csv")).text.split("\r\n") == [",".join(EXPORTED), ""]


@pytest.mark.parametrize(
    ("path", "name", "groups"),
    [
        ("by-provider", "provider_name", {"up": 3}),
        ("by-model", "model", {"m": 2, "n": 1}),
        ("by-service", "service_name", {None: 2, "web": 1}),
        ("by-customer", "user_id", {"ann": 2, "bob": 1}),
        ("by-task", "task_type", {None: 2, "chat": 1}),
    ],
)
async def test_groups(filled: Door, path: str, name: str, groups: dict[str, int]) -> None:
    found = await filled.json(path)
    assert {entry[name]: entry["request_count"] for entry in found} == groups
    assert {"total_cost_usd", "avg_latency_ms", "total_tokens"} <= set(found[0])
    assert sum(entry["total_cost_usd"] for entry in found) == 0.003
    assert len(await filled.json(path, limit=1)) == 1


async def test_a_key_reads_its_own(filled: Door) -> None:
    own = filled.key.secret
    assert (await filled.json("summary", own))["total_requests"] == 1
    for path in ("by-provider", "by-model", "by-service", "by-customer", "by-task", "by-key"):
        assert [entry["request_count"] for entry in await filled.json(path, own)] == [1], path
    assert (await filled.json("by-key", own))[0]["key_id"] == filled.key.id
    assert sum(day["request_count"] for day in await filled.json("daily", own)) == 1
    for query in ({}, {"user": "ann"}, {"key": filled.key.id}):
        found = await filled.json("requests", own, **query)
        assert [row["key_id"] for row in found["data"]] == [filled.key.id]
    assert (await filled.json("requests", own, key="key_other"))["data"] == []
    assert (await filled.json("requests", own, user="bob"))["data"] == []
    for form in ("jsonl", "csv"):
        text = (await filled.get("export", own, format=form)).text
        assert text.count("req_") == 1
        assert "bob" not in text


PATHS = ("by-provider", "by-model", "by-service", "by-customer", "by-task", "by-key", "daily")


async def test_a_user_reads_the_own(filled: Door) -> None:
    """Of three requests two are ann's, one of them by a key."""
    assert (await filled.json("summary", "ann"))["total_requests"] == 2
    assert (await filled.json("summary", "bob"))["total_requests"] == 1
    for path in PATHS:
        assert sum(e["request_count"] for e in await filled.json(path, "ann")) == 2, path
    assert [e["user_id"] for e in await filled.json("by-customer", "ann")] == ["ann"]
    groups = await filled.json("by-key", "ann")
    assert {e["key_id"]: e["request_count"] for e in groups} == {filled.key.id: 1, None: 1}
    groups = await filled.json("by-service", "ann", user_id="ann")
    assert {e["service_name"]: e["request_count"] for e in groups} == {None: 1, "web": 1}
    for query in ({}, {"user": "ann"}, {"user_id": "ann"}):
        found = await filled.json("requests", "ann", **query)
        assert [row["user_id"] for row in found["data"]] == ["ann", "ann"]
    assert (await filled.json("requests", "ann", user="bob"))["data"] == []
    assert "bob" not in (await filled.get("export", "ann", format="csv")).text


@pytest.mark.parametrize("path", ["summary", *PATHS, "requests", "export"])
async def test_somebody_elses_is_not_there(filled: Door, path: str) -> None:
    for as_, query in (
        ("ann", {"user_id": "bob"}),
        ("ann", {"key_id": filled.key.id}),  # it is nobody's
        ("ann", {"key_id": "key_none"}),
        (filled.key.secret, {"user_id": "ann"}),
        (filled.key.secret, {"key_id": "key_none"}),
    ):
        refused = await filled.get(path, as_, **query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("as_", [MASTER, SERVICE])
async def test_who_reads_all_may_name_somebody(filled: Door, as_: str) -> None:
    assert (await filled.json("summary", as_, user_id="ann"))["total_requests"] == 2
    assert (await filled.json("summary", as_, key_id=filled.key.id))["total_requests"] == 1
    assert (await filled.json("summary", as_, user_id="nobody"))["total_requests"] == 0
    (group,) = await filled.json("by-model", as_, user_id="bob")
    assert (group["model"], group["error_rate"], group["p50_latency_ms"]) == ("n", 1.0, 108.5)
    assert len((await filled.json("requests", as_, user_id="ann"))["data"]) == 2
    both = await filled.get("summary", as_, user_id="ann", key_id="k")
    assert (both.status_code, both.json()["error"]["param"]) == (422, "key_id")


async def test_money_in_another_currency(filled: Door) -> None:
    plain = await filled.json("summary")
    assert {"currency", "total_cost", "saved"}.isdisjoint(plain)
    filled.config.pricing = PricingSection(currency="CAD", rates={"CAD": 1.37})
    found = await filled.json("summary")
    assert found == plain | {"currency": "CAD", "total_cost": 0.00411, "saved": 0.0}
    first = (await filled.json("by-model"))[0]
    assert (first["total_cost_usd"], first["total_cost"], first["currency"]) == (
        0.003,
        0.00411,
        "CAD",
    )
    assert {day["currency"] for day in await filled.json("daily")} == {"CAD"}


async def test_who_may_read(filled: Door) -> None:
    paths = ("summary", "by-key", "daily", "requests", "export")
    for path in paths:
        assert (await filled.get(path, SERVICE)).status_code == 200
        refused = await filled.get(path, "")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        unknown = await filled.get(path, "sk-turnout-nobody", days="x")
        assert unknown.status_code in (401, 403)
    assert (await filled.json("summary", SERVICE))["total_requests"] == 3


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("summary", {"days": "0"}, "days"),
        ("summary", {"days": "366"}, "days"),
        ("summary", {"days": "x"}, "days"),
        ("by-provider", {"days": "-1"}, "days"),
        ("daily", {"days": "1.5"}, "days"),
        ("daily", {"days": "٣"}, "days"),
        ("by-customer", {"limit": "501"}, "limit"),
        ("by-customer", {"limit": "0"}, "limit"),
        ("requests", {"limit": ""}, "limit"),
        ("requests", {"outcome": "good"}, "outcome"),
        ("requests", {"cursor": "next"}, "cursor"),
        ("requests", {"user": "a\0"}, "user"),
        ("requests", {"days": "9" * 30}, "days"),
        ("summary", {"days": "+5"}, "days"),
        ("summary", {"user_id": ""}, "user_id"),
        ("daily", {"key_id": "a\0"}, "key_id"),
        ("export", {"format": "xml"}, "format"),
        ("export", {"days": "3651"}, "days"),
        ("export", {"model": "\0"}, "model"),
    ],
)
async def test_values_that_can_not_be(
    door: Door, path: str, query: dict[str, str], field: str
) -> None:
    answer = await door.get(path, **query)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (422, field, "invalid_value")
    assert error["type"] == "invalid_request_error"
    assert Unprocessable.status == 422


async def test_days(filled: Door) -> None:
    found = await filled.json("daily", days=3)
    assert len(found) == 4
    assert [entry["date"] for entry in found] == sorted(entry["date"] for entry in found)
    assert [entry["request_count"] for entry in found[:2]] == [0, 0]
    assert sum(entry["request_count"] for entry in found) == 3


async def test_pages(filled: Door) -> None:
    first = await filled.json("requests", limit=2)
    assert (len(first["data"]), first["has_more"]) == (2, True)
    second = await filled.json("requests", limit=2, cursor=first["next_cursor"])
    assert (second["has_more"], second["next_cursor"]) == (False, None)
    rows = first["data"] + second["data"]
    assert [row["user_id"] for row in rows] == ["bob", "ann", "ann"]
    assert rows[0]["outcome"] == "failed"
    assert set(EXPORTED) < set(rows[0])
    for query, count in (
        ({"outcome": "ok"}, 2),
        ({"model": "n"}, 1),
        ({"service": ""}, 2),
        ({"service": "web", "user": "ann"}, 1),
    ):
        assert len((await filled.json("requests", **query))["data"]) == count


async def test_an_export_has_the_columns_of_the_contract(filled: Door) -> None:
    answer = await filled.get("export", format="jsonl", days=2)
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [orjson.loads(line) for line in answer.content.splitlines()]
    assert [list(row) for row in rows] == [EXPORTED] * 3
    assert [row["cost_usd"] for row in rows] == [0.0015, 0.0015, None]
    assert b'"cost_usd":0.0015,' in answer.content
    last = rows[2]
    assert last["request_id"].startswith("req_")
    assert last["metadata"] == {"team": "a"}
    assert (last["cached"], last["first_token_ms"], last["saved_usd"]) == (True, 40, 0)
    assert last["created_at"].endswith("Z")
    parsed = time.strptime(last["created_at"][:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.time() - 60 - time.mktime(parsed) + time.timezone) < 30


async def test_the_same_as_csv(filled: Door) -> None:
    answer = await filled.get("export", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == EXPORTED
    assert [row["cost_usd"] for row in rows] == ["0.0015", "0.0015", ""]
    assert rows[2]["error_message"] == 'it "broke",\nat once'
    assert (rows[2]["metadata"], rows[2]["cached"]) == ('{"team":"a"}', "true")


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, b"0.0"),
        (1, b"0.000000001"),
        (1_234_567_890, b"1.23456789"),
        (10**10, b"10.0"),
        (-1_500_000_000, b"-1.5"),
        (123_456_789_012_345_678, b"123456789.012345678"),
    ],
)
async def test_money_is_exact(door: Door, nano: int, shown: bytes) -> None:
    at = now()
    await door.books.write([request(f"{at << 80:032x}", at, cost_nanousd=min(nano, 10**13))], [])
    content = (await door.get("export")).content
    wanted = shown if nano <= 10**13 else b"10000.0"
    assert b'"cost_usd":' + wanted + b"," in content


async def load(books: Books, count: int) -> None:
    end = now()
    rows = list(many(count, end - 5 * DAY, end))
    for start in range(0, count, 10_000):
        await books.write(rows[start : start + 10_000], [])


def _scope(query: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/usage/export",
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {MASTER}".encode())],
    }


async def take(app: ASGIApp, query: str, leave_after: int | None = None) -> AsyncIterator[bytes]:
    """The chunks of an export, one at a time, as a slow client takes them."""
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(2)
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif not gone.is_set():
            while chunks.qsize() and not gone.is_set():
                await asyncio.sleep(0)
            if message["body"] and not gone.is_set():
                chunks.put_nowait(message["body"])

    running = asyncio.ensure_future(app(_scope(query), receive, send))
    running.add_done_callback(lambda _: gone.is_set() or chunks.put_nowait(None))
    taken = 0
    while (chunk := await chunks.get()) is not None:
        yield chunk
        taken += 1
        if taken == leave_after:
            gone.set()
            break
    await asyncio.wait_for(running, 5)


async def test_fifty_thousand_rows_in_little_memory(door: Door) -> None:
    await load(door.books, 50_000)
    for form in ("jsonl", "csv"):
        await export_in_little_memory(door, form)


async def export_in_little_memory(door: Door, form: str) -> None:
    async for _ in take(door.app, f"format={form}", leave_after=3):
        pass  # what is made once is no part of it
    tracemalloc.start()
    lines = size = 0
    async for chunk in take(door.app, f"format={form}"):
        lines += chunk.count(b"\n")
        size += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == 50_000 + (form == "csv")
    assert size > 8_000_000
    assert peak < 6_000_000


async def test_a_client_that_leaves_ends_the_export(door: Door, engine: AsyncEngine) -> None:
    await load(door.books, 5000)
    asked: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    chunks = [chunk async for chunk in take(door.app, "", leave_after=2)]
    assert len(chunks) == 2
    pages = [statement for statement in asked if "FROM requests" in statement]
    assert len(pages) <= 4


async def test_an_export_that_breaks_has_no_end(door: Door, engine: AsyncEngine) -> None:
    """What is cut off must not look complete."""
    await load(door.books, 1500)
    ends: list[Message] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            ends.append(message)
            async with engine.begin() as connection:
                await connection.exec_driver_sql("DROP TABLE IF EXISTS requests")

    with pytest.raises(SQLAlchemyError):
        await door.app(_scope(""), asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert [message["more_body"] for message in ends] == [True]


async def test_summaries_of_a_key_do_not_read_others(filled: Door) -> None:
    """The rows of another are neither counted nor shown, whatever is asked for."""
    for query in ({"key": "key_other"}, {"user": "bob"}, {"model": "n"}):
        assert (await filled.get("export", filled.key.secret, **query)).content == b""
