"""The recipe for applications with a wrapper of their own: the SDK with `user` and `metadata`,
every column of their log in the ledger, limits a minute and a day, and books that break no call."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from sqlalchemy import text

from proxy.storage.engine import open_database
from tests.e2e.gateway import Gateway
from tests.e2e.gateway import running as running_gateway
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
providers:
  groq: {{dialect: openai, base_url: "{url}", api_key: gsk-1}}
  spare: {{dialect: openai, base_url: "{spare}", api_key: sk-2}}
models:
  openai/gpt-oss-20b: [groq/openai/gpt-oss-20b, spare/openai/gpt-oss-20b]
retry: {{attempts: 2}}
"""
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Hello!"},
]


@asynccontextmanager
async def running(tmp_path: Path, text: str) -> AsyncIterator[Gateway]:
    """The gateway; the clients of its wrappers are closed with it."""
    async with running_gateway(tmp_path, text) as gateway:
        yield gateway
        for client in CLIENTS:
            await client.close()
        CLIENTS.clear()


CLIENTS: list[openai.AsyncOpenAI] = []


def wrapper_for(gateway: Gateway) -> Any:
    spec = importlib.util.spec_from_file_location("llm_wrapper", EXAMPLES / "llm_wrapper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = gateway.client()
    CLIENTS.append(client)
    return module.LLMWrapper(client)


def config(up: Upstream, spare: Upstream) -> str:
    return CONFIG.format(url=up.base_url, spare=spare.base_url)


async def exported(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    await gateway.rows(count)
    answer = await gateway.call("GET", "/api/v1/usage/export?format=jsonl&days=1")
    return [orjson.loads(line) for line in answer.body.splitlines()]


async def test_the_example_of_the_document(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        up.script(fake.chat_reply("Hi there", usage=fake.count(21, 9)))
        result = await wrapper_for(gateway).chat_completion(
            messages=MESSAGES,
            user_id="user123",
            service_name="my_service",
            model="openai/gpt-oss-20b",
            temperature=0.7,
            max_tokens=1000,
            metadata={"custom_field": "value"},
        )
        assert result["response"].choices[0].message.content == "Hi there"
        assert result["usage"] == {
            "prompt_tokens": 21,
            "completion_tokens": 9,
            "total_tokens": 30,
        }
        [row] = await exported(gateway, 1)
        logged = {
            "user_id": "user123",
            "service_name": "my_service",
            "model": "openai/gpt-oss-20b",
            "endpoint": "/v1/chat/completions",
            "status_code": 200,
            "input_tokens": 21,
            "output_tokens": 9,
            "error_message": None,
            "metadata": {"custom_field": "value"},
        }
        assert {name: row[name] for name in logged} == logged
        assert row["duration_ms"] >= 0
        sent = up.log[0].json
        assert (sent["model"], sent["temperature"], sent["max_tokens"]) == (
            "openai/gpt-oss-20b",
            0.7,
            1000,
        )
        assert "metadata" not in sent, "it is ours, and the provider would refuse it"


async def test_a_call_that_fails_is_logged_with_its_error(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        for each in (up, other):
            each.script(fake.error_reply(500, "the model fell over"))
        with pytest.raises(openai.InternalServerError):
            await wrapper_for(gateway).chat_completion(MESSAGES, "user123", "my_service")
        [row] = await exported(gateway, 1)
        assert row["status_code"] == 502
        assert "the model fell over" in row["error_message"]
        assert (row["user_id"], row["service_name"]) == ("user123", "my_service")


async def test_another_provider_answers_when_the_first_fails(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        up.script(fake.error_reply(503))
        result = await wrapper_for(gateway).chat_completion(MESSAGES, "u", "s")
        assert result["response"].choices[0].message.content
        [row] = await exported(gateway, 1)
        assert (row["provider_name"], row["attempts"]) == ("spare", 2)


async def test_an_answer_streams(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        stream = wrapper_for(gateway).chat_stream(MESSAGES, "user123", "my_service")
        assert "".join([part async for part in stream])
        [row] = await exported(gateway, 1)
        assert (row["user_id"], row["service_name"]) == ("user123", "my_service")
        assert row["output_tokens"] > 0


async def test_the_same_prompt_is_answered_from_the_cache(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        wrapper = wrapper_for(gateway)
        for _ in range(2):
            await wrapper.chat_completion(MESSAGES, "user123", "my_service")
        rows = await exported(gateway, 2)
        assert [row["cached"] for row in rows] == [False, True]
        assert len(up.log) == 1


@pytest.mark.parametrize("limit", ["rpm", "rpd"])
async def test_limits_a_minute_and_a_day(
    tmp_path: Path, up: Upstream, other: Upstream, limit: str
) -> None:
    async with running(tmp_path, config(up, other)) as gateway:
        made = await gateway.call("POST", "/api/v1/keys", {"limits": {limit: 2}})
        gateway.key = made.json["key"]
        wrapper = wrapper_for(gateway)
        for _ in range(2):
            await wrapper.chat_completion(MESSAGES, "user123", "my_service")
        with pytest.raises(openai.RateLimitError) as caught:
            await wrapper.chat_completion(MESSAGES, "user123", "my_service")
        assert caught.value.code == "rate_limit_exceeded"
        wait = int(caught.value.response.headers["retry-after"])
        assert 0 < wait <= (60 if limit == "rpm" else 86_400)


async def test_a_limit_is_over_when_its_time_is(
    tmp_path: Path, up: Upstream, other: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.limits.MINUTE", 1.0)
    async with running(tmp_path, config(up, other)) as gateway:
        made = await gateway.call("POST", "/api/v1/keys", {"limits": {"rpm": 1}})
        gateway.key = made.json["key"]
        wrapper = wrapper_for(gateway)
        await wrapper.chat_completion(MESSAGES, "u", "s")
        with pytest.raises(openai.RateLimitError):
            await wrapper.chat_completion(MESSAGES, "u", "s")
        await asyncio.sleep(1.2)
        await wrapper.chat_completion(MESSAGES, "u", "s")


async def test_books_that_fail_break_no_call(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    """The table of the log is away; the calls go on, and their rows come when it is back."""
    async with running(tmp_path, config(up, other)) as gateway:
        engine = await open_database("sqlite:///turnout.db", gateway.home)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE requests RENAME TO away"))
            wrapper = wrapper_for(gateway)
            for number in range(3):
                ask = [{"role": "user", "content": f"Hello {number}"}]
                result = await wrapper.chat_completion(ask, "user123", "my_service")
                assert result["usage"]["total_tokens"] > 0
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE away RENAME TO requests"))
        finally:
            await engine.dispose()
        assert len(await exported(gateway, 3)) == 3


async def test_a_service_that_does_it(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    """The example as a program of its own, as somebody would run it."""
    async with running(tmp_path, config(up, other)) as gateway:
        up.script(fake.chat_reply("Fast but dear.", usage=fake.count(40, 5)))
        environ = {**os.environ, "OPENAI_BASE_URL": gateway.base_url, "OPENAI_API_KEY": gateway.key}
        command = [EXAMPLES / "feedback_analyzer.py", "--user", "user123", "--positive", "Fast"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *map(str, command),
            "--negative",
            "Dear",
            "Late",
            env=environ,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        assert json.loads(out) == {"summary": "Fast but dear.", "tokens": 45}
        [row] = await exported(gateway, 1)
        assert row["service_name"] == "feedback_analyzer"
        assert row["metadata"] == {"positive_count": 1, "negative_count": 2}
