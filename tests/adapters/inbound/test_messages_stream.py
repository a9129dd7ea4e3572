"""Chat streams as Anthropic's events, read by Anthropic's own SDK."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anthropic
import openai
import orjson
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from adapters.anthropic import Anthropic
from adapters.base import Endpoint
from adapters.inbound.base import BridgedStream
from adapters.inbound.messages import Messages
from adapters.openai import OpenAI
from tests.adapters.asks import ask, no_cost
from tests.recordings import Recording, recordings

BRIDGE = Messages()

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers every POST with the given event stream; gives the base URL."""
    answer = b""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    def given(stream: bytes) -> str:
        nonlocal answer
        answer = stream
        return f"http://127.0.0.1:{server.server_port}"

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield given
        server.shutdown()
        thread.join()


def read_messages(url: str) -> Message:
    """What Anthropic's SDK makes of the stream at `url`."""
    with (
        anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_message()


def read_chat(url: str) -> ChatCompletion:
    """What OpenAI's SDK makes of the stream at `url`."""
    with (
        openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
        client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_completion()


def sse(*payloads: Any) -> bytes:
    raw = [p if isinstance(p, bytes) else orjson.dumps(p) for p in payloads]
    return b"".join(b"data: " + p + b"\n\n" for p in raw)


def chunk(delta: Any = None, finish: str | None = None, **over: Any) -> Any:
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return {**frame, "choices": [choice], **over}


def chat(*deltas: Any, finish: str = "stop", usage: Any = None) -> bytes:
    """A whole chat stream of these deltas."""
    usage = usage or {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    start = chunk({"role": "assistant", "content": ""})
    ends = [chunk(finish=finish), chunk(choices=[], usage=usage), b"[DONE]"]
    return sse(start, *map(chunk, deltas), *ends)


def call(
    index: int, arguments: str, id: str | None = None, name: str = "f", **over: Any
) -> dict[str, Any]:
    """A piece of a tool call; the first if there is an `id`."""
    first = {"id": id, "type": "function"} if id else {}
    function = ({"name": name} if id else {}) | {"arguments": arguments}
    return {"tool_calls": [{"index": index, **first, "function": function, **over}]}


def shaped(stream: bytes, size: int | None = None) -> bytes:
    """Anthropic's events for a chat stream, fed in pieces of `size` bytes."""
    shaper = BRIDGE.stream(ask(Endpoint.MESSAGES))
    step = size or len(stream)
    return b"".join(shaper.feed(stream[i : i + step]) for i in range(0, len(stream), step))


def events(stream: bytes) -> list[Any]:
    """The payloads, each of which is named like its event."""
    found = []
    for raw in stream.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = raw.split(b"\n")
        payload = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + payload["type"].encode()
        found.append(payload)
    return found


def blocks(message: Message) -> list[dict[str, Any]]:
    return [
        block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in message.content
    ]


def use(id: str, given: Any, name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


SIGNED = {"index": 0, "type": "thinking", "thinking": "hm so", "signature": "s1"}
REDACTED = {"index": 1, "type": "redacted_thinking", "data": "xx"}

TEXT = chat({"content": "Hel"}, {"content": "lo é"})
THOUGHT = chat(
    {"reasoning_content": "hm "},
    {"reasoning_content": "so"},
    {"thinking_blocks": [SIGNED]},
    {"thinking_blocks": [REDACTED]},
    {"content": "Yes"},
    call(0, "", "a"),
    call(0, '{"x"'),
    call(0, ": 1}"),
    call(1, "{}", "b", "g"),
    finish="tool_calls",
)


class TestEvents:
    def test_a_text_to_the_letter(self) -> None:
        zero = {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-1",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": zero,
        }
        assert events(shaped(TEXT)) == [
            {"type": "message_start", "message": message},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Hel"},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "lo é"},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": zero | {"input_tokens": 3, "output_tokens": 2},
            },
            {"type": "message_stop"},
        ]

    @pytest.mark.parametrize("stream", [TEXT, THOUGHT], ids=["text", "thought"])
    def test_a_split_anywhere_is_the_same(self, stream: bytes) -> None:
        whole = shaped(stream)
        assert shaped(stream, 1) == whole
        for cut in range(1, len(stream)):
            shaper = BRIDGE.stream(ask(Endpoint.MESSAGES))
            assert shaper.feed(stream[:cut]) + shaper.feed(stream[cut:]) == whole

    def test_words_are_said_as_they_come(self) -> None:
        shaper = BRIDGE.stream(ask(Endpoint.MESSAGES))
        assert (
            events(shaper.feed(sse(chunk({"role": "assistant", "content": ""}))))[0]["type"]
            == "message_start"
        )
        assert events(shaper.feed(sse(chunk({"content": "Hi"}))))[-1]["delta"]["text"] == "Hi"
        assert events(shaper.feed(sse(chunk(call(0, '{"a"', "a")))))[-1]["delta"] == {
            "type": "input_json_delta",
            "partial_json": '{"a"',
        }

    def test_a_broken_stream_has_no_end(self) -> None:
        out = shaped(TEXT.removesuffix(b"data: [DONE]\n\n"))
        assert [event["type"] for event in events(out)][-1] == "content_block_delta"

    def test_blocks_are_open_one_at_a_time(self) -> None:
        mixed = chat(call(0, '{"a"', "a"), call(1, "{", "b"), call(0, ":1}"), call(1, "}"))
        opened: list[int] = []
        for event in events(shaped(mixed))[1:-2]:
            if event["type"] == "content_block_start":
                assert event["index"] == len(opened)
                opened.append(event["index"])
            else:
                assert event["index"] == opened[-1]

    def test_nothing_after_the_end(self) -> None:
        assert shaped(TEXT + TEXT) == shaped(TEXT)

    def test_what_is_no_chunk_is_passed_over(self) -> None:
        odd = sse(b"{", b"[]", b"{}", {"choices": [{"delta": {"tool_calls": [1]}}]}, chunk([1]))
        first = TEXT.index(b"\n\n") + 2
        assert shaped(TEXT[:first] + odd + TEXT[first:]) == shaped(TEXT)


class TestRead:
    def test_text(self, serve: Serve) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 9,
            "total_tokens": 109,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            "completion_tokens_details": {"reasoning_tokens": 4},
        }
        got = read_messages(serve(shaped(chat({"content": "Hello"}, usage=usage))))
        assert (got.id, got.model, got.stop_reason) == ("msg_1", "m-1", "end_turn")
        assert blocks(got) == [{"type": "text", "text": "Hello"}]
        assert got.usage.input_tokens == 10
        assert got.usage.cache_read_input_tokens == 60
        assert got.usage.cache_creation_input_tokens == 30
        assert got.usage.output_tokens == 9

    def test_thought_and_calls(self, serve: Serve) -> None:
        got = read_messages(serve(shaped(THOUGHT)))
        assert blocks(got) == [
            {"type": "thinking", "thinking": "hm so", "signature": "s1"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "Yes"},
            use("a", {"x": 1}),
            use("b", {}, "g"),
        ]
        assert got.stop_reason == "tool_use"

    @pytest.mark.parametrize(
        ("deltas", "expected"),
        [
            ([{"reasoning": "hm"}, {"content": "a"}], [("hm", ""), "a"]),
            ([{"thinking_blocks": [SIGNED]}, {"content": "a"}], [("hm so", "s1"), "a"]),
            ([{"thinking_blocks": [{**SIGNED, "thinking": ""}]}], [("", "s1")]),
            (
                [
                    {"reasoning_content": "hm "},
                    {"reasoning_content": "so", "thinking_blocks": [SIGNED]},
                    {"reasoning_content": "and"},
                    {"thinking_blocks": [{**SIGNED, "thinking": "and", "signature": "s2"}]},
                ],
                [("hm so", "s1"), ("and", "s2")],
            ),
            (  # LiteLLM's: each piece said twice, the signature by itself
                [
                    {
                        "reasoning_content": word,
                        "thinking_blocks": [{"type": "thinking", "thinking": word}],
                    }
                    for word in ("hm ", "so")
                ]
                + [{"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]}],
                [("hm so", "s")],
            ),
            (
                [{"content": "a"}, {"reasoning_content": "b"}, {"content": "c"}],
                ["a", ("b", ""), "c"],
            ),
        ],
    )
    def test_thought(self, serve: Serve, deltas: list[Any], expected: list[Any]) -> None:
        got = read_messages(serve(shaped(chat(*deltas))))
        assert [
            (block.thinking, block.signature) if block.type == "thinking" else block.text
            for block in got.content
            if block.type in ("thinking", "text")
        ] == expected
        assert len(got.content) == len(expected)

    @pytest.mark.parametrize(
        "deltas",
        [
            [
                *(call(0, '{"a":{},', "a"), call(0, '"c":1}')),
                *(call(1, '{"b":{}}', "b"), call(2, "{}", "c")),
            ],
            [
                *(call(0, '{"a":{}', "a"), call(1, '{"b"', "b"), call(0, ',"c":1}')),
                *(call(1, ":{}}"), call(2, "{}", "c")),
            ],
        ],
        ids=["in order", "mixed"],
    )
    def test_parallel_calls(self, serve: Serve, deltas: list[Any]) -> None:
        stream = chat(*deltas, finish="tool_calls")
        said = read_chat(serve(stream)).choices[0].message.tool_calls or []
        got = read_messages(serve(shaped(stream)))
        assert [use(c.id, orjson.loads(c.function.arguments)) for c in said] == blocks(got)
        assert blocks(got) == [use("a", {"a": {}, "c": 1}), use("b", {"b": {}}), use("c", {})]

    def test_arguments_that_are_an_object(self, serve: Serve) -> None:
        entry = {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"a": 1}}}
        got = read_messages(serve(shaped(chat({"tool_calls": [entry]}))))
        assert blocks(got) == [use("a", {"a": 1})]

    def test_calls_wait_in_the_order_of_their_indexes(self, serve: Serve) -> None:
        deltas = [
            *(call(0, "", "a"), call(2, "", "c"), call(1, "", "b"), call(1, '{"b":2')),
            *(call(2, "{}"), call(0, '{"a":1}'), call(1, "}")),
        ]  # OpenAI's SDK can't read these
        got = read_messages(serve(shaped(chat(*deltas))))
        assert blocks(got) == [use("a", {"a": 1}), use("b", {"b": 2}), use("c", {})]

    def test_words_between_the_pieces_of_a_call_come_after_it(self, serve: Serve) -> None:
        deltas = [call(0, '{"a"', "a"), {"content": "Well"}, call(0, ":1}"), {"content": "!"}]
        got = read_messages(serve(shaped(chat(*deltas))))
        assert blocks(got) == [use("a", {"a": 1}), {"type": "text", "text": "Well!"}]

    def test_calls_that_all_have_one_index(self, serve: Serve) -> None:
        deltas = [call(0, '{"a":1}', "a"), call(0, '{"b":2}', "b")]
        got = read_messages(serve(shaped(chat(*deltas))))
        assert blocks(got) == [use("a", {"a": 1}), use("b", {"b": 2})]

    def test_a_call_without_arguments_or_an_end_of_them(self, serve: Serve) -> None:
        got = read_messages(serve(shaped(chat(call(0, "", "a"), call(1, '{"b": "x', "b")))))
        assert blocks(got)[0] == use("a", {})
        assert blocks(got)[1]["id"] == "b"

    def test_what_gemini_wants_back_survives_a_loop(self, serve: Serve) -> None:
        extra = {"google": {"thought_signature": "a+/=" * 50}}
        got = read_messages(serve(shaped(chat(call(0, "{}", "a", extra_content=extra)))))
        turns = [{"role": "assistant", "content": blocks(got)}]
        back = BRIDGE.chat(ask(Endpoint.MESSAGES, messages=turns)).body["messages"]
        entry = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert back[0]["tool_calls"] == [{**entry, "extra_content": extra}]

    @pytest.mark.parametrize(
        ("finish", "reason"),
        [("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "end_turn")],
    )
    def test_why_it_ended(self, serve: Serve, finish: str, reason: str) -> None:
        got = read_messages(serve(shaped(chat({"refusal": "No."}, finish=finish))))
        assert (got.stop_reason, blocks(got)) == (reason, [{"type": "text", "text": "No."}])

    def test_an_end_and_nothing_else(self, serve: Serve) -> None:
        got = read_messages(serve(shaped(b"data: [DONE]\n\n")))
        assert (got.content, got.stop_reason, got.usage.output_tokens) == ([], "end_turn", 0)


STREAMS = [found for found in recordings() if found.is_stream and found.status == 200]

CHATS = [
    found
    for found in STREAMS
    if found.path.endswith("/chat/completions") and found.vendor == "openai"
]

MESSAGES = [
    found
    for found in STREAMS
    if found.path == "/v1/messages" and b"_tool_result" not in found.reply
]


class TestRecorded:
    @pytest.mark.parametrize("recorded", CHATS, ids=lambda r: r.id)
    def test_openais_streams(self, serve: Serve, recorded: Recording) -> None:
        said = read_chat(serve(recorded.reply))
        inner = OpenAI().stream(ask(stream=True), no_cost)
        stream = BridgedStream(inner, BRIDGE.stream(ask(Endpoint.MESSAGES)))
        got = read_messages(serve(stream.feed(recorded.reply) + stream.finish()))
        message = said.choices[0].message
        calls = message.tool_calls or []
        assert blocks(got) == [
            *([{"type": "text", "text": message.content}] if message.content else []),
            *(use(c.id, orjson.loads(c.function.arguments), c.function.name) for c in calls),
        ]
        assert got.stop_reason == {"stop": "end_turn", "tool_calls": "tool_use"}.get(
            said.choices[0].finish_reason
        )

    @pytest.mark.parametrize("recorded", MESSAGES, ids=lambda r: r.id)
    @pytest.mark.parametrize("size", [1, 1000])
    def test_anthropics_there_and_back(self, serve: Serve, recorded: Recording, size: int) -> None:
        given = read_messages(serve(recorded.reply))
        an_ask = ask(stream=True)._replace(wants_usage=True)
        inner = Anthropic().stream(an_ask, no_cost)
        stream = BridgedStream(inner, BRIDGE.stream(ask(Endpoint.MESSAGES)))
        raw = recorded.reply
        out = b"".join(stream.feed(raw[i : i + size]) for i in range(0, len(raw), size))
        got = read_messages(serve(out + stream.finish()))
        assert (got.id, got.model, got.stop_reason) == (given.id, given.model, given.stop_reason)
        assert blocks(got) == blocks(given)
        assert got.usage.input_tokens == given.usage.input_tokens
        assert got.usage.output_tokens == given.usage.output_tokens

    def test_there_are_some(self) -> None:
        assert len(CHATS) == 3
        assert len(MESSAGES) == 3
