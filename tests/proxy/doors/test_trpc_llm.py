"""Chats of tasks: what beats what, where they go, what is wrong, and how many go at a time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.doors.trpc_llm import RouterOptions, _parameters
from tests.e2e.router import (
    CONFIG,
    LLAMA,
    QUALIFY,
    Tiers,
    data,
    error,
    leads,
    post,
    tiers_of,
)
from tests.fakes import upstream as fake


@pytest.fixture
async def tiers(tmp_path: Path) -> AsyncIterator[Tiers]:
    async with tiers_of(tmp_path, CONFIG) as found:
        yield found


@pytest.mark.parametrize(
    ("task", "options", "sent"),
    [
        ("verification", None, {"temperature": 0.7, "max_tokens": 1000, "top_p": 0.9}),
        ("verification", {}, {"temperature": 0.7, "max_tokens": 1000, "top_p": 0.9}),
        ("qualification", {}, {"temperature": 0.3, "max_tokens": 1000, "top_p": 0.9}),
        ("qualification", {"temperature": 0}, {"temperature": 0, "max_tokens": 1000, "top_p": 0.9}),
        (
            "analysis",
            {"temperature": 1.0, "maxTokens": 1, "topP": 0.5},
            {"temperature": 1.0, "max_tokens": 1, "top_p": 0.5},
        ),
    ],
)
async def test_request_beats_task_beats_document(
    tiers: Tiers, task: str, options: Any, sent: dict[str, float]
) -> None:
    body = {"taskType": task, "messages": [{"role": "user", "content": "x"}]}
    body |= {} if options is None else {"options": options}
    data(await post(tiers.gateway, "llm.complete", body))
    got = tiers.openrouter.log[0].json
    assert {name: got[name] for name in ("temperature", "max_tokens", "top_p")} == sent


@pytest.mark.parametrize(
    ("options", "provider", "model"),
    [
        ({"forceProvider": "huggingface"}, "huggingface", "mistralai/Mistral-7B-Instruct-v0.2"),
        ({"forceModel": LLAMA}, "openrouter", LLAMA),
        ({"forceModel": "openai/gpt-4o-mini"}, "openrouter", "openai/gpt-4o-mini"),
        ({"forceModel": "huggingface/some/model"}, "huggingface", "some/model"),
        ({"forceProvider": "huggingface", "forceModel": "a/b"}, "huggingface", "a/b"),
    ],
)
async def test_forced(tiers: Tiers, options: Any, provider: str, model: str) -> None:
    body = QUALIFY | {"options": options}
    found = data(await post(tiers.gateway, "llm.complete", body))
    assert (found["provider"], found["model"]) == (provider, model)
    assert found["metadata"]["taskType"] == "qualification"
    sent = (tiers.openrouter if provider == "openrouter" else tiers.huggingface).log
    assert [received.json["model"] for received in sent] == [model]
    assert sent[0].json["temperature"] == 0.3, "the task's default comes along"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"taskType": "sculpture"}, "taskType"),
        ({"taskType": ""}, "taskType"),
        ({"taskType": None}, "taskType"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": "hello"}, "messages"),
        ({"options": {"temperature": 2.1}}, "options.temperature"),
        ({"options": {"temperature": -0.1}}, "options.temperature"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"temperature": True}}, "options.temperature"),
        ({"options": {"maxTokens": 0}}, "options.maxTokens"),
        ({"options": {"maxTokens": 1.5}}, "options.maxTokens"),
        ({"options": {"topP": 1.1}}, "options.topP"),
        ({"options": {"bypassCache": "no"}}, "options.bypassCache"),
        ({"options": {"forceProvider": "nobody"}}, "options.forceProvider"),
        ({"options": {"forceModel": "a\nb"}}, "options.forceModel"),
        ({"options": []}, "options"),
    ],
)
async def test_what_is_wrong_is_named(tiers: Tiers, change: Any, param: str) -> None:
    answer = await post(tiers.gateway, "llm.complete", QUALIFY | change)
    assert error(answer) == (400, -32600, "BAD_REQUEST", param)
    assert tiers.openrouter.log == []


async def test_a_provider_that_the_task_has_no_model_of(tmp_path: Path) -> None:
    text = CONFIG.replace(
        "providers:", "providers:\n  lone: {{dialect: openai, base_url: '{first}'}}"
    )
    async with tiers_of(tmp_path, text) as tiers:
        wrong = QUALIFY | {"options": {"forceProvider": "lone"}}
        answer = await post(tiers.gateway, "llm.complete", wrong)
        assert error(answer) == (400, -32600, "BAD_REQUEST", "options.forceProvider")
        right = QUALIFY | {"options": {"forceProvider": "lone", "forceModel": "m"}}
        assert data(await post(tiers.gateway, "llm.complete", right))["provider"] == "lone"


async def test_a_model_that_nobody_has(tiers: Tiers) -> None:
    answer = await post(
        tiers.gateway, "llm.complete", QUALIFY | {"options": {"forceModel": "no-such-model"}}
    )
    assert error(answer) == (404, -32004, "NOT_FOUND", "options.forceModel")
    assert answer.json["error"]["data"]["turnoutCode"] == "model_not_found"


async def most_at_once(tiers: Tiers, body: dict[str, Any]) -> int:
    """How many calls were under way together."""
    most = 0
    going = asyncio.Event()
    tiers.openrouter.script([fake.WaitFor(going), *fake.chat_reply("x")])
    asking = asyncio.ensure_future(post(tiers.gateway, "llm.batchComplete", body))
    for _ in range(50):
        await asyncio.sleep(0.01)
        most = max(most, len(tiers.openrouter.log))
    going.set()
    assert len(data(await asking)) == 12
    return most


@pytest.mark.parametrize(("given", "expected"), [({}, 5), ({"concurrency": 8}, 8)])
async def test_five_at_a_time_unless_said(tiers: Tiers, given: Any, expected: int) -> None:
    body = {"requests": leads(*map(str, range(12))), **given}
    assert await most_at_once(tiers, body) == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": leads("a"), "concurrency": 33}, "concurrency"),
        ({"requests": leads("a"), "concurrency": 0}, "concurrency"),
        ({"requests": [*leads("a"), {"taskType": "simple"}]}, "requests.1.messages"),
        ({"requests": [*leads("a"), leads("b")[0] | {"taskType": "no"}]}, "requests.1.taskType"),
        ({"requests": leads("a") * 1001}, "requests"),
    ],
)
async def test_a_batch_that_is_wrong_asks_nobody(tiers: Tiers, body: Any, param: str) -> None:
    answer = await post(tiers.gateway, "llm.batchComplete", body)
    assert error(answer) == (400, -32600, "BAD_REQUEST", param)
    assert tiers.openrouter.log == []


@pytest.mark.parametrize("paths", ["llm.batchComplete", "llm.batchComplete,llm.batchComplete"])
async def test_a_batch_ends_with_its_client(tiers: Tiers, paths: str) -> None:
    gateway, first, _, _ = tiers
    first.script([fake.Stall()])
    many = {"requests": leads(*map(str, range(20))), "concurrency": 2}
    body: Any = many if "," not in paths else {"0": many, "1": {"requests": leads("x", "y")}}
    count = 2 if "," not in paths else 4
    suffix = "" if "," not in paths else "?batch=1"
    asking = asyncio.ensure_future(post(gateway, paths + suffix, body))
    await first.wait_for_requests(count)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await first.wait_until_closed(3)
    assert len(first.log) == count, "nothing more is begun"
    rows = await gateway.rows(count)
    assert [row["outcome"] for row in rows] == ["client_closed"] * count


async def test_a_chat_ends_with_its_client(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script([fake.Stall()])
    asking = asyncio.ensure_future(post(gateway, "llm.complete", QUALIFY))
    await first.wait_for_requests(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await first.wait_until_closed(3)
    [row] = await gateway.rows()
    assert (row["outcome"], row["attempts"]) == ("client_closed", 1)


ELSEWHERE = """
  second: {{dialect: openai, base_url: '{second}', models: [listed, other]}}
tasks:
  elsewhere: {{targets: [huggingface/of-a-task]}}
  drawing: {{targets: [openrouter/painter], endpoint: images}}
models:
  quick: huggingface/named
"""


@pytest.mark.parametrize(
    ("model", "provider", "sent"),
    [
        ("of-a-task", "huggingface", "of-a-task"),
        ("listed", "second", "listed"),
        ("quick", "huggingface", "named"),
    ],
)
async def test_a_model_by_name_alone_is_found(
    tmp_path: Path, model: str, provider: str, sent: str
) -> None:
    text = CONFIG.replace("pricing:", ELSEWHERE.strip("\n") + "\npricing:")
    async with tiers_of(tmp_path, text) as tiers:
        body = QUALIFY | {"options": {"forceModel": model}}
        found = data(await post(tiers.gateway, "llm.complete", body))
        assert (found["provider"], found["model"]) == (provider, sent)
        assert [received.json["model"] for received in tiers.huggingface.log] == [sent]


async def test_what_a_provider_does_not_list_it_has_not(tmp_path: Path) -> None:
    text = CONFIG.replace("pricing:", ELSEWHERE.strip("\n") + "\npricing:")
    async with tiers_of(tmp_path, text) as tiers:
        for body, param in (
            (
                QUALIFY | {"options": {"forceProvider": "second", "forceModel": "x"}},
                "options.forceModel",
            ),
            (QUALIFY | {"taskType": "drawing"}, "taskType"),
        ):
            answer = await post(tiers.gateway, "llm.complete", body)
            assert error(answer) == (400, -32600, "BAD_REQUEST", param)


async def test_a_key_forces_only_what_it_may_use(tiers: Tiers) -> None:
    gateway = tiers.gateway
    wanted = {"name": "n", "models": ["task/qualification", "huggingface/*"]}
    key = (await gateway.call("POST", "/api/v1/keys", wanted)).json["key"]
    for options, status in (
        ({}, 200),
        ({"forceProvider": "openrouter"}, 200),
        ({"forceModel": LLAMA}, 404),
        ({"forceProvider": "openrouter", "forceModel": "m"}, 404),
        ({"forceProvider": "huggingface", "forceModel": "m"}, 200),
    ):
        answer = await post(gateway, "llm.complete", QUALIFY | {"options": options}, key)
        assert answer.status == status, (options, answer.body)
    other = await post(gateway, "llm.complete", QUALIFY | {"taskType": "simple"}, key)
    assert error(other) == (404, -32004, "NOT_FOUND", "taskType")


async def test_headers_and_options_together(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(*(fake.chat_reply(text) for text in ("one", "two")))
    tagged = {"x-turnout-cache": "namespace=n", "x-turnout-user": "cust-1"}
    bypass = QUALIFY | {"options": {"bypassCache": True}}
    plain = QUALIFY | {"options": {}}
    told = [
        data(await post(gateway, "llm.complete", body, **tagged))["content"]
        for body in (plain, plain, bypass, plain)
    ]
    assert told == ["one", "one", "two", "two"]
    rows = await gateway.rows(4)
    assert {row["user_id"] for row in rows} == {"cust-1"}
    task = {"x-turnout-task": "content_generation"}
    found = data(await post(gateway, "llm.complete", bypass, **task))
    assert found["model"] == "google/gemini-2.0-flash-exp:free", "the body's task counts"


def test_defaults_with_another_name_of_the_limit() -> None:
    said = RouterOptions(max_tokens=5)
    task = {"max_completion_tokens": 9, "temperature": 0.1, "seed": 1}
    assert _parameters(RouterOptions(), task, True) == {"top_p": 0.9}
    assert _parameters(RouterOptions(), task, False) == {"top_p": 0.9, **task}
    assert _parameters(said, task, True) == {"top_p": 0.9, "max_tokens": 5}
    assert _parameters(said, task, False) == {
        "top_p": 0.9,
        "temperature": 0.1,
        "seed": 1,
        "max_tokens": 5,
    }
