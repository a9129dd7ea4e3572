"""Answers that are kept, over real sockets and through the vendors' own SDKs.

The scripted upstream answers each request with another number, so an answer tells which request
it is from, and its log is the oracle of what was asked.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import anthropic
import httpx
import openai
import orjson
import pytest

from proxy.cache.lookup import Cache
from proxy.cache.types import Key
from proxy.cache.visit import Visit
from tests.e2e.gateway import Answer, Gateway, running
from tests.e2e.test_client_leaves import leave_after, settled
from tests.e2e.test_serve import serving
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How high is the Zugspitze?"},
]
CHAT: dict[str, Any] = {"model": "up/m", "messages": MESSAGES}
STREAM = CHAT | {"stream": True}
PRICES = 'pricing: {overrides: {"*/*": {input: 1.0, output: 10.0}}}'
ONCE = "retry: {attempts: 1}"
COST = 9 * 1_000 + 3 * 10_000  # nano-dollars of 9 tokens in and 3 out
HIT = "hit; tier=exact; sim=1.00; age="
CACHE = "x-turnout-cache"
PIECE = re.compile(r"\S+\s*")
SERVICE = "service-key-of-the-tests-0123456789"


def config(up: Upstream, cache: str = "", extra: str = ONCE, auth: str = "") -> str:
    """Two providers, one of each dialect, at one upstream; `cache` is the section's inside."""
    return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"{auth}}}
cache: {{{cache}}}
providers:
  up: {{dialect: openai, base_url: "{up.base_url}", api_key: sk-up-secret, responses: true}}
  claude: {{dialect: anthropic, base_url: "{up.base_url}", api_key: sk-claude-secret}}
{PRICES}
{extra}
"""


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    """A gateway with a cache, in front of an upstream that never says the same twice."""
    number_answers(up)
    async with running(tmp_path, config(up)) as gateway:
        yield gateway


# What the upstream says.


def number_answers(up: Upstream) -> None:
    up.on(lambda received: say(received, f"Answer {len(up.log)}. It is 2,962 m high."))


def say(received: Received, text: str) -> Script:
    """A text as the answer to a request, whatever its endpoint."""
    body = received.json
    match received.path.removeprefix("/v1"):
        case "/chat/completions":
            return chat(text, bool(body.get("stream")), choices=body.get("n") or 1)
        case "/completions":
            return completion(text, bool(body.get("stream")))
        case "/embeddings":
            vector = [float(part.strip(".")) for part in text.split()[1:2]]
            data = [{"object": "embedding", "index": 0, "embedding": vector}]
            usage = {"prompt_tokens": 9, "total_tokens": 9}
            return fake.json_reply({"object": "list", "model": "m", "data": data, "usage": usage})
        case "/messages":
            return message(text, bool(body.get("stream")))
        case path:
            assert path == "/responses"
            return response(text, bool(body.get("stream")))


def chat(text: str, stream: bool, **over: Any) -> Script:
    if not stream:
        return fake.chat_reply(text, **over)
    return fake.sse(*fake.chat_chunks(PIECE.findall(text), usage=fake.count(9, 3), **over))


def completion(text: str, stream: bool) -> Script:
    shared = {"id": "cmpl-1", "object": "text_completion", "created": fake.CREATED, "model": "m-1"}

    def part(words: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": words, "logprobs": None, "finish_reason": reason}
        return shared | {"choices": [choice]}

    if not stream:
        return fake.json_reply(part(text, "stop") | {"usage": fake.count(9, 3)})
    chunks = [part(text[:5], None), part(text[5:], None), part("", "stop")]
    chunks.append(shared | {"choices": [], "usage": fake.count(9, 3)})
    return fake.sse(*map(orjson.dumps, chunks))


def events(*payloads: Any) -> Script:
    raw = b"".join(
        b"event: %b\ndata: %b\n\n" % (p["type"].encode(), orjson.dumps(p)) for p in payloads
    )
    return fake.http(200, raw, {"Content-Type": "text/event-stream"})


def message(text: str, stream: bool) -> Script:
    whole = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "model": "m-1",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
    if not stream:
        return fake.json_reply(whole)
    begun = {"content": [], "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 0}}
    delta = {"type": "text_delta", "text": text}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return events(
        {"type": "message_start", "message": whole | begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )


def response(text: str, stream: bool) -> Script:
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant"}
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": fake.CREATED,
        "status": "completed",
        "model": "m-1",
        "output": [said | {"content": [part]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12,
        },
    }
    if not stream:
        return fake.json_reply(whole)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty, opened = part | {"text": ""}, said | {"status": "in_progress", "content": []}
    told = [
        ("created", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": opened}),
        ("content_part.added", {**place, "part": empty}),
        ("output_text.delta", {**place, "delta": text, "logprobs": []}),
        ("output_text.done", {**place, "text": text, "logprobs": []}),
        ("content_part.done", {**place, "part": part}),
        ("output_item.done", {"output_index": 0, "item": whole["output"][0]}),
        ("completed", {"response": whole}),
    ]
    return events(
        *(
            {"type": f"response.{kind}", "sequence_number": number, **members}
            for number, (kind, members) in enumerate(told)
        )
    )


# What the SDKs make of it.


class Told(NamedTuple):
    """An answer as an SDK has it. `usage` without its cost, which is in `cost`."""

    text: Any
    usage: dict[str, Any]
    cost: float | None
    id: str
    made: float | None
    headers: Any


Tell = Callable[[Gateway, bool], Awaitable[Told]]


def counted(usage: Any) -> tuple[dict[str, Any], float | None]:
    found = {name: value for name, value in usage.model_dump().items() if value is not None}
    return found, found.pop("cost_usd", None)


async def tell_chat(gateway: Gateway, stream: bool) -> Told:
    async with gateway.client() as client:
        create = client.chat.completions.with_raw_response.create
        if not stream:
            raw = await create(**CHAT)
            answer = raw.parse()
            usage = counted(answer.usage)
            text = answer.choices[0].message.content
            return Told(text, *usage, answer.id, answer.created, raw.headers)
        raw = await create(**CHAT, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in raw.parse()]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    ((name, made),) = {(chunk.id, chunk.created) for chunk in chunks}
    return Told(text, *counted(chunks[-1].usage), name, made, raw.headers)


async def tell_completion(gateway: Gateway, stream: bool) -> Told:
    ask: dict[str, Any] = {"model": "up/m", "prompt": "The Zugspitze is"}
    async with gateway.client() as client:
        create = client.completions.with_raw_response.create
        if not stream:
            raw = await create(**ask)
            answer = raw.parse()
            usage = counted(answer.usage)
            return Told(answer.choices[0].text, *usage, answer.id, answer.created, raw.headers)
        raw = await create(**ask, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in raw.parse()]
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    ((name, made),) = {(chunk.id, chunk.created) for chunk in chunks}
    return Told(text, *counted(chunks[-1].usage), name, made, raw.headers)


async def tell_message(gateway: Gateway, stream: bool) -> Told:
    ask: dict[str, Any] = {
        "model": "claude/m",
        "max_tokens": 50,
        "system": "Be brief.",
        "messages": MESSAGES[1:],
    }
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key=gateway.key, max_retries=0
    ) as client:
        if stream:
            async with client.messages.stream(**ask) as parts:
                answer = await parts.get_final_message()
                headers = parts.response.headers
        else:
            raw = await client.messages.with_raw_response.create(**ask)
            answer, headers = await raw.parse(), raw.headers
    (block,) = answer.content
    assert (block.type, answer.stop_reason) == ("text", "end_turn")
    usage, cost = counted(answer.usage)
    counts = {name: usage[name] for name in ("input_tokens", "output_tokens")}
    return Told(block.text, counts, cost, answer.id, None, headers)


async def tell_response(gateway: Gateway, stream: bool) -> Told:
    ask: dict[str, Any] = {"model": "up/m", "input": "How high is it?", "store": False}
    async with gateway.client() as client:
        create = client.responses.with_raw_response.create
        if not stream:
            raw = await create(**ask)
            answer = raw.parse()
        else:
            raw = await create(**ask, stream=True)
            parts = [event async for event in raw.parse()]
            answer = parts[-1].response
            deltas = [e.delta for e in parts if e.type == "response.output_text.delta"]
            assert "".join(deltas) == answer.output_text
            assert [event.sequence_number for event in parts] == list(range(len(parts)))
    usage = counted(answer.usage)
    return Told(answer.output_text, *usage, answer.id, answer.created_at, raw.headers)


async def tell_embedding(gateway: Gateway, stream: bool) -> Told:
    async with gateway.client() as client:
        raw = await client.embeddings.with_raw_response.create(
            model="up/m", input="Zugspitze", encoding_format="float"
        )
    answer = raw.parse()
    return Told(answer.data[0].embedding, *counted(answer.usage), "", None, raw.headers)


TOLD: dict[str, Tell] = {
    "chat": tell_chat,
    "completions": tell_completion,
    "messages": tell_message,
    "responses": tell_response,
}
ALL: dict[str, Tell] = {**TOLD, "embeddings": tell_embedding}


class TestHits:
    @pytest.mark.parametrize("endpoint", ALL)
    async def test_the_second_of_two_equal_requests(
        self, gateway: Gateway, up: Upstream, endpoint: str
    ) -> None:
        first = await ALL[endpoint](gateway, False)
        second = await ALL[endpoint](gateway, False)
        assert first.text == (
            [1.0] if endpoint == "embeddings" else "Answer 1. It is 2,962 m high."
        )
        assert (second.text, second.usage) == (first.text, first.usage)
        assert len(up.log) == 1
        assert (first.headers[CACHE], first.headers["x-turnout-attempts"]) == ("miss", "1")
        assert second.headers[CACHE] in (HIT + "0", HIT + "1")
        assert second.headers["x-turnout-attempts"] == "0"
        assert second.headers["x-turnout-cost-usd"] == "0.0"
        for name in ("x-turnout-provider", "x-turnout-model"):
            assert second.headers[name] == first.headers[name]
        assert (first.cost, second.cost) in ((None, None), (first.cost, 0))

    @pytest.mark.parametrize("endpoint", ALL)
    async def test_a_hit_is_on_the_books_and_costs_nothing(
        self, gateway: Gateway, endpoint: str
    ) -> None:
        for _ in range(2):
            await ALL[endpoint](gateway, False)
        asked, hit = await gateway.rows(2)
        cost = 9_000 if endpoint == "embeddings" else COST
        names = ("cached", "cost_nanousd", "saved_nanousd", "attempts", "outcome", "status_code")
        assert [asked[name] for name in names] == [False, cost, 0, 1, "ok", 200]
        assert [hit[name] for name in names] == [True, 0, cost, 0, "ok", 200]
        same = ("name", "provider_name", "model", "input_tokens", "output_tokens", "key_id")
        assert [hit[name] for name in same] == [asked[name] for name in same]
        assert len(await gateway.attempts(1)) == 1

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("endpoint", TOLD)
    async def test_a_stream_is_kept_and_given_again_either_way(
        self, gateway: Gateway, up: Upstream, endpoint: str, first: bool
    ) -> None:
        began = int(time.time())
        told = [await TOLD[endpoint](gateway, stream) for stream in (first, False, True)]
        assert {one.text for one in told} == {"Answer 1. It is 2,962 m high."}
        assert told[0].usage == told[1].usage == told[2].usage
        usage = told[0].usage
        assert [usage.get(name, 9) for name in ("prompt_tokens", "input_tokens")] == [9, 9]
        assert [usage.get(name, 3) for name in ("completion_tokens", "output_tokens")] == [3, 3]
        assert [one.headers[CACHE][: len(HIT)] for one in told] == ["miss", HIT, HIT]
        assert len({one.id for one in told}) == 3
        assert all(one.made is None or one.made >= began for one in told[1:])
        assert told[2].cost in (None, 0)
        assert len(up.log) == 1

    async def test_the_usage_chunk_is_for_who_asks(self, gateway: Gateway, up: Upstream) -> None:
        options = {"stream_options": {"include_usage": True}}
        answers = [await gateway.post(STREAM | extra) for extra in ({}, {}, options, {})]
        assert [answer.body.count(b'"usage":{') for answer in answers] == [0, 0, 1, 0]
        assert all(answer.body.endswith(b"data: [DONE]\n\n") for answer in answers)
        usage = orjson.loads(answers[2].body.split(b"\n\n")[-3].removeprefix(b"data: "))["usage"]
        assert {name: usage[name] for name in fake.count(9, 3)} == fake.count(9, 3)
        assert usage["cost_usd"] == 0
        assert len(up.log) == 1

    async def test_a_stream_that_is_replayed_begins_with_its_role(self, gateway: Gateway) -> None:
        for _ in range(2):
            answer = await gateway.post(STREAM)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        begun = orjson.loads(answer.body.split(b"\n\n")[0].removeprefix(b"data: "))
        assert begun["choices"][0]["delta"] == {"role": "assistant", "content": ""}

    async def test_several_choices(self, gateway: Gateway, up: Upstream) -> None:
        answers = [await gateway.post(CHAT | {"n": 3}) for _ in range(2)]
        said = [[choice["message"] for choice in a.json["choices"]] for a in answers]
        assert said[0] == said[1]
        assert len(said[1]) == 3
        assert len(up.log) == 1

    async def test_what_says_nothing_of_the_answer_changes_nothing(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        others = [
            {"user": "u-1"},
            {"metadata": {"job_id": "7"}},
            {"stream": False},
            {"stream": True, "stream_options": {"include_usage": False}},
            {"store": False},
        ]
        for extra in ({}, *others):
            answer = await gateway.post(CHAT | extra)
            assert answer.status == 200
        assert len(up.log) == 1
        reordered = orjson.dumps(dict(reversed(CHAT.items())), option=orjson.OPT_INDENT_2)
        assert (await gateway.post(reordered)).headers[CACHE].startswith(HIT)

    async def test_a_hit_needs_no_upstream(self, gateway: Gateway, up: Upstream) -> None:
        await gateway.post(CHAT)
        up.on(lambda _: fake.error_reply(500))
        assert (await gateway.post(CHAT)).json["choices"][0]["message"]["content"][:8] == "Answer 1"
        assert (await gateway.post(CHAT | {"seed": 1})).status == 502

    async def test_age_counts_from_the_answer_and_no_hit_prolongs_it(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        number_answers(up)
        async with running(tmp_path, config(up, "ttl: 1s")) as gateway:
            ends = time.monotonic() + 1.15
            said = [(await gateway.post(CHAT)).headers[CACHE]]
            while time.monotonic() < ends:
                said.append((await gateway.post(CHAT)).headers[CACHE])
                await asyncio.sleep(0.1)
        assert said[0] == "miss"
        assert said[1].startswith(HIT)
        assert said.count("miss") == 2
        assert len(up.log) == 2


class TestDirectives:
    async def test_no_cache_asks_and_keeps(self, gateway: Gateway) -> None:
        said = [await ask(gateway, directive) for directive in ("", "no-cache", "")]
        assert said == [("miss", "1"), ("miss; reason=no-cache", "2"), ("hit", "2")]

    async def test_no_store_neither_reads_nor_writes(self, gateway: Gateway) -> None:
        said = [await ask(gateway, d) for d in ("no-store", "", "no-store", "")]
        bypass = "bypass; reason=no-store"
        assert said == [(bypass, "1"), ("miss", "2"), (bypass, "3"), ("hit", "2")]

    async def test_max_age(self, gateway: Gateway) -> None:
        assert await ask(gateway, "") == ("miss", "1")
        assert await ask(gateway, "max-age=60") == ("hit", "1")
        assert await ask(gateway, "max-age=0") == ("miss", "2")
        assert await ask(gateway, "") == ("hit", "2")
        await asyncio.sleep(1.05)
        assert await ask(gateway, "max-age=1") == ("miss", "3")
        assert await ask(gateway, "max-age=60") == ("hit", "3")

    @pytest.mark.parametrize(
        "directive", ["only-if-cached", "only-if-cached, no-cache", "only-if-cached, no-store"]
    )
    async def test_only_if_cached_never_asks(
        self, gateway: Gateway, up: Upstream, directive: str
    ) -> None:
        answer = await gateway.post(CHAT, headers={CACHE: directive})
        assert answer.error == (504, "invalid_request_error", "not_cached")
        assert answer.headers["x-should-retry"] == "false"
        assert up.log == []
        (row,) = await gateway.rows()
        names = ("status_code", "error_code", "attempts", "cached", "cost_nanousd")
        assert [row[name] for name in names] == [504, "not_cached", 0, False, None]

    async def test_only_if_cached_gives_what_is_there(self, gateway: Gateway) -> None:
        await gateway.post(CHAT)
        assert await ask(gateway, "only-if-cached") == ("hit", "1")

    async def test_only_if_cached_is_not_tried_again_by_the_sdk(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        async with gateway.client(max_retries=3) as client:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.chat.completions.create(
                    **CHAT, extra_headers={CACHE: "only-if-cached"}
                )
        assert raised.value.code == "not_cached"
        assert len(await gateway.rows(1)) == 1

    async def test_a_namespace_is_a_room_of_its_own(self, gateway: Gateway) -> None:
        rooms = ["", "namespace=a", "namespace=b", "namespace=a", "namespace=b", ""]
        said = [await ask(gateway, room) for room in rooms]
        assert [number for _, number in said] == ["1", "2", "3", "2", "3", "1"]

    async def test_a_tag_changes_no_answer(self, gateway: Gateway) -> None:
        said = [await ask(gateway, d) for d in ("tag=docs, tag=v2", "", "tag=other")]
        assert said == [("miss", "1"), ("hit", "1"), ("hit", "1")]

    @pytest.mark.parametrize(
        "directive",
        ["nocache", "max-age", "max-age=-1", "max-age=1.5", "namespace=", "tag=a b", "no-cache=1"],
    )
    async def test_what_is_not_known_is_refused(
        self, gateway: Gateway, up: Upstream, directive: str
    ) -> None:
        answer = await gateway.post(CHAT, headers={CACHE: directive})
        assert answer.error == (400, "invalid_request_error", "invalid_value")
        assert answer.json["error"]["param"] == CACHE
        assert CACHE in answer.json["error"]["message"]
        assert up.log == []


async def ask(gateway: Gateway, directive: str = "", body: Any = CHAT) -> tuple[str, str]:
    """What the header says, `hit` for any of the exact tier; and the number of the answer."""
    answer = await gateway.post(body, headers={CACHE: directive} if directive else {})
    assert answer.status == 200, answer.body
    said, text = answer.headers[CACHE], answer.json["choices"][0]["message"]["content"]
    return "hit" if said.startswith(HIT) else said, text.split()[1].strip(".")


class TestBypasses:
    @pytest.mark.parametrize(
        ("path", "extra", "reason"),
        [
            ("/chat/completions", {"temperature": 1.2}, "temperature"),
            ("/chat/completions", {"store": True}, "state"),
            ("/completions", {"prompt": "Hi", "temperature": 1.01}, "temperature"),
            ("/responses", {"input": "Hi"}, "state"),
            ("/responses", {"input": "Hi", "store": True}, "state"),
            ("/responses", {"input": "Hi", "store": False, "conversation": "c"}, "state"),
            ("/responses", {"input": "Hi", "store": False, "temperature": 2}, "temperature"),
        ],
    )
    async def test_what_is_not_for_the_cache(
        self, gateway: Gateway, up: Upstream, path: str, extra: Any, reason: str
    ) -> None:
        body = (CHAT if path == "/chat/completions" else {"model": "up/m"}) | extra
        answers = [await gateway.post(body, "/v1" + path) for _ in range(2)]
        assert [a.status for a in answers] == [200, 200]
        assert [a.headers[CACHE] for a in answers] == [f"bypass; reason={reason}"] * 2
        assert len(up.log) == 2

    async def test_the_temperature_that_may_be_kept_is_the_operators(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        number_answers(up)
        async with running(tmp_path, config(up, "temperature: 0.5")) as gateway:
            cold, warm = CHAT | {"temperature": 0.5}, CHAT | {"temperature": 0.6}
            said = [await ask(gateway, body=body) for body in (cold, cold, warm, CHAT)]
            vectors = [await tell_embedding(gateway, False) for _ in range(2)]
        bypass = "bypass; reason=temperature"
        assert said == [("miss", "1"), ("hit", "1"), (bypass, "2"), (bypass, "3")]
        assert vectors[1].headers[CACHE].startswith(HIT)

    async def test_switched_off_there_is_nothing(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        async with running(tmp_path, config(up, "enabled: false")) as gateway:
            said = [await ask(gateway, directive) for directive in ("", "", "max-age=60")]
            refused = await gateway.post(CHAT, headers={CACHE: "only-if-cached"})
            at_once = await asyncio.gather(*(gateway.post(STREAM) for _ in range(5)))
            rows = await gateway.rows(9)
        assert said == [("bypass; reason=disabled", number) for number in "123"]
        assert refused.error == (504, "invalid_request_error", "not_cached")
        assert [answer.status for answer in at_once] == [200] * 5
        assert len(up.log) == 8
        assert not any(row["cached"] or row["saved_nanousd"] for row in rows)

    async def test_a_task_may_be_left_out(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        tasks = "tasks: {draw: {targets: [up/m], cache: {enabled: false}}, sum: up/m}"
        async with running(tmp_path, config(up, extra=tasks)) as gateway:
            draw, total = CHAT | {"model": "task/draw"}, CHAT | {"model": "task/sum"}
            said = [await ask(gateway, body=body) for body in (draw, draw, total, total)]
        off = "bypass; reason=disabled"
        assert said == [(off, "1"), (off, "2"), ("miss", "3"), ("hit", "3")]

    async def test_a_body_that_is_deeper_than_can_be_told_apart(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        deep = orjson.dumps(CHAT)[:-1] + b',"x":' + b'{"a":' * 300 + b"1" + b"}" * 301
        answers = [await gateway.post(deep) for _ in range(2)]
        assert [a.headers[CACHE] for a in answers] == ["bypass; reason=body"] * 2
        assert [received.body.count(b'{"a":') for received in up.log] == [300, 300]


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"m": {"type": "integer"}}, "required": ["m"]}
FORM = {"type": "json_schema", "json_schema": {"name": "height", "schema": SCHEMA}}


def said(finish: str = "stop", **over: Any) -> dict[str, Any]:
    """A completion whose message or whose end is another."""
    whole = fake.chat_completion("2,962 m", finish=finish)
    whole["choices"][0]["message"] |= over
    return whole


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
UNFIT: dict[str, tuple[dict[str, Any], Any]] = {
    "a tool call": ({"tools": [TOOL]}, said("tool_calls", content=None, tool_calls=[CALL])),
    "a tool call that ends like words": ({"tools": [TOOL]}, said(tool_calls=[CALL])),
    "a refusal": ({}, said(content=None, refusal="I can't")),
    "the filter": ({}, said("content_filter")),
    "cut at its length": ({}, said("length")),
    "no words": ({}, said(content=" ")),
    "no JSON where it was asked for": ({"response_format": FORM}, said()),
    "JSON without what is required": ({"response_format": FORM}, said(content='{"n": 1}')),
    "fewer choices than were asked for": ({"n": 2}, said()),
}
BEGUN = fake.chat_chunks(["It is", " 2,962 m"], finish=None)
ERROR = b'{"error":{"message":"boom","type":"server_error"}}'
CUT: dict[str, Script] = {
    "an end without a finish": fake.sse(*BEGUN),
    "the end of the connection": [*list(fake.sse(*BEGUN, done=False))[:-1], fake.Close()],
    "a reset": [*list(fake.sse(*BEGUN, done=False))[:-1], fake.Sleep(0.05), fake.Reset()],
    "an error inside": fake.sse(*BEGUN, ERROR, done=False),
    "an error after its end": fake.sse(*fake.chat_chunks(["It is"])[:-1], ERROR),
}


class TestWhatIsNotKept:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("what", UNFIT)
    async def test_an_answer_that_is_none_for_others(
        self, gateway: Gateway, up: Upstream, what: str, stream: bool
    ) -> None:
        extra, answer = UNFIT[what]
        up.on(lambda _: as_stream(answer) if stream else fake.json_reply(answer))
        bodies = [CHAT | extra | {"stream": stream}] * 2
        answers = [await gateway.post(body) for body in bodies]
        assert [a.status for a in answers] == [200, 200]
        assert [a.headers[CACHE].split(";")[0] for a in answers] == ["miss", "miss"]
        assert len(up.log) == 2

    async def test_the_same_with_json_is_kept(self, gateway: Gateway, up: Upstream) -> None:
        """So that it is for the JSON that the others are not."""
        up.on(lambda _: fake.chat_reply('{"m": 2962}'))
        for _ in range(2):
            answer = await gateway.post(CHAT | {"response_format": FORM})
        assert answer.headers[CACHE].startswith(HIT)

    @pytest.mark.parametrize("what", CUT)
    async def test_a_stream_that_is_not_whole(
        self, gateway: Gateway, up: Upstream, what: str
    ) -> None:
        up.on(lambda _: CUT[what])
        answers = [await gateway.post(STREAM) for _ in range(2)]
        assert [a.headers[CACHE] for a in answers] == ["miss", "miss"]
        assert not any(a.body.endswith(b"data: [DONE]\n\n") for a in answers)
        assert len(up.log) == 2
        number_answers(up)
        assert (await gateway.post(CHAT)).headers[CACHE] == "miss"
        assert (await gateway.post(CHAT)).headers[CACHE].startswith(HIT)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_error(self, gateway: Gateway, up: Upstream, stream: bool) -> None:
        up.on(lambda _: fake.error_reply(500))
        answers = [await gateway.post(CHAT | {"stream": stream}) for _ in range(2)]
        assert [a.status for a in answers] == [502, 502]
        assert len(up.log) == 2

    async def test_what_a_client_left_in_the_middle_of(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        up.on(lambda _: [*list(fake.sse(*BEGUN, done=False))[:-1], fake.Stall()])
        await leave_after(gateway, raw_request(gateway, STREAM), b"2,962 m")
        await up.wait_until_closed(1)
        number_answers(up)
        assert await ask(gateway) == ("miss", "2")
        assert await ask(gateway) == ("hit", "2")


def as_stream(answer: dict[str, Any]) -> Script:
    """The stream of a completion, all of each choice in one chunk."""
    shared = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    chunks = []
    for choice in answer["choices"]:
        delta = {name: value for name, value in choice["message"].items() if value is not None}
        calls = delta.pop("tool_calls", [])
        if calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        heard = {"index": choice["index"], "delta": delta, "finish_reason": None}
        end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        chunks += [shared | {"choices": [heard]}, shared | {"choices": [end]}]
    return fake.sse(*map(orjson.dumps, chunks))


def raw_request(gateway: Gateway, body: Any) -> bytes:
    raw = orjson.dumps(body)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
        f"content-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class TestTenants:
    """Row 42 of the fault table, and what else two requests may differ in."""

    async def test_row_42_two_tenants_never_share(self, gateway: Gateway, up: Upstream) -> None:
        keys = [await new_key(gateway), await new_key(gateway), await new_key(gateway, "zoe")]
        keys += [await new_key(gateway, "ann")]
        for number, headers in enumerate(keys, 1):
            for expected in ("miss", HIT):
                answer = await gateway.post(CHAT, headers=headers)
                assert answer.headers[CACHE].startswith(expected)
                assert f"Answer {number}." in answer.body.decode()
        assert len(up.log) == 4

    async def test_a_users_keys_share(self, gateway: Gateway, up: Upstream) -> None:
        keys = [await new_key(gateway, "zoe") for _ in range(2)]
        said = [(await gateway.post(CHAT, headers=headers)).headers[CACHE] for headers in keys]
        assert (said[0], said[1][: len(HIT)]) == ("miss", HIT)
        first, second = await gateway.rows(2)
        assert first["key_id"] != second["key_id"]

    async def test_row_42_a_services_customers_never_share(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        number_answers(up)
        text = config(up, auth=f", service_keys: [{SERVICE}]")
        callers = [("mail", "a"), ("mail", "b"), ("chat", "a"), ("mail", None), (None, None)]
        async with running(tmp_path, text) as gateway:
            for expected in ("miss", HIT):
                for number, (service, user) in enumerate(callers, 1):
                    given = {"x-turnout-service": service, "x-turnout-user": user}
                    headers = {name: value for name, value in given.items() if value}
                    answer = await as_service(gateway, headers)
                    assert answer.headers[CACHE].startswith(expected)
                    assert f"Answer {number}." in answer.body.decode()
        assert len(up.log) == len(callers)

    @pytest.mark.parametrize(
        "change",
        [
            {"messages": [{"role": "system", "content": "Be verbose."}, MESSAGES[1]]},
            {"messages": MESSAGES[1:]},
            {"messages": [{"role": "developer", "content": "Be brief."}, MESSAGES[1]]},
            {"messages": [MESSAGES[0], {"role": "user", "content": "Hi"}, *MESSAGES[1:]]},
        ],
    )
    async def test_row_42_a_changed_system_prompt_or_turn(
        self, gateway: Gateway, change: Any
    ) -> None:
        assert await ask(gateway) == ("miss", "1")
        assert await ask(gateway, body=CHAT | change) == ("miss", "2")
        assert await ask(gateway) == ("hit", "1")

    @pytest.mark.parametrize(
        "change",
        [
            {"tools": [TOOL]},
            {"tools": [TOOL], "tool_choice": "none"},
            {"tools": [TOOL | {"function": TOOL["function"] | {"description": "x"}}]},
        ],
    )
    async def test_row_42_changed_tools(self, gateway: Gateway, change: Any) -> None:
        with_tools = CHAT | {"tools": [TOOL], "tool_choice": "auto"}
        assert await ask(gateway, body=with_tools) == ("miss", "1")
        assert await ask(gateway, body=CHAT | change) == ("miss", "2")
        assert await ask(gateway, body=CHAT) == ("miss", "3")
        assert await ask(gateway, body=with_tools) == ("hit", "1")

    async def test_row_42_a_partial_stream_is_not_kept(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        up.on(lambda _: CUT["the end of the connection"])
        answer = await gateway.post(STREAM)
        assert b'"error"' in answer.body
        assert b"[DONE]" not in answer.body
        number_answers(up)
        assert await ask(gateway) == ("miss", "2")

    @pytest.mark.parametrize(
        "change",
        [
            {"temperature": 0.5},
            {"max_tokens": 7},
            {"seed": 1},
            {"stop": ["."]},
            {"response_format": {"type": "text"}},
            {"brand_new": 1},
            {"model": "up/n"},
        ],
    )
    async def test_any_other_parameter(self, gateway: Gateway, change: Any) -> None:
        assert await ask(gateway) == ("miss", "1")
        assert await ask(gateway, body=CHAT | change) == ("miss", "2")

    async def test_names_of_one_model_and_what_they_lead_to(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        number_answers(up)
        names = "models: {fast: up/m, quick: up/m}\ntasks: {sum: {targets: [up/m], defaults: %s}}"
        async with running(tmp_path, config(up, extra=names % "{seed: 1}")) as gateway:
            bodies = [CHAT | {"model": name} for name in ("up/m", "fast", "quick", "task/sum")]
            numbers = [(await ask(gateway, body=body))[1] for body in bodies * 2]
            assert numbers == ["1", "2", "3", "4"] * 2
            changed = names.replace("fast: up/m", "fast: [up/m, up/n]") % "{seed: 2}"
            await reload(gateway, config(up, extra=changed))
            numbers = [(await ask(gateway, body=body))[1] for body in bodies]
        assert numbers == ["1", "5", "3", "6"]

    async def test_an_epoch_leaves_all_behind(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        async with running(tmp_path, config(up, "epoch: a")) as gateway:
            assert await ask(gateway) == ("miss", "1")
            await reload(gateway, config(up, "epoch: b"))
            assert await ask(gateway) == ("miss", "2")
            await reload(gateway, config(up, "epoch: a"))
            assert await ask(gateway) == ("hit", "1")

    async def test_headers_that_go_upstream_count(self, gateway: Gateway) -> None:
        for headers, expected in (({}, "miss"), ({"openai-beta": "x=1"}, "miss"), ({}, HIT)):
            answer = await gateway.post(CHAT, headers=headers)
            assert answer.headers[CACHE].startswith(expected)


async def new_key(gateway: Gateway, user: str | None = None, **more: Any) -> dict[str, str]:
    """The header of a new key."""
    made = await gateway.call("POST", "/api/v1/keys", {"user_id": user, **more})
    assert made.status == 201, made.body
    return {"authorization": f"Bearer {made.json['key']}"}


async def as_service(gateway: Gateway, headers: dict[str, str]) -> Answer:
    url = gateway.base_url + "/chat/completions"
    given = {"x-service-key": SERVICE, **headers}
    async with gateway.session.post(url, json=CHAT, headers=given) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read())


async def reload(gateway: Gateway, text: str) -> None:
    """Returns when another configuration is in force."""
    before = (await gateway.call("GET", "/health")).json["config"]["version"]
    gateway.config.write_text(text)
    async with asyncio.timeout(10):
        while (await gateway.call("GET", "/health")).json["config"]["version"] == before:
            await asyncio.sleep(0.05)


class TestLimits:
    async def test_a_hit_is_a_request(self, gateway: Gateway, up: Upstream) -> None:
        headers = await new_key(gateway, limits={"rpd": 3})
        answers = [await gateway.post(CHAT, headers=headers) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[2].headers[CACHE].startswith(HIT)
        left = [a.headers["x-ratelimit-remaining-requests"] for a in answers[:3]]
        assert left == ["2", "1", "0"]
        assert len(up.log) == 1

    @pytest.mark.parametrize("limits", [{"tpd": 250}, {"budget": {"amount": 0.0025, "per": "day"}}])
    async def test_a_hit_is_neither_tokens_nor_money(
        self, gateway: Gateway, up: Upstream, limits: Any
    ) -> None:
        """An answer comes to 12 tokens and 39,000 nano-dollars, and reserves a little over 100 and
        1,000,000: twenty such answers would not find room, and two at once do."""
        headers = await new_key(gateway, limits=limits)
        body = CHAT | {"max_tokens": 75}
        for number in range(60):
            answer = await gateway.post(body, headers=headers)
            assert answer.status == 200, (number, answer.body)
        assert len(up.log) == 1


# Single flight.


@asynccontextmanager
async def crowd(gateway: Gateway) -> AsyncIterator[Callable[[Any], Awaitable[Answer]]]:
    """Posts of any number at once: the gateway's own session has a hundred connections."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    url = gateway.base_url + "/chat/completions"

    async def post(body: Any) -> Answer:
        async with session.post(url, json=body, headers=headers) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield post


async def under_way(count: int) -> None:
    """Returns when the server serves so many requests: each is a task of uvicorn's."""
    async with asyncio.timeout(20):
        while sum("run_asgi" in repr(t.get_coro()) for t in asyncio.all_tasks()) < count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # they have got as far as they can


def words(answer: Answer) -> str:
    """The text of an answer, streamed or not."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json["choices"][0]["message"]["content"])
    assert answer.body.endswith(b"data: [DONE]\n\n")
    chunks = [orjson.loads(part[6:]) for part in answer.body.split(b"\n\n")[:-2]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def held(up: Upstream, *scripts: Callable[[bool], Script]) -> asyncio.Event:
    """Each request is answered by the next of `scripts`, told whether it streams, the last of
    which stays; none before the event."""
    event = asyncio.Event()

    def match(received: Received) -> Script:
        script = scripts[min(len(up.log), len(scripts)) - 1]
        return [fake.WaitFor(event), *script(bool(received.json.get("stream")))]

    up.on(match)
    return event


def fine(stream: bool) -> Script:
    return chat("It is 2,962 m high.", stream)


class TestSingleFlight:
    @pytest.mark.parametrize("kinds", [(False,), (True,), (False, True)], ids=str)
    async def test_two_hundred_at_once_are_one(
        self, gateway: Gateway, up: Upstream, kinds: tuple[bool, ...]
    ) -> None:
        go_on = held(up, fine)
        bodies = [CHAT | {"stream": kinds[n % len(kinds)]} for n in range(200)]
        async with crowd(gateway) as post:
            asking = [asyncio.ensure_future(post(body)) for body in bodies]
            await under_way(200)
            go_on.set()
            answers = await asyncio.gather(*asking)
        assert len(up.log) == 1
        assert [answer.status for answer in answers] == [200] * 200
        assert {words(answer) for answer in answers} == {"It is 2,962 m high."}
        marks = [answer.headers[CACHE] for answer in answers]
        assert marks.count("miss") == 1
        assert sum(mark.startswith(HIT) for mark in marks) == 199
        rows = await gateway.rows(200)
        assert sum(row["cost_nanousd"] for row in rows) == COST
        assert sum(row["saved_nanousd"] for row in rows) == 199 * COST
        assert sum(row["cached"] for row in rows) == 199

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_leaders_client_is_killed(
        self, gateway: Gateway, up: Upstream, stream: bool
    ) -> None:
        begun: Script = [*list(fake.sse(*BEGUN, done=False))[:-1], fake.Stall()]
        stalled: Script = begun if stream else [fake.Stall()]
        scripts = [stalled]
        up.on(lambda received: scripts.pop() if scripts else fine(received.json["stream"]))
        body = CHAT | {"stream": stream}
        port = int(gateway.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_request(gateway, body))
        if stream:
            await reader.readuntil(b"2,962 m")
        await up.wait_for_requests(1)
        async with crowd(gateway) as post:
            asking = [asyncio.ensure_future(post(body)) for _ in range(50)]
            await under_way(51)
            assert len(up.log) == 1
            writer.transport.abort()
            answers = await asyncio.gather(*asking)
        assert len(up.log) == 2
        assert {words(answer) for answer in answers} == {"It is 2,962 m high."}
        assert sum(answer.headers[CACHE] == "miss" for answer in answers) == 1

    async def test_the_leaders_client_is_killed_before_anything_is_asked(
        self, gateway: Gateway, up: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While another process, or the tier by meaning, is waited for."""
        led: list[Visit] = []

        async def elsewhere(cache: Cache, visit: Visit, key: Key) -> None:
            led.append(visit)
            await asyncio.sleep(60 if len(led) == 1 else 0)

        monkeypatch.setattr(Cache, "_elsewhere", elsewhere)
        port = int(gateway.url.rsplit(":", 1)[1])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_request(gateway, CHAT))
        await under_way(1)
        async with crowd(gateway) as post:
            asking = [asyncio.ensure_future(post(CHAT)) for _ in range(10)]
            await under_way(11)
            assert (len(led), len(up.log)) == (1, 0)
            writer.transport.abort()
            async with asyncio.timeout(5):
                answers = await asyncio.gather(*asking)
        assert (len(led), len(up.log)) == (2, 1)
        assert {words(answer)[:9] for answer in answers} == {"Answer 1."}

    async def test_where_the_leaders_targets_all_fail_the_next_leads(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        def fails(_: bool) -> Script:
            return fake.error_reply(500)

        go_on = held(up, fails, fails, fine)
        alias = "models: {both: [up/m, up/n]}\nretry: {attempts: 2}"
        text = config(up, extra=alias)
        async with running(tmp_path, text) as gateway, crowd(gateway) as post:
            asking = [
                asyncio.ensure_future(post(CHAT | {"model": "both", "stream": bool(n % 2)}))
                for n in range(50)
            ]
            await under_way(50)
            go_on.set()
            answers = await asyncio.gather(*asking)
        statuses = [answer.status for answer in answers]
        assert (statuses.count(502), statuses.count(200)) == (1, 49)
        assert [received.json["model"] for received in up.log] == ["m", "n", "m"]

    async def test_where_all_fail_each_hears_of_it_soon(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        go_on = held(up, lambda _: fake.error_reply(500))
        async with crowd(gateway) as post:
            asking = [asyncio.ensure_future(post(CHAT)) for _ in range(100)]
            await under_way(100)
            go_on.set()
            began = time.monotonic()
            answers = await asyncio.gather(*asking)
        assert time.monotonic() - began < 10
        assert {answer.status for answer in answers} <= {502, 503}
        assert len(up.log) <= 100

    async def test_an_answer_that_may_not_be_kept_is_nobody_elses(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        """All others ask at once: the upstream holds each until it has them all."""

        def cut(stream: bool) -> Script:
            return chat("It is", stream, finish="length")

        first, others = asyncio.Event(), asyncio.Event()
        up.on(
            lambda received: [
                fake.WaitFor(first if len(up.log) == 1 else others),
                *cut(received.json["stream"]),
            ]
        )
        async with crowd(gateway) as post:
            asking = [
                asyncio.ensure_future(post(CHAT | {"stream": bool(n % 2)})) for n in range(40)
            ]
            await under_way(40)
            assert len(up.log) == 1
            first.set()
            await up.wait_for_requests(40, timeout=10)
            others.set()
            answers = await asyncio.gather(*asking)
        assert len(up.log) == 40
        assert {words(answer) for answer in answers} == {"It is"}
        marks = sorted(answer.headers[CACHE] for answer in answers)
        assert marks == ["miss"] + ["miss; reason=alone"] * 39

    async def test_a_follower_that_leaves_frees_what_it_held(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        go_on = held(up, fine)
        await gateway.post(CHAT | {"model": "nope"})  # what is made once is made now
        leader = asyncio.ensure_future(gateway.post(CHAT))
        await up.wait_for_requests(1)
        before = len(asyncio.all_tasks())
        for _ in range(4):
            await asyncio.gather(
                *(
                    leave_after(gateway, raw_request(gateway, CHAT | {"stream": bool(n % 2)}), b"")
                    for n in range(10)
                )
            )
        async with asyncio.timeout(2):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.02)
        assert not leader.done()
        go_on.set()
        assert (await leader).headers[CACHE] == "miss"
        assert (await ask_any(gateway)).startswith(HIT)
        assert len(up.log) == 1
        rows = await gateway.rows(43)
        left = [row for row in rows if row["outcome"] == "client_closed"]
        assert len(left) == 40
        assert not any(row["cached"] or row["attempts"] or row["cost_nanousd"] for row in left)

    async def test_a_follower_that_leaves_gives_its_place_back(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        go_on = held(up, fine)
        headers = await new_key(gateway, limits={"concurrency": 2})
        mine = Gateway(
            gateway.url, gateway.home, gateway.config, headers["authorization"][7:], gateway.session
        )
        leader = asyncio.ensure_future(mine.post(CHAT))
        await up.wait_for_requests(1)
        for _ in range(3):
            await leave_after(mine, raw_request(mine, CHAT), b"")
            await asyncio.sleep(0.05)
        follower = asyncio.ensure_future(mine.post(CHAT))
        await under_way(2)
        assert (await mine.post(CHAT)).status == 429
        go_on.set()
        assert [(await task).status for task in (leader, follower)] == [200, 200]
        assert len(up.log) == 1

    async def test_the_leader_and_all_who_wait_leave(self, gateway: Gateway, up: Upstream) -> None:
        up.on(lambda _: [fake.Stall()])
        sent = raw_request(gateway, CHAT)
        await leave_after(gateway, sent, b"")
        await up.wait_until_closed(1)
        before = (len(asyncio.all_tasks()), 10_000)
        await asyncio.gather(*(leave_after(gateway, sent, b"") for _ in range(30)))
        await settled(before, up)
        number_answers(up)
        assert (await ask(gateway))[0] == "miss"

    async def test_who_waits_longer_than_it_may_is_told(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        go_on = held(up, fine)
        leader = asyncio.ensure_future(gateway.post(CHAT))
        await up.wait_for_requests(1)
        late = await gateway.post(CHAT, headers={"x-turnout-timeout": "0.2"})
        assert late.error == (504, "upstream_error", "upstream_timeout")
        go_on.set()
        assert (await leader).status == 200
        assert len(up.log) == 1

    async def test_row_38_who_waits_when_the_drain_is_over_gets_a_503(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script([fake.Stall()])
        (tmp_path / "config.yaml").write_text(config(up, extra="server: {drain: 1s}"))
        with serving(tmp_path) as served:
            headers = {"authorization": f"Bearer {served.export.group(2)}"}
            url = served.base_url + "/chat/completions"
            async with httpx.AsyncClient(timeout=20, headers=headers) as client:
                asking = [asyncio.ensure_future(client.post(url, json=CHAT)) for _ in range(5)]
                await up.wait_for_requests(1)
                await asyncio.sleep(0.3)
                served.process.send_signal(signal.SIGTERM)
                answers = await asyncio.gather(*asking)
            assert await asyncio.to_thread(served.process.wait, 10) == -signal.SIGTERM
        assert [answer.status_code for answer in answers] == [503] * 5
        codes = {answer.json()["error"]["code"] for answer in answers}
        assert codes == {"server_shutting_down"}
        assert all(answer.headers["retry-after"] for answer in answers)
        assert len(up.log) == 1


async def ask_any(gateway: Gateway) -> str:
    return (await gateway.post(CHAT)).headers[CACHE]
