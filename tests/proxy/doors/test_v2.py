"""Chat with a memory: what goes upstream, what is kept, whose it is, and what fails how."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy.exc import OperationalError

from proxy import conversations
from proxy.conversations import Conversations
from proxy.doors.chats import Chats
from proxy.doors.v2_models import id_of
from proxy.errors import Overloaded
from tests.e2e.gateway import MASTER, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [m1, m2]}}
  dark: {{dialect: openai, base_url: "{url}", api_key: "${{NO_SUCH_KEY}}", models: [m3]}}
models:
  quick: [dark/m3, up/m2]
  closed: [dark/m3]
pricing: {{overrides: {{"up/m1": {{input: 3, output: 15}}}}}}
"""
CHAT = "/v2/llm/chat/completions"
STREAM = f"{CHAT}/stream"
KEPT = "/v2/conversations"


def asks(words: str, **more: Any) -> dict[str, Any]:
    return {"model_id": "up/m1", "messages": [{"role": "user", "content": words}], **more}


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        yield gateway


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def whole(gateway: Gateway, place: str, key: str = MASTER) -> Any:
    answer = await gateway.call("GET", f"{KEPT}/{place}", key=key)
    assert answer.status == 200, answer.body
    return answer.json


async def test_an_answer_is_openais_and_more(gateway: Gateway, up: Upstream) -> None:
    up.script(fake.chat_reply("Hi", usage=fake.count(1000, 500)))
    body = asks("Hello", model_id=id_of("up/m1"), temperature=0.5, max_tokens=7, logit_bias={})
    answer = await gateway.call("POST", CHAT, body)
    assert answer.status == 200, answer.body
    got = answer.json
    assert got["object"] == "chat.completion"
    assert got["choices"][0]["message"]["content"] == "Hi"
    assert got["usage"]["total_tokens"] == 1500
    assert got["model_id"] == id_of("up/m1")
    assert got["cost_usd"] == pytest.approx(0.0105)
    assert (got["key_source"], got["stored"]) == ("system", True)
    assert up.log[0].json == {
        "model": "m1",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "max_tokens": 7,
        "logit_bias": {},
    }
    assert answer.headers["x-turnout-provider"] == "up"
    kept = await whole(gateway, got["conversation_id"])
    assert (kept["title"], kept["model"], kept["model_id"]) == ("Hello", "up/m1", id_of("up/m1"))
    asked, answered = kept["messages"]
    assert (asked["role"], asked["content"], asked["input_tokens"]) == ("user", "Hello", 0)
    assert answered["id"] == got["message_id"]
    assert (answered["role"], answered["content"], answered["model"]) == (
        "assistant",
        "Hi",
        "up/m1",
    )
    assert (answered["input_tokens"], answered["output_tokens"]) == (1000, 500)
    assert answered["cost_usd"] == pytest.approx(0.0105)
    assert answered["request_id"] == answer.headers["x-request-id"]
    assert kept["has_more"] is False


async def test_what_was_said_goes_before(gateway: Gateway, up: Upstream) -> None:
    system = {"role": "system", "content": "Be brief"}
    up.script(fake.chat_reply("One"), fake.chat_reply("Two"))
    first = (await gateway.call("POST", CHAT, {**asks(""), "messages": [system]})).json
    place = first["conversation_id"]
    second = (await gateway.call("POST", CHAT, asks("More", conversation_id=place))).json
    assert second["conversation_id"] == place
    assert up.log[1].json["messages"] == [
        system,
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "More"},
    ]
    said = [(m["role"], m["content"]) for m in (await whole(gateway, place))["messages"]]
    assert said == [
        ("system", "Be brief"),
        ("assistant", "One"),
        ("user", "More"),
        ("assistant", "Two"),
    ]


async def test_tool_calls_are_told_again(gateway: Gateway, up: Upstream) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    reply = fake.chat_completion("", finish="tool_calls")
    reply["choices"][0]["message"] |= {"content": None, "tool_calls": calls}
    up.script(fake.json_reply(reply))
    place = (await gateway.call("POST", CHAT, asks("Do it"))).json["conversation_id"]
    result = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    body = {"model": "up/m1", "messages": [result], "conversation_id": place}
    assert (await gateway.call("POST", CHAT, body)).status == 200
    assert up.log[1].json["messages"] == [
        {"role": "user", "content": "Do it"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        result,
    ]


async def test_nothing_is_kept_when_it_is_not_wanted(gateway: Gateway) -> None:
    got = (await gateway.call("POST", CHAT, asks("Hello", store=False))).json
    assert (got["conversation_id"], got["message_id"], got["stored"]) == (None, None, False)
    streamed = await gateway.call("POST", STREAM, asks("Hello", store=False))
    assert "x-turnout-conversation" not in streamed.headers
    assert (await gateway.call("GET", KEPT)).json["data"] == []


async def test_what_fails_is_not_kept(gateway: Gateway, up: Upstream) -> None:
    place = (await gateway.call("POST", CHAT, asks("Hello"))).json["conversation_id"]
    for path in (CHAT, STREAM):
        up.script(fake.error_reply(400))
        answer = await gateway.call("POST", path, asks("Again", conversation_id=place))
        assert answer.status == 400
        assert isinstance(answer.json["detail"], str)
        assert "x-turnout-conversation" not in answer.headers
    assert len((await whole(gateway, place))["messages"]) == 2
    assert len((await gateway.call("GET", KEPT)).json["data"]) == 1


async def test_an_answer_outlives_its_store(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> str:
        raise OperationalError("insert", {}, Exception("away"))

    monkeypatch.setattr(Conversations, "add", fails)
    answer = await gateway.call("POST", CHAT, asks("Hello"))
    assert answer.status == 200
    assert (answer.json["conversation_id"], answer.json["stored"]) == (None, False)
    assert answer.json["choices"][0]["message"]["content"]


async def test_what_is_too_long_is_answered_and_not_kept(
    gateway: Gateway, up: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "MOST_LENGTH", 1000)
    answer = await gateway.call("POST", CHAT, asks("x" * 1001))
    assert answer.status == 200
    assert (answer.json["conversation_id"], answer.json["stored"]) == (None, False)
    up.script(fake.chat_reply("x" * 1001))
    answer = await gateway.call("POST", CHAT, asks("Hello"))
    assert (answer.status, answer.json["stored"]) == (200, False)
    up.script(fake.sse(*fake.chat_chunks(["He", "llo"])))
    streamed = await gateway.call("POST", STREAM, asks("x" * 1001))
    assert streamed.status == 200
    assert "x-turnout-conversation" not in streamed.headers
    assert (await gateway.call("GET", KEPT)).json["data"] == []


async def test_nothing_is_read_where_too_much_is_under_way(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (await gateway.call("POST", CHAT, asks("Hello"))).json["conversation_id"]
    reads: list[object] = []

    async def reading(*given: object) -> Any:
        reads.append(given)

    def full(_: object) -> None:
        raise Overloaded("full")

    monkeypatch.setattr(Conversations, "history", reading)
    monkeypatch.setattr(Conversations, "get", reading)
    monkeypatch.setattr(Chats, "admit", full)
    for path in (CHAT, STREAM):
        answer = await gateway.call("POST", path, asks("More", conversation_id=place))
        assert answer.status == 503
    assert reads == []


async def test_a_stream_is_kept_whole(gateway: Gateway, up: Upstream) -> None:
    usage = fake.count(1000, 500)
    for path, more in ((STREAM, {}), (CHAT, {"stream": True})):
        up.script(fake.sse(*fake.chat_chunks(["He", "llo"], usage=usage)))
        answer = await gateway.call("POST", path, asks("Hi", **more))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.endswith(b"data: [DONE]\n\n")
        place = answer.headers["x-turnout-conversation"]
        answered = (await whole_at_once(gateway, place))["messages"][1]
        assert (answered["role"], answered["content"]) == ("assistant", "Hello")
        assert (answered["input_tokens"], answered["output_tokens"]) == (1000, 500)
        assert answered["cost_usd"] == pytest.approx(0.0105)
    assert [row["stream"] for row in await gateway.rows(2)] == [True, True]


async def whole_at_once(gateway: Gateway, place: str) -> Any:
    """A stream is kept before its end goes out."""
    answer = await gateway.call("GET", f"{KEPT}/{place}")
    assert answer.status == 200, answer.body
    return answer.json


async def test_openais_sdk_speaks_to_it(gateway: Gateway) -> None:
    asked: Any = {"model": "up/m1", "messages": [{"role": "user", "content": "Hi"}]}
    place = f"{gateway.url}/v2/llm"
    async with openai.AsyncOpenAI(base_url=place, api_key=MASTER, max_retries=0) as client:
        got = await client.chat.completions.create(**asked, metadata={"job_id": "j7"})
        assert got.choices[0].message.content
        stream = await client.chat.completions.create(**asked, stream=True)
        assert [chunk async for chunk in stream]
    row, streamed = await gateway.rows(2)
    assert (row["job_id"], row["endpoint"], row["model"]) == ("j7", "/v1/chat/completions", "m1")
    assert streamed["stream"] is True


async def test_somebody_elses_is_not_there(gateway: Gateway, up: Upstream) -> None:
    place = (await gateway.call("POST", CHAT, asks("Hello"), key=gateway.key)).json[
        "conversation_id"
    ]
    assert (await whole(gateway, place, gateway.key))["title"] == "Hello"
    made = await gateway.call("POST", "/api/v1/keys", {"name": "other"})
    for key in (MASTER, made.json["key"]):  # the operator's is no exception
        for method in ("GET", "DELETE"):
            assert (await gateway.call(method, f"{KEPT}/{place}", key=key)).status == 404
        answer = await gateway.call("POST", CHAT, asks("More", conversation_id=place), key)
        assert answer.error == (404, "invalid_request_error", "not_found")
        assert (await gateway.call("GET", KEPT, key=key)).json["data"] == []
    assert len(up.log) == 1
    for wrong in ("x", "%00", "00000000-0000-7000-8000-000000000000"):
        assert (await gateway.call("GET", f"{KEPT}/{wrong}")).status == 404


async def test_without_any_key_it_says_what_to_do(gateway: Gateway, up: Upstream) -> None:
    for name in ("dark/m3", id_of("dark/m3"), "closed"):
        answer = await gateway.call("POST", CHAT, asks("Hello", model_id=name))
        assert answer.error == (400, "invalid_request_error", "no_api_key"), name
        assert "PUT /v2/admin/llm-keys/dark" in answer.json["detail"]
    assert (await gateway.call("POST", CHAT, asks("Hello", model_id="quick"))).status == 200
    assert len(up.log) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model_id": None}, "model_id"),
        ({"model_id": ""}, "model_id"),
        ({"model_id": 7}, "model_id"),
        ({"model_id": "a\nb"}, "model_id"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"top_p": "x"}, "top_p"),
        ({"store": "no"}, "store"),
        ({"stream": 1}, "stream"),
        ({"title": ""}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"metadata": "x"}, "metadata"),
        ({"base_url": "http://x"}, "base_url"),
        ({"drop_params": True}, "drop_params"),
    ],
)
async def test_a_wrong_value_is_named(
    gateway: Gateway, up: Upstream, change: dict[str, Any], param: str
) -> None:
    answer = await gateway.call("POST", CHAT, asks("Hello") | change)
    assert answer.error[0] == 422, answer.body
    assert answer.json["error"]["param"].split(".")[0] == param
    assert set(answer.json) == {"detail", "error"}
    assert up.log == []


async def test_a_model_that_is_not_there(gateway: Gateway) -> None:
    for name in ("nothing/x", "564e8710-43a9-406f-b0ab-e8d651a33e82"):
        answer = await gateway.call("POST", CHAT, asks("Hello", model_id=name))
        assert answer.error == (404, "invalid_request_error", "model_not_found")


async def test_without_a_credential(gateway: Gateway) -> None:
    for method, path in (("POST", CHAT), ("POST", STREAM), ("GET", KEPT)):
        answer = await gateway.call(method, path, asks("Hello"), key="sk-wrong")
        assert answer.error == (401, "invalid_request_error", "invalid_api_key")
