"""Warming the cache: what a body may ask, and whose answers are there afterwards.

The upstream's log is the oracle of what was asked; whose answers are kept is seen by asking again
as that caller.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.errors import InvalidRequest, Unprocessable
from proxy.warming import Status, Told, Wanted, read, summarise
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

WARM = "/api/v1/cache/warm"
CACHE = "x-turnout-cache"
CONFIG = """
server: {{max_requests: {most}}}
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
limits: {{rpm: 2}}
retry: {{attempts: 1}}
cache: {{max_bytes: {size}}}
pricing: {{overrides: {{"*/*": {{input: 0, output: 10}}}}}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [m, n]}}
tasks:
  brief: {{targets: [up/m], defaults: {{max_tokens: 5}}}}
  form: {{targets: [up/m], defaults: {{response_format: {{type: json_object}}}}}}
"""
COST = 3 * 10_000  # nano-dollars of the three tokens that the upstream answers with


def config(up: Upstream, most: int = 100, size: str = "64MiB") -> str:
    return CONFIG.format(url=up.base_url, most=most, size=size)


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, config(up)) as gateway:
        yield gateway


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in answer.body.splitlines()]


async def warm(gateway: Gateway, **body: Any) -> list[dict[str, Any]]:
    """The lines of a warm-up, its summary last."""
    return lines(await gateway.call("POST", WARM, body))


async def cached(gateway: Gateway, key: str, text: str, **over: Any) -> str:
    """What the cache says when somebody asks `text`."""
    body = {"model": "up/m", "messages": [{"role": "user", "content": text}]} | over
    headers = {"authorization": f"Bearer {key}"}
    answer = await gateway.post(body, headers=headers)
    assert answer.status == 200, answer.body
    return answer.headers[CACHE].partition(";")[0]


async def make_key(gateway: Gateway, **fields: Any) -> tuple[str, str]:
    """(id, key)."""
    made = await gateway.call("POST", "/api/v1/keys", {"limits": {"rpm": None}} | fields)
    assert made.status == 201, made.body
    return made.json["id"], made.json["key"]


def asked(up: Upstream) -> list[str]:
    """The last words of each request that went upstream."""
    return [received.json["messages"][-1]["content"] for received in up.log]


# What a body may ask.


def nothing(_: Mapping[str, Any]) -> None:
    """All is well."""


def test_prompts_become_chat_calls() -> None:
    messages = [{"role": "user", "content": "d"}]
    body = {
        "prompts": ["a", {"prompt": "b"}, {"prompt": "c", "system": "T"}, {"messages": messages}],
        "model": "m",
        "system": "S",
        "parameters": {"temperature": 0},
    }
    shared = {"model": "m", "temperature": 0}
    assert read(body, nothing) == Wanted(
        name="m",
        asked="model",
        bodies=(
            shared | {"messages": [said("system", "S"), said("user", "a")]},
            shared | {"messages": [said("system", "S"), said("user", "b")]},
            shared | {"messages": [said("system", "T"), said("user", "c")]},
            shared | {"messages": messages},
        ),
        key_id=None,
        user_id=None,
        concurrency=4,
        dry_run=False,
    )


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_task_of_a_user() -> None:
    body = {"prompts": ["a"], "task": "t", "user_id": "u", "concurrency": 32, "dry_run": True}
    wanted = read(body, nothing)
    assert wanted._replace(bodies=()) == Wanted("task/t", "task", (), None, "u", 32, True)
    assert wanted.bodies == ({"model": "task/t", "messages": [said("user", "a")]},)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"x": 1}, "x"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"task": "t"}, "task"),
        ({"prompts": None}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"prompts": "a"}, "prompts"),
        ({"prompts": ["a"] * 10_001}, "prompts"),
        ({"prompts": ["a", ""]}, "prompts[1]"),
        ({"prompts": [5]}, "prompts[0]"),
        ({"prompts": [{}]}, "prompts[0].prompt"),
        ({"prompts": [{"prompt": 5}]}, "prompts[0].prompt"),
        ({"prompts": [{"prompt": "a", "x": 1}]}, "prompts[0].x"),
        ({"prompts": [{"prompt": "a", "system": 1}]}, "prompts[0].system"),
        ({"prompts": [{"messages": [], "system": "s"}]}, "prompts[0].system"),
        ({"system": ["s"]}, "system"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {"stream": True}}, "parameters.stream"),
        ({"parameters": {"model": "n"}}, "parameters.model"),
        ({"parameters": {"messages": []}}, "parameters.messages"),
        ({"parameters": {"metadata": {}}}, "parameters.metadata"),
        ({"key_id": ""}, "key_id"),
        ({"user_id": 5}, "user_id"),
        ({"key_id": "k", "user_id": "u"}, "user_id"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 33}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"concurrency": 2.0}, "concurrency"),
        ({"dry_run": 1}, "dry_run"),
    ],
)
def test_what_is_at_fault_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        read({"prompts": ["a"], "model": "m"} | change, nothing)
    assert (caught.value.status, caught.value.param) == (422, field)
    assert field in caught.value.message


def test_without_a_name() -> None:
    with pytest.raises(Unprocessable) as caught:
        read({"prompts": ["a"]}, nothing)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("param", "field"),
    [("temperature", "parameters.temperature"), ("messages", "prompts[0].messages")],
)
def test_what_a_chat_call_may_not_say_is_named_by_its_place(param: str, field: str) -> None:
    def refuse(_: Mapping[str, Any]) -> None:
        raise InvalidRequest("it can't be", param=param)

    with pytest.raises(Unprocessable) as caught:
        read({"prompts": ["a"], "model": "m"}, refuse)
    assert (caught.value.param, caught.value.message) == (field, f"{field}: it can't be")


def test_what_can_not_be_written_again_is_no_prompt() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    with pytest.raises(Unprocessable) as caught:
        read({"prompts": [{"messages": deep}], "model": "m"}, nothing)
    assert caught.value.param == "prompts[0]"


def test_the_sums() -> None:
    told = [
        Told(0, Status.STORED, None, 5),
        Told(2, Status.STORED, None, None),
        Told(1, Status.FAILED, "x", 2),
    ]
    summary = summarise(4, told)
    assert (summary.total, summary.cost_nanousd) == (4, 7)
    counts = {"stored": 2, "hit": 0, "not_kept": 0, "failed": 1, "planned": 0}
    assert summary.counts == counts


# Whose answers these are.


async def test_by_default_they_are_the_callers_own(gateway: Gateway, up: Upstream) -> None:
    *told, last = await warm(gateway, prompts=["a", "b", "a"], model="up/m", concurrency=1)
    assert told == [
        {"index": 0, "status": "stored", "cost_usd": 3e-05, "done": 1, "total": 3},
        {"index": 1, "status": "stored", "cost_usd": 3e-05, "done": 2, "total": 3},
        {"index": 2, "status": "hit", "cost_usd": 0.0, "done": 3, "total": 3},
    ]
    counts = {"stored": 2, "hit": 1, "not_kept": 0, "failed": 0, "planned": 0}
    assert last == {"summary": {"total": 3, **counts, "cost_usd": 6e-05}}
    assert await cached(gateway, MASTER, "a") == "hit"
    assert await cached(gateway, gateway.key, "a") == "miss"
    assert asked(up) == ["a", "b", "a"]


async def test_a_keys(gateway: Gateway, up: Upstream) -> None:
    id_, key = await make_key(gateway)
    _, other = await make_key(gateway)
    await warm(gateway, prompts=["a"], model="up/m", key_id=id_, system="S")
    system = [said("system", "S"), said("user", "a")]
    assert await cached(gateway, key, "a", messages=system) == "hit"
    assert await cached(gateway, key, "a") == "miss"
    assert await cached(gateway, other, "a", messages=system) == "miss"


async def test_a_users_are_those_of_all_his_keys(gateway: Gateway) -> None:
    keys = [(await make_key(gateway, user_id="u"))[1] for _ in range(2)]
    _, stranger = await make_key(gateway, user_id="v")
    await warm(gateway, prompts=["a"], model="up/m", user_id="u")
    assert [await cached(gateway, key, "a") for key in keys] == ["hit", "hit"]
    assert await cached(gateway, stranger, "a") == "miss"


async def test_a_services_customers(gateway: Gateway) -> None:
    headers = {"X-Service-Key": "service-secret", "x-turnout-service": "s", "x-turnout-user": "c"}
    body = {"prompts": ["a"], "model": "up/m"}
    url = gateway.url + WARM
    async with gateway.session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200
        await answer.read()
    chat = {"model": "up/m", "messages": [said("user", "a")]}
    found = []
    for customer in ("c", "d"):
        mine = headers | {"x-turnout-user": customer}
        url = gateway.url + "/v1/chat/completions"
        async with gateway.session.post(url, json=chat, headers=mine) as answer:
            found.append(answer.headers[CACHE].partition(";")[0])
    assert found == ["hit", "miss"]


async def test_a_tasks(gateway: Gateway, up: Upstream) -> None:
    await warm(gateway, prompts=["a"], task="brief")
    assert up.log[0].json["max_tokens"] == 5
    headers = {"authorization": f"Bearer {MASTER}", "x-turnout-task": "brief"}
    body = {"model": "x", "messages": [said("user", "a")]}
    answer = await gateway.post(body, headers=headers)
    assert answer.headers[CACHE].startswith("hit; tier=exact")


async def test_parameters_and_a_namespace_are_part_of_the_question(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {MASTER}", CACHE: "namespace=room, tag=faq"}
    body = {"prompts": ["a"], "model": "up/m", "parameters": {"temperature": 0.5}}
    async with gateway.session.post(gateway.url + WARM, json=body, headers=headers) as answer:
        assert answer.status == 200
        await answer.read()
    chat = {"model": "up/m", "messages": [said("user", "a")]}
    inside = await gateway.post(chat | {"temperature": 0.5}, headers=headers)
    assert inside.headers[CACHE].startswith("hit")
    other = await gateway.post(chat | {"temperature": 0.6}, headers=headers)
    assert other.headers[CACHE] == "miss"
    assert await cached(gateway, MASTER, "a", temperature=0.5) == "miss"
    dropped = await gateway.call("POST", "/api/v1/cache/invalidate", {"tag": "faq"})
    assert dropped.json == {"invalidated": 2}


async def test_who_is_not_known_has_no_answers(gateway: Gateway, up: Upstream) -> None:
    ended, _ = await make_key(gateway)
    await gateway.call("DELETE", f"/api/v1/keys/{ended}")
    past, _ = await make_key(gateway, expires="1ms")
    for key_id in ("key_no", ended, past):
        body = {"prompts": ["a"], "model": "up/m", "key_id": key_id}
        refused = await gateway.call("POST", WARM, body)
        assert refused.error == (422, "invalid_request_error", "invalid_value")
        assert refused.json["error"]["param"] == "key_id"
    assert up.log == []


async def test_what_a_key_may_not_use_is_not_asked_for_it(gateway: Gateway, up: Upstream) -> None:
    id_, _ = await make_key(gateway, models=["up/n"])
    for body in ({"model": "up/m", "key_id": id_}, {"model": "up/x"}):
        refused = await gateway.call("POST", WARM, {"prompts": ["a"]} | body)
        assert refused.error == (422, "invalid_request_error", "invalid_value")
        assert refused.json["error"]["param"] == "model"
    unknown = await gateway.call("POST", WARM, {"prompts": ["a"], "task": "no"})
    assert unknown.json["error"]["param"] == "task"
    assert up.log == []


# How it is done.


async def test_it_takes_nothing_of_a_keys_limits(gateway: Gateway) -> None:
    """The configuration allows two requests a minute."""
    id_, key = await make_key(gateway, limits={})
    *_, last = await warm(gateway, prompts=list("abcde"), model="up/m", key_id=id_)
    assert last["summary"]["stored"] == 5
    assert await cached(gateway, key, "a") == "hit"


async def test_it_is_booked_as_a_service_of_turnouts_own(gateway: Gateway) -> None:
    id_, _ = await make_key(gateway)
    await warm(gateway, prompts=["a"], model="up/m", key_id=id_)
    (row,) = await gateway.rows(1)
    assert (row["service_name"], row["key_id"], row["outcome"]) == ("turnout:warm", None, "ok")
    assert (row["cost_nanousd"], row["model"], row["status_code"]) == (COST, "m", 200)


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        (fake.chat_reply(finish="length"), "not_kept", "finish_length"),
        (fake.chat_reply(""), "not_kept", "empty"),
        (fake.error_reply(500), "failed", "upstream_error"),
        (fake.html_reply(), "failed", "invalid_upstream_response"),
    ],
)
async def test_what_is_not_kept_says_why(
    gateway: Gateway, up: Upstream, script: Script, status: str, reason: str
) -> None:
    up.script(script)
    told, last = await warm(gateway, prompts=["a"], model="up/m")
    assert (told["status"], told["reason"]) == (status, reason)
    assert last["summary"][status] == 1
    up.script(fake.chat_reply())
    assert await cached(gateway, MASTER, "a") == "miss"


async def test_a_tasks_format_is_kept_to(gateway: Gateway) -> None:
    told, _ = await warm(gateway, prompts=["a"], task="form")
    assert (told["status"], told["reason"]) == ("not_kept", "invalid_json")


async def test_a_key_that_wants_no_cache_fills_none(gateway: Gateway) -> None:
    id_, _ = await make_key(gateway, cache={"enabled": False})
    told, _ = await warm(gateway, prompts=["a"], model="up/m", key_id=id_)
    assert (told["status"], told["reason"]) == ("not_kept", "disabled")


async def test_an_answer_that_the_store_refuses(tmp_path: Path, up: Upstream) -> None:
    up.script(fake.chat_reply("x" * 2000))
    async with running(tmp_path, config(up, size="10KiB")) as gateway:
        told, _ = await warm(gateway, prompts=["a"], model="up/m")
        assert (told["status"], told["reason"]) == ("not_kept", "store")


async def test_one_that_fails_does_not_end_the_others(gateway: Gateway, up: Upstream) -> None:
    up.on(lambda got: fake.error_reply(400) if b'"b"' in got.body else None)
    *told, _ = await warm(gateway, prompts=list("abc"), model="up/m", concurrency=1)
    assert [line["status"] for line in told] == ["stored", "failed", "stored"]
    (failed,) = [row for row in await gateway.rows(3) if row["outcome"] == "failed"]
    assert (failed["service_name"], failed["status_code"]) == ("turnout:warm", 502)


async def test_a_dry_run_asks_nobody(gateway: Gateway, up: Upstream) -> None:
    """100 tokens of output at 10 dollars a million."""
    body = {"prompts": ["a", "b"], "model": "up/m", "parameters": {"max_tokens": 100}}
    *told, last = await warm(gateway, **body, dry_run=True, concurrency=1)
    assert [(line["status"], line["cost_usd"]) for line in told] == [("planned", 0.001)] * 2
    assert (last["summary"]["planned"], last["summary"]["cost_usd"]) == (2, 0.002)
    *told, _ = await warm(gateway, prompts=["a"], task="brief", dry_run=True)
    assert told[0]["cost_usd"] == 5e-05
    assert up.log == []


async def test_so_many_at_a_time(gateway: Gateway, up: Upstream) -> None:
    go_on = asyncio.Event()
    answer = fake.chat_reply()
    up.on(lambda _: [fake.WaitFor(go_on), *answer])
    warming = asyncio.ensure_future(
        warm(gateway, prompts=list("abcdef"), model="up/m", concurrency=3)
    )
    await up.wait_for_requests(3)
    await asyncio.sleep(0.1)
    assert len(up.log) == 3
    go_on.set()
    assert (await warming)[-1]["summary"]["stored"] == 6


async def test_it_waits_while_the_process_has_no_room(tmp_path: Path, up: Upstream) -> None:
    answer = fake.chat_reply()
    up.on(lambda _: [fake.Sleep(0.2), *answer])
    async with running(tmp_path, config(up, most=1)) as gateway:
        *_, last = await warm(gateway, prompts=["a", "b"], model="up/m", concurrency=2)
        assert last["summary"]["stored"] == 2
        assert len(up.log) == 2
        first, second = (received.at for received in up.log)
        assert second - first > 0.2


async def test_a_client_that_leaves_ends_it(gateway: Gateway, up: Upstream) -> None:
    def after_the_first(received: Received) -> Script | None:
        return None if b'"a"' in received.body else [fake.Stall()]

    up.on(after_the_first)
    body = {"prompts": list("abcdefgh"), "model": "up/m", "concurrency": 2}
    headers = {"authorization": f"Bearer {MASTER}"}
    async with gateway.session.post(gateway.url + WARM, json=body, headers=headers) as answer:
        first = orjson.loads(await answer.content.readline())
        assert (first["index"], first["status"]) == (0, "stored")
        await up.wait_for_requests(3)
    await up.wait_until_closed(2)
    assert up.closed_early == 2
    await asyncio.sleep(0.2)
    assert asked(up)[0] == "a"
    assert sorted(asked(up)[1:]) == ["b", "c"]
    rows = await gateway.rows(3)
    assert sorted(row["outcome"] for row in rows) == ["client_closed", "client_closed", "ok"]
    assert {row["service_name"] for row in rows} == {"turnout:warm"}
    up.on(lambda _: None)
    assert await cached(gateway, MASTER, "a") == "hit"
    assert await cached(gateway, MASTER, "b") == "miss"
