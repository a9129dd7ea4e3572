"""The real model, through the real gateway, with the real SDK."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from tests.e2e.gateway import Gateway, running
from tests.local_model import lend

CONFIG = """
auth: {master_key: "${TURNOUT_MASTER_KEY}"}
cache: {enabled: false}
providers: {local: {dialect: llamacpp, model: smollm2}}
"""
ASK: Any = [{"role": "user", "content": "Say hello in one sentence."}]
MODEL = "local/smollm2"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    lend(tmp_path / "home")
    async with running(tmp_path, CONFIG) as gateway:
        yield gateway


async def test_an_answer_and_a_stream(gateway: Gateway, tmp_path: Path) -> None:
    async with gateway.client(timeout=120) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=12)
        assert answer.choices[0].message.content
        assert answer.model == "smollm2"
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens > 0
        assert str(tmp_path) not in str(chunks)
    rows = await gateway.rows(2)
    assert all(row["outcome"] == "ok" and row["output_tokens"] > 0 for row in rows)
    assert {row["usage_source"] for row in rows} == {"provider"}


async def test_a_json_schema_is_kept(gateway: Gateway) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    ask: Any = [{"role": "user", "content": "A person named Bob, 31 years old."}]
    async with gateway.client(timeout=120) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=ask, response_format=form, max_tokens=80, temperature=0
        )
    person = orjson.loads(answer.choices[0].message.content or "")
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)


async def test_tools_as_far_as_the_template_goes(gateway: Gateway) -> None:
    """SmolLM2's template knows no tools: llama.cpp takes them, and the model answers in text."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    async with gateway.client(timeout=120) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=ASK, tools=tools, max_tokens=12
        )
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


async def test_several_at_once(gateway: Gateway) -> None:
    async with gateway.client(timeout=120) as client:

        async def ask(number: int) -> str:
            answer = await client.completions.create(
                model=MODEL, prompt=f"Count: {number},", max_tokens=8
            )
            return answer.choices[0].text

        assert all(await asyncio.gather(*map(ask, range(6))))


async def test_a_client_that_leaves_frees_its_slot(gateway: Gateway) -> None:
    long: Any = {"model": MODEL, "messages": ASK, "max_tokens": 4000, "stream": True}
    long["logit_bias"] = {"2": -100}  # the end-of-text token: it would go on for a long time
    async with gateway.client(timeout=120) as client:
        for _ in range(8):  # twice the slots there are
            stream = await client.chat.completions.create(**long)
            async for _chunk in stream:
                break
            await stream.close()
        began = time.monotonic()
        await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=2)
        assert time.monotonic() - began < 10
    rows = await gateway.rows(9)
    assert [row["outcome"] for row in rows].count("client_closed") == 8


async def test_what_it_can_not_do_is_said(gateway: Gateway) -> None:
    async with gateway.client(timeout=120) as client:
        with pytest.raises(openai.BadRequestError, match="embeddings"):
            await client.embeddings.create(model=MODEL, input="x")
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "word " * 12_000}]
            )
        assert caught.value.code == "context_length_exceeded"
