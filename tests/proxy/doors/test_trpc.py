"""tRPC's protocol: envelopes, batches, methods, superjson, and what can't be read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import pytest

from proxy.batches import Batch
from proxy.client import Heard
from proxy.doors.openapi import document, operations
from proxy.doors.trpc import Kind, Procedure, TrpcDoor, departure_of, gathered
from proxy.doors.trpc_analytics import Days, RouterSummary
from proxy.doors.trpc_figures import LedgerFigures
from proxy.errors import InvalidRequest
from proxy.types import Role
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k}}
tasks:
  simple: {{targets: [up/m]}}
"""
CHAT = {"taskType": "simple", "messages": [{"role": "user", "content": "x"}]}
STATUS, METRICS = "llmAnalytics.circuitBreakerStatus", "llmAnalytics.cacheMetrics"
SUMMARY = "llmAnalytics.summary"
NO_METRICS = {"hits": 0, "misses": 0, "hitRate": 0.0, "estimatedSavingsUSD": 0.0}
CLOSED = {"state": "CLOSED", "failureCount": 0, "successCount": 0, "nextAttemptTime": None}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        yield gateway


async def ask(gateway: Gateway, method: str, path: str, body: Any = None, key: str = "") -> Answer:
    """`body` is bytes or JSON."""
    raw = body if isinstance(body, bytes | None) else orjson.dumps(body)
    headers = {"authorization": f"Bearer {key or gateway.key}"}
    url = f"{gateway.url}/api/trpc/{path}"
    async with gateway.session.request(method, url, data=raw, headers=headers) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read())


def told(said: Any) -> tuple[int, int, str, str]:
    """An error: number, status, name, path."""
    error = said["error"]
    return error["code"], *(error["data"][name] for name in ("httpStatus", "code", "path"))


@pytest.mark.parametrize(
    "query",
    [
        "?input=" + quote('{"days":30}'),
        "?days=30",
        "?input=" + quote('{"json":{"days":30}}'),
        "?days=30&unknown=x",
    ],
)
async def test_a_query_in_each_way(gateway: Gateway, query: str) -> None:
    answer = await ask(gateway, "GET", SUMMARY + query)
    data = answer.json["result"]["data"]
    assert len(data.get("json", data)["dailyUsage"]) == 31
    assert ("json" in data) == ("json" in query)


@pytest.mark.parametrize("query", ["", "?input=", "?input=null", "?input=%7B%7D", "/"])
async def test_a_query_without_input(gateway: Gateway, query: str) -> None:
    answer = await ask(gateway, "GET", METRICS + query)
    if query == "?input=":
        assert told(answer.json) == (-32700, 400, "PARSE_ERROR", METRICS)
        return
    assert answer.json == {"result": {"data": NO_METRICS}}
    assert answer.headers["content-type"] == "application/json"


async def test_a_mutation_bare_and_in_superjsons_envelope(gateway: Gateway) -> None:
    bare = await ask(gateway, "POST", "llm.complete", CHAT)
    assert bare.json["result"]["data"]["content"] == "Hello there"
    wrapped = await ask(gateway, "POST", "llm.complete", {"json": CHAT})
    assert set(wrapped.json["result"]["data"]) == {"json"}
    assert wrapped.json["result"]["data"]["json"]["content"] == "Hello there"
    wrong = await ask(gateway, "POST", "llm.complete", {"json": CHAT | {"messages": []}})
    assert wrong.status == 400
    assert set(wrong.json["error"]) == {"json"}
    assert told({"error": wrong.json["error"]["json"]}) == (
        -32600,
        400,
        "BAD_REQUEST",
        "llm.complete",
    )
    unknown = await ask(gateway, "POST", "llm.complete", {"json": None})
    assert unknown.json["error"]["json"]["data"]["param"] == "taskType"


async def test_what_superjson_says_was_undefined_is_left_out(gateway: Gateway) -> None:
    path = "llmAnalytics.cacheInvalidate"
    meta = {"values": {"pattern": ["undefined"]}, "v": 1}
    undefined = {"json": {"pattern": None}, "meta": meta}
    done = await ask(gateway, "POST", path, undefined, MASTER)
    assert done.json == {"result": {"data": {"json": {"invalidated": 0}}}}
    null = await ask(gateway, "POST", path, {"json": {"pattern": None}}, MASTER)
    assert null.status == 400
    nothing = {"json": None, "meta": {"values": ["undefined"]}}
    assert (await ask(gateway, "POST", path, nothing, MASTER)).status == 200


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"json":', b"NaN"])
async def test_what_is_no_json(gateway: Gateway, body: bytes) -> None:
    answer = await ask(gateway, "POST", "llm.complete", body)
    assert told(answer.json) == (-32700, 400, "PARSE_ERROR", "llm.complete")
    assert answer.json["error"]["data"]["turnoutCode"] == "invalid_json"
    assert "not valid JSON" in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [[], 5, "x", {"json": []}, {"json": 5, "meta": {}}])
async def test_what_is_no_object(gateway: Gateway, body: Any) -> None:
    answer = await ask(gateway, "POST", "llm.complete", body)
    shape = answer.json["error"]
    assert answer.status == 400
    assert shape.get("json", shape)["message"] == "the input must be an object"


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("POST", STATUS, (-32005, 405, "METHOD_NOT_SUPPORTED", STATUS)),
        ("GET", "llm.complete", (-32005, 405, "METHOD_NOT_SUPPORTED", "llm.complete")),
        ("GET", "llm.nothing", (-32004, 404, "NOT_FOUND", "llm.nothing")),
        ("POST", "llm", (-32004, 404, "NOT_FOUND", "llm")),
        ("POST", "llm.complete/x", (-32004, 404, "NOT_FOUND", "llm.complete/x")),
        ("GET", f"{STATUS},{STATUS}", (-32004, 404, "NOT_FOUND", f"{STATUS},{STATUS}")),
        ("PUT", "llm.complete", (-32005, 405, "METHOD_NOT_SUPPORTED", "llm.complete")),
    ],
)
async def test_wrong_paths_and_methods(
    gateway: Gateway, method: str, path: str, error: tuple[int, int, str, str]
) -> None:
    answer = await ask(gateway, method, path, {} if method == "POST" else None)
    assert told(answer.json) == error
    assert answer.status == error[1]
    if method == "GET" and path == "llm.complete":
        assert answer.headers["allow"] == "POST"
        message = 'Unsupported GET-request to mutation procedure at path "llm.complete"'
        assert answer.json["error"]["message"] == message


async def test_nobody_learns_anything(gateway: Gateway) -> None:
    for method, path, body in (
        ("GET", "llm.nothing", None),
        ("POST", "llm.complete", {"json": 5}),
        ("POST", "llm.complete", b"{"),
        ("GET", STATUS, None),
    ):
        answer = await ask(gateway, method, path, body, "sk-wrong")
        assert answer.status == 401
        assert (await ask(gateway, "HEAD", path, None, "sk-wrong")).status == 401
    many = await ask(gateway, "GET", f"{STATUS},llm.nothing?batch=1", None, "sk-wrong")
    assert many.status == 401
    assert [told(each)[1:] for each in many.json] == [
        (401, "UNAUTHORIZED", STATUS),
        (401, "UNAUTHORIZED", "llm.nothing"),
    ]


async def test_nobody_is_read_before_they_are_known(gateway: Gateway) -> None:
    """The body never comes to its end: the answer does not wait for it."""
    at = urlsplit(gateway.url)
    head = "POST /api/trpc/{} HTTP/1.1\r\nhost: t\r\ncontent-length: 18000000\r\n\r\n"
    for path, keys in (
        ("llm.complete", [{"message", "code", "data"}]),
        ("llm.complete?input=" + quote('{"json":{}}'), [{"json"}]),
        ("llm.complete,llm.x?batch=1", [{"message", "code", "data"}] * 2),
    ):
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(head.format(path).encode() + b"[" * 1000)
        async with asyncio.timeout(5):
            headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
            said = orjson.loads(await reader.readexactly(length))
        writer.close()
        assert headers.startswith("http/1.1 401 ")
        assert [set(each["error"]) for each in (said if "batch" in path else [said])] == keys


async def test_head_has_nothing_to_say(gateway: Gateway) -> None:
    answer = await ask(gateway, "HEAD", STATUS)
    assert (answer.status, answer.body) == (204, b"")


# Several calls.


async def test_queries_of_a_batch_in_order(gateway: Gateway) -> None:
    given = quote(orjson.dumps({"0": {"days": 1}, "2": {"json": {}}}).decode())
    path = f"{SUMMARY},{STATUS},{METRICS}?batch=1&input={given}"
    answer = await ask(gateway, "GET", path)
    assert answer.status == 200
    first, second, third = answer.json
    assert len(first["result"]["data"]["dailyUsage"]) == 2
    assert second == {"result": {"data": {"up": CLOSED}}}
    assert third == {"result": {"data": {"json": NO_METRICS}}}


async def test_a_batch_of_one_is_a_list(gateway: Gateway) -> None:
    answer = await ask(gateway, "GET", f"{STATUS}?batch=1")
    assert answer.json == [{"result": {"data": {"up": CLOSED}}}]
    wrong = await ask(gateway, "GET", "llm.nothing?batch=1")
    assert (wrong.status, told(wrong.json[0])[1]) == (404, 404)
    chat = await ask(gateway, "POST", "llm.complete?batch=1", {"0": CHAT})
    [row] = await gateway.rows()
    assert chat.json[0]["result"]["data"]["metadata"]["requestId"] == f"req_{row['id']}"
    assert chat.headers["x-request-id"] == f"req_{row['id']}"


async def test_chats_of_a_batch_have_rows_of_their_own(gateway: Gateway, up: Upstream) -> None:
    def match(received: fake.Received) -> fake.Script:
        text = received.json["messages"][0]["content"]
        return fake.error_reply(400, "no") if text == "b" else fake.chat_reply(text.upper())

    up.on(match)
    chats = {
        str(place): CHAT | {"messages": [{"role": "user", "content": text}]}
        for place, text in enumerate("abc")
    }
    path = ",".join(["llm.complete"] * 3) + "?batch=1"
    answer = await ask(gateway, "POST", path, chats)
    assert answer.status == 207
    assert [
        each["result"]["data"]["content"] if "result" in each else told(each)
        for each in answer.json
    ] == ["A", (-32600, 400, "BAD_REQUEST", "llm.complete"), "C"]
    rows = await gateway.rows(3)
    assert sorted(row["status_code"] for row in rows) == [200, 200, 400]
    assert all(row["task_type"] == "simple" and row["key_id"] for row in rows)
    told_ids = {answer.json[place]["result"]["data"]["metadata"]["requestId"] for place in (0, 2)}
    assert len(told_ids) == 2


async def test_errors_that_agree_are_the_status_of_all(gateway: Gateway) -> None:
    same = await ask(gateway, "GET", "llm.a,llm.b?batch=1")
    assert (same.status, [told(each)[3] for each in same.json]) == (404, ["llm.a", "llm.b"])
    mixed = await ask(gateway, "GET", f"llm.a,llm.complete,{STATUS}?batch=1")
    assert mixed.status == 207
    assert [told(each)[1] for each in mixed.json[:2]] == [404, 405]
    assert mixed.json[2] == {"result": {"data": {"up": CLOSED}}}


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"{", "PARSE_ERROR"), (b"[]", "BAD_REQUEST"), (b"5", "BAD_REQUEST")],
)
async def test_a_batch_that_cannot_be_read(gateway: Gateway, body: bytes, name: str) -> None:
    path = "llm.complete,llm.complete?batch=1"
    answer = await ask(gateway, "POST", path, body)
    assert answer.status == 400
    assert [told(each)[2] for each in answer.json] == [name, name]


async def test_a_batch_that_is_too_long(gateway: Gateway) -> None:
    fits = await ask(gateway, "GET", ",".join([STATUS] * 100) + "?batch=1")
    assert (fits.status, len(fits.json)) == (200, 100)
    answer = await ask(gateway, "GET", ",".join([STATUS] * 101) + "?batch=1")
    assert answer.status == 400
    assert told(answer.json[0])[2] == "BAD_REQUEST"


async def test_a_fault_of_ours_in_one_leaves_the_others(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(LedgerFigures, "daily", broken)
    answer = await ask(gateway, "GET", f"{SUMMARY},{STATUS}?batch=1")
    assert answer.status == 207
    assert told(answer.json[0]) == (-32603, 500, "INTERNAL_SERVER_ERROR", SUMMARY)
    assert answer.json[1] == {"result": {"data": {"up": CLOSED}}}
    assert b"secret detail" not in answer.body
    alone = await ask(gateway, "GET", SUMMARY)
    assert told(alone.json) == (-32603, 500, "INTERNAL_SERVER_ERROR", SUMMARY)
    assert b"secret detail" not in alone.body
    assert caplog.text.count("RuntimeError: secret detail") == 2


async def test_the_error_of_a_chat_is_on_the_books(gateway: Gateway, up: Upstream) -> None:
    up.script(fake.error_reply(400, "too long"))
    for body in (CHAT, {"json": CHAT}):
        assert (await ask(gateway, "POST", "llm.complete", body)).status == 400
    for row in await gateway.rows(2):
        assert row["status_code"] == 400
        assert "too long" in row["error_message"]


async def test_it_may_be_asked_again_when(gateway: Gateway, up: Upstream) -> None:
    up.script(fake.error_reply(429, headers={"retry-after": "7"}))
    answer = await ask(gateway, "POST", "llm.complete", CHAT)
    assert told(answer.json) == (-32029, 429, "TOO_MANY_REQUESTS", "llm.complete")
    assert answer.headers["retry-after"] == "7"


# The parts.


class Line:
    """A connection that a test ends."""

    is_lost = False
    is_full = False
    on_lost: Any = None

    def abort(self) -> None:
        pass


async def test_every_batch_hears_that_the_client_left() -> None:
    begun: list[int] = []
    line = Line()

    async def job(client: Heard) -> str:
        begun.append(1)
        while not client.gone:
            await asyncio.sleep(0.001)
        raise InvalidRequest("left")

    with departure_of(line) as departure:
        batches = [gathered(Batch([job] * 3, 1), departure) for _ in range(2)]
        working = asyncio.ensure_future(asyncio.gather(*batches))
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        line.on_lost()
        found = await working
    assert line.on_lost is None
    assert len(begun) == 2, "one of each was under way, and nothing more was begun"
    assert [[type(each).__name__ for each in each_batch] for each_batch in found] == [
        ["InvalidRequest", "Internal", "Internal"]
    ] * 2


async def test_a_client_that_has_left_before_is_heard_too() -> None:
    line = Line()
    line.is_lost = True

    async def job(client: Heard) -> str:
        raise AssertionError("it was begun")

    with departure_of(line) as departure:
        [found] = await gathered(Batch([job], 1), departure)
    assert type(found).__name__ == "Internal"


def test_the_document_has_each_procedure() -> None:
    async def handler(_: Any) -> Any:
        return None

    roles = frozenset({Role.USER})
    summary = Procedure(SUMMARY, Kind.QUERY, handler, roles, "Sums", Days, RouterSummary)
    door = TrpcDoor(SimpleNamespace(), [summary])  # type: ignore[arg-type]
    made = document(operations(door.routes()))
    said = made["paths"][f"/api/trpc/{SUMMARY}"]["get"]
    assert [each["name"] for each in said["parameters"]] == ["days"]
    assert said["x-roles"] == ["user"]
    text = orjson.dumps(made).decode()
    assert "totalCostCAD" in text
    assert '"result"' in text
