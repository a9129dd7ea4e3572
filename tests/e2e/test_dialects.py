"""One conversation through every client, over an upstream of every dialect, with equal results."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.cache import cache_folder
from tests.e2e.gateway import Gateway, running
from tests.fakes.dialects import CALL, CITY, COMPLETION, HELLO, PROMPT, SUNNY, speak
from tests.fakes.upstream import Upstream

DIALECTS = ("openai", "anthropic", "gemini", "ollama", "bedrock")
RESULT = '{"weather": "sunny, 21"}'
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Now.", "parameters": SCHEMA},
}
ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]


class City(BaseModel):
    """What is asked for as JSON."""

    city: str
    degrees: int


@pytest.fixture(params=DIALECTS)
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Gateway]:
    dialect = request.param
    async with Upstream() as up:
        up.on(speak(dialect))
        provider = f'{{dialect: {dialect}, base_url: "{up.base_url}", api_key: sk-up, '
        provider += "auth: bearer}" if dialect == "bedrock" else "responses: false}"
        if dialect not in ("openai", "bedrock"):
            provider = provider.replace(", responses: false", "")
        text = f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  up: {provider}
models:
  m: up/m-1
"""
        async with running(tmp_path, text) as started:
            yield started


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with gateway.client() as opened:
        yield opened


@pytest.fixture
async def claude(gateway: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key=gateway.key, max_retries=0
    ) as opened:
        yield opened


def chat(answer: Any) -> tuple[Any, ...]:
    """What an OpenAI answer says, without the ids that every dialect has its own of."""
    choice = answer.choices[0]
    calls = [
        (call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls or []
    ]
    usage = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return choice.message.content or "", calls, choice.finish_reason, usage


USAGE = (PROMPT, COMPLETION)
GREETED = (HELLO, [], "stop", USAGE)
CALLED = ("", [CALL], "tool_calls", USAGE)
TOLD = (SUNNY, [], "stop", USAGE)


class TestOpenAI:
    """The OpenAI SDK."""

    async def test_a_greeting(self, gateway: Gateway, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(model="m", messages=ASKED)
        assert chat(answer) == GREETED
        row = (await gateway.rows())[0]
        assert (row["input_tokens"], row["output_tokens"]) == USAGE
        assert row["usage_source"] == "provider"

    async def test_a_stream_of_it(self, client: openai.AsyncOpenAI) -> None:
        async with client.chat.completions.stream(
            model="m", messages=ASKED, stream_options={"include_usage": True}
        ) as stream:
            async for _ in stream:
                pass
            assert chat(await stream.get_final_completion()) == GREETED

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_tool_loop(self, client: openai.AsyncOpenAI, stream: bool) -> None:
        first = await self._ask(client, stream, ASKED)
        assert chat(first) == CALLED
        message = first.choices[0].message
        assert message.tool_calls
        result = {
            "role": "tool",
            "tool_call_id": message.tool_calls[0].id,
            "content": RESULT,
        }
        sent = [*ASKED, message.model_dump(exclude_none=True), result]
        assert chat(await self._ask(client, stream, sent)) == TOLD

    async def _ask(self, client: openai.AsyncOpenAI, stream: bool, messages: Any) -> Any:
        if not stream:
            return await client.chat.completions.create(model="m", messages=messages, tools=[TOOL])
        async with client.chat.completions.stream(
            model="m",
            messages=messages,
            tools=[TOOL],
            stream_options={"include_usage": True},
        ) as events:
            async for _ in events:
                pass
            return await events.get_final_completion()

    async def test_parse(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.parse(
            model="m", messages=ASKED, response_format=City
        )
        assert answer.choices[0].message.parsed == City(**CITY)
        assert answer.choices[0].finish_reason == "stop"

    async def test_the_synchronous_client(self, gateway: Gateway) -> None:
        def call() -> Any:
            with openai.OpenAI(
                base_url=gateway.base_url, api_key=gateway.key, max_retries=0
            ) as client:
                whole = client.chat.completions.create(model="m", messages=ASKED)
                text = "".join(
                    chunk.choices[0].delta.content or ""
                    for chunk in client.chat.completions.create(
                        model="m", messages=ASKED, stream=True
                    )
                )
                return whole, text

        whole, text = await asyncio.to_thread(call)
        assert chat(whole) == GREETED
        assert text == HELLO

    async def test_legacy_completions(self, gateway: Gateway, client: openai.AsyncOpenAI) -> None:
        if "dialect: openai" in gateway.config.read_text():
            return  # passed through: tested in test_data_plane.py
        answer = await client.completions.create(model="m", prompt="Hi")
        assert (answer.choices[0].text, answer.object) == (HELLO, "text_completion")
        parts = [
            chunk.choices[0].text
            async for chunk in await client.completions.create(model="m", prompt="Hi", stream=True)
        ]
        assert "".join(parts) == HELLO


class TestResponses:
    """The OpenAI SDK's newer API, built on chat."""

    async def test_text_tools_and_schema(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.responses.create(model="m", input="Hi")
        assert (answer.output_text, answer.status) == (HELLO, "completed")
        assert answer.usage
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == USAGE
        parsed = await client.responses.parse(model="m", input="Hi", text_format=City)
        assert parsed.output_parsed == City(**CITY)
        tool = {"type": "function", "strict": None, **TOOL["function"]}
        first = await client.responses.create(model="m", input=ASKED, tools=[tool])
        call = next(item for item in first.output if item.type == "function_call")
        assert (call.name, json.loads(call.arguments)) == CALL
        result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
        items = [*ASKED, *(item.to_dict() for item in first.output), result]
        last = await client.responses.create(model="m", input=items, tools=[tool])
        assert last.output_text == SUNNY

    async def test_a_stream(self, client: openai.AsyncOpenAI) -> None:
        async with client.responses.stream(model="m", input="Hi") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text == HELLO
        assert final.usage
        assert (final.usage.input_tokens, final.usage.output_tokens) == USAGE
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"

    @pytest.mark.parametrize("given", [{"store": True}, {"previous_response_id": "resp_1"}])
    async def test_what_needs_a_memory_is_refused_by_name(
        self, client: openai.AsyncOpenAI, given: dict[str, Any]
    ) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="m", input="Hi", **given)
        assert refused.value.param == next(iter(given))


class TestAnthropic:
    """The Anthropic SDK."""

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_conversation(self, claude: anthropic.AsyncAnthropic, stream: bool) -> None:
        client = claude
        answer = await self._ask(client, stream, ASKED)
        assert answer.content[0].text == HELLO
        assert (answer.stop_reason, answer.usage.input_tokens) == ("end_turn", PROMPT)
        assert answer.usage.output_tokens == COMPLETION
        tools = [{"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}]
        first = await self._ask(client, stream, ASKED, tools)
        call = next(block for block in first.content if block.type == "tool_use")
        assert (call.name, call.input) == CALL
        assert first.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
        content = [block.to_dict() for block in first.content]
        said = [
            *ASKED,
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result]},
        ]
        last = await self._ask(client, stream, said, tools)
        assert last.content[0].text == SUNNY

    async def _ask(
        self, client: anthropic.AsyncAnthropic, stream: bool, messages: Any, tools: Any = ()
    ) -> Any:
        given = {"model": "m", "max_tokens": 99, "messages": messages}
        given |= {"tools": tools} if tools else {}
        if not stream:
            return await client.messages.create(**given)
        async with client.messages.stream(**given) as events:
            return await events.get_final_message()

    async def test_its_errors_in_its_shape(self, claude: anthropic.AsyncAnthropic) -> None:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await claude.messages.create(
                model="nowhere", max_tokens=5, messages=[{"role": "user", "content": "x"}]
            )
        body: Any = missing.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
        assert body["request_id"] == missing.value.response.headers["x-request-id"]
        with pytest.raises(anthropic.AuthenticationError):
            await claude.with_options(api_key="wrong").messages.create(
                model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]
            )


async def test_langchain(gateway: Gateway) -> None:
    async with openai.DefaultAsyncHttpxClient() as http:
        model = ChatOpenAI(
            model="m",
            base_url=gateway.base_url,
            api_key=gateway.key,  # type: ignore[arg-type]
            max_retries=0,
            stream_usage=True,
            http_async_client=http,
        )
        await _converse(model)


async def _converse(model: ChatOpenAI) -> None:
    asked = HumanMessage("What is the weather in Paris?")
    assert (await model.ainvoke([asked])).text == HELLO
    pieces = [chunk.text async for chunk in model.astream([asked])]
    assert "".join(pieces) == HELLO
    with_tools = model.bind_tools([TOOL])
    first = await with_tools.ainvoke([asked])
    call = first.tool_calls[0]
    assert (call["name"], call["args"]) == CALL
    result = ToolMessage(RESULT, tool_call_id=call["id"])
    last = await with_tools.ainvoke([asked, first, result])
    assert last.text == SUNNY
    assert last.usage_metadata
    assert last.usage_metadata["input_tokens"] == PROMPT
    shaped = await model.with_structured_output(City).ainvoke([asked])
    assert shaped == City(**CITY)


NPM = "7.55.0"
SCRIPT = Path(__file__).parents[1] / "suites" / "openai_npm.mjs"


def npm_package() -> Path:
    """A folder with the `openai` npm package, fetched once."""
    npm = shutil.which("npm")
    assert npm, "npm is missing; on Debian: apt-get install nodejs npm"
    folder = cache_folder() / f"openai-npm-{NPM}"
    if not (folder / "node_modules" / "openai").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [npm, "install", "--no-audit", "--no-fund", "--silent", f"openai@{NPM}"]
        done = subprocess.run(wanted, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


async def test_the_npm_package(gateway: Gateway) -> None:
    folder = npm_package()
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)
    process = await asyncio.create_subprocess_exec(
        "node",
        SCRIPT.name,
        gateway.base_url,
        gateway.key,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out) == {
        "whole": HELLO,
        "streamed": HELLO,
        "usage": list(USAGE),
        "call": ["get_weather", {"city": "Paris"}],
        "told": SUNNY,
        "streamedCall": ["get_weather", {"city": "Paris"}],
        "response": HELLO,
    }
