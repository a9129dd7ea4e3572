"""Ollama's dialect: what the vendor's own client sends, and answers that it accepts.

There are no recordings of Ollama. The answers below are those of docs/api.md of
github.com/ollama/ollama and of docs.ollama.com, as lines; each says what was changed. That they
are Ollama's shape is checked with the `ollama` package: its types, and its client over a socket.
"""

import base64
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import ollama
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._types import EmbedRequest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters import completion
from adapters.base import (
    Ask,
    Endpoint,
    FailureKind,
    Outgoing,
    Reply,
    Retry,
    Target,
    UpstreamFailure,
    Usage,
)
from adapters.ollama import Ollama
from tests.adapters.asks import ask, no_cost, target

OLLAMA = Ollama()
URL = "http://127.0.0.1:11434"


def lines(text: bytes) -> bytes:
    """One object a line: what is indented goes on from the line before."""
    return text.replace(b"\n  ", b"")


# docs/api.md, "Chat request (Streaming)", as a current server sends it: the last line has an
# empty message and a done_reason.
TEXT = lines(
    b"""\
{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00",
  "message":{"role":"assistant","content":"The","images":null},"done":false}
{"model":"llama3.2","created_at":"2023-08-04T08:52:19.4-07:00","message":{"role":"assistant",
  "content":" sky \xc3\xa9 "},"done":false}
{"model":"llama3.2","created_at":"2023-08-04T08:52:19.5-07:00","message":{"role":"assistant",
  "content":"\xe6\x97\xa5"},"done":false}
{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","message":{"role":"assistant",
  "content":""},"done_reason":"stop","done":true,"total_duration":4883583458,
  "load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,
  "eval_count":282,"eval_duration":4535599000}
"""
)

# The same example's "Final response" as the page has it: no message and no reason.
BARE_END = lines(
    b"""\
{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00",
  "message":{"role":"assistant","content":"The","images":null},"done":false}
{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","done":true,
  "total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,
  "prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}
"""
)

# docs/api.md, "Chat request (Streaming with tools)", with a thinking model's name; the thought, the
# words, the id and the second call are put in as api/types.go has them (Message.Thinking,
# ToolCall.ID, ToolCallFunction.Index).
TOOLS = lines(
    b"""\
{"model":"qwen3","created_at":"2025-07-07T20:22:19.1Z","message":{"role":"assistant",
  "content":"","thinking":"Two "},"done":false}
{"model":"qwen3","created_at":"2025-07-07T20:22:19.11Z","message":{"role":"assistant",
  "content":"","thinking":"cities."},"done":false}
{"model":"qwen3","created_at":"2025-07-07T20:22:19.12Z","message":{"role":"assistant",
  "content":"Wait."},"done":false}
{"model":"qwen3","created_at":"2025-07-07T20:22:19.184789Z","message":{"role":"assistant",
  "content":"","tool_calls":[{"function":{"name":"get_weather",
  "arguments":{"city":"Tokyo"}}}]},"done":false}
{"model":"qwen3","created_at":"2025-07-07T20:22:19.19Z","message":{"role":"assistant",
  "content":"","tool_calls":[{"id":"call_k1q2","function":{"index":1,"name":"get_weather",
  "arguments":{"city":"Z\xc3\xbcrich","days":2}}}]},"done":false}
{"model":"qwen3","created_at":"2025-07-07T20:22:19.19314Z","message":{"role":"assistant",
  "content":""},"done_reason":"stop","done":true,"total_duration":182242375,
  "load_duration":41295167,"prompt_eval_count":169,"prompt_eval_duration":24573166,
  "eval_count":15,"eval_duration":115959084}
"""
)

# docs/api.md, "Chat request (No streaming)" and "Chat request (with tools)", with the words and the
# counts of the two streams above.
TEXT_WHOLE = lines(
    b"""\
{"model":"llama3.2","created_at":"2023-12-12T14:13:43.416799Z","message":{"role":"assistant",
  "content":"The sky \xc3\xa9 \xe6\x97\xa5"},"done_reason":"stop","done":true,
  "total_duration":5191566416,"load_duration":2154458,"prompt_eval_count":26,
  "prompt_eval_duration":383809000,"eval_count":282,"eval_duration":4799921000}
"""
).rstrip(b"\n")
TOOLS_WHOLE = lines(
    b"""\
{"model":"qwen3","created_at":"2024-07-22T20:33:28.123648Z","message":{"role":"assistant",
  "content":"Wait.","thinking":"Two cities.","tool_calls":[{"function":{"name":"get_weather",
  "arguments":{"city":"Tokyo"}}},{"id":"call_k1q2","function":{"index":1,"name":"get_weather",
  "arguments":{"city":"Z\xc3\xbcrich","days":2}}}]},"done_reason":"stop","done":true,
  "total_duration":885095291,"load_duration":3753500,"prompt_eval_count":169,
  "prompt_eval_duration":328493000,"eval_count":15,"eval_duration":552222000}
"""
).rstrip(b"\n")

# docs.ollama.com/api/errors, "Errors that occur while streaming", with chat's message.
BROKEN = lines(
    b"""\
{"model":"gemma3","created_at":"2025-10-26T17:21:21.196249Z","message":{"role":"assistant",
  "content":" Yes"},"done":false}
{"error":"an error was encountered while running the model"}
"""
)

# docs/api.md, "Load a model".
LOAD = lines(
    b"""\
{"model":"llama3.2","created_at":"2024-09-12T21:17:29.110811Z","message":{"role":"assistant",
  "content":""},"done_reason":"load","done":true}
"""
).rstrip(b"\n")

# docs/api.md, "Generate Embeddings", its second example, with the counts of the first.
EMBEDDINGS = lines(
    b"""\
{"model":"all-minilm","embeddings":[[0.010071029,-0.0017594862,0.05007221,0.04692972],
  [-0.0098027075,0.06042469,0.025257962,-0.006364387]],"total_duration":14143917,
  "load_duration":1019500,"prompt_eval_count":8}
"""
).rstrip(b"\n")

CALLS = [
    ("call_new", "get_weather", {"city": "Tokyo"}),
    ("call_k1q2", "get_weather", {"city": "Zürich", "days": 2}),
]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string", "description": "Where"}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
PIXEL = "iVBORw0KGgo="


@pytest.fixture(autouse=True)
def _same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "new_id", lambda prefix: prefix + "new")
    monkeypatch.setattr(completion, "time", _Clock)


class _Clock:
    @staticmethod
    def time() -> float:
        return 1_700_000_000.5


def to(model: str = "llama3.2", **over: Any) -> Target:
    return target(model, dialect="ollama", base_url=URL, **over)


def sent(asked: Ask, model: str = "llama3.2") -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(OLLAMA.request(asked, to(model)).body)
    return body


def embed(**body: Any) -> Ask:
    return ask(Endpoint.EMBEDDINGS, raw=orjson.dumps({"model": "m", **body}))


def read(stream: bytes, cuts: list[int], asked: Ask | None = None) -> tuple[bytes, Any]:
    translator = OLLAMA.stream(asked or ask(stream=True, stream_options=USAGE), no_cost)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    out = b""
    for start, end in pairwise(edges):
        out += translator.feed(stream[start:end])
    return out + translator.finish(), translator


USAGE = {"include_usage": True}


def chunks(out: bytes) -> list[ChatCompletionChunk]:
    events = [entry for entry in out.decode().split("\n\n") if entry]
    assert events.pop() == "data: [DONE]"
    return [
        ChatCompletionChunk.model_validate_json(entry.removeprefix("data: "), strict=True)
        for entry in events
    ]


def refusal(asked: Ask, model: str = "llama3.2") -> Any:
    with pytest.raises(UpstreamFailure) as raised:
        OLLAMA.request(asked, to(model))
    return raised.value.failure


# The vendor's own client, over a socket.


class _Server(ThreadingHTTPServer):
    answer = b""
    status = 200
    path = ""
    body: Any = None


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.server.path = self.path
        self.server.body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(self.server.status)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def client(server: _Server) -> Iterator[ollama.Client]:
    with ollama.Client(f"http://127.0.0.1:{server.server_port}") as opened:
        yield opened


@pytest.mark.parametrize(("stream", "whole"), [(TEXT, TEXT_WHOLE), (TOOLS, TOOLS_WHOLE)])
def test_the_vendors_client_reads_the_answers_as_the_adapter_does(
    server: _Server, client: ollama.Client, stream: bytes, whole: bytes
) -> None:
    server.answer = stream
    parts = list(client.chat("m", [{"role": "user", "content": "Hi"}], stream=True))
    server.answer = whole
    said = client.chat("m", [{"role": "user", "content": "Hi"}])

    text = "".join(part.message.content or "" for part in parts)
    thought = "".join(part.message.thinking or "" for part in parts) or None
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert (said.message.content, said.message.thinking) == (text, thought)
    assert list(said.message.tool_calls or ()) == calls

    answer = ChatCompletion.model_validate_json(OLLAMA.reply(ask(), whole).body, strict=True)
    message = answer.choices[0].message
    assert answer.model == said.model
    assert message.content == text
    assert getattr(message, "reasoning_content", None) == thought
    assert [
        (call.function.name, orjson.loads(call.function.arguments))
        for call in message.tool_calls or ()
    ] == [(call.function.name, call.function.arguments) for call in calls]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == said.prompt_eval_count
    assert answer.usage.completion_tokens == said.eval_count

    out = chunks(read(stream, [])[0])
    deltas = [chunk.choices[0].delta for chunk in out if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == text
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == (thought or "")
    assert out[-1].usage == answer.usage


def test_the_vendors_client_sends_the_same_request(server: _Server, client: ollama.Client) -> None:
    server.answer = TEXT_WHOLE
    client.chat(
        "llama3.2",
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is this?", "images": [PIXEL]},
            {
                "role": "assistant",
                "content": "Let me see.",
                "thinking": "I look.",
                "tool_calls": [
                    {"function": {"name": "get_weather", "arguments": {"city": "Tokyo"}}}
                ],
            },
            {"role": "tool", "content": "22 C", "tool_name": "get_weather"},
        ],
        tools=[WEATHER],
        format=SCHEMA,
        think=True,
        keep_alive="10m",
        options={"temperature": 0.2, "num_predict": 64, "stop": ["\n"], "num_ctx": 8192},
    )
    ours = sent(
        ask(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{PIXEL}"},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "reasoning_content": "I look.",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city":"Tokyo"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "22 C"},
            ],
            tools=[WEATHER],
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
            reasoning_effort="low",
            keep_alive="10m",
            temperature=0.2,
            max_completion_tokens=64,
            stop="\n",
            num_ctx=8192,
        )
    )
    # api/types.go has these two, the Python client not yet.
    assert ours["messages"][2]["tool_calls"][0].pop("id") == "call_1"
    assert ours["messages"][3].pop("tool_call_id") == "call_1"
    assert server.path == "/api/chat"
    assert ours == server.body


def test_the_vendors_client_takes_an_error_line_for_a_failure(
    server: _Server, client: ollama.Client
) -> None:
    server.answer = BROKEN
    with pytest.raises(ollama.ResponseError, match="an error was encountered"):
        list(client.chat("m", [], stream=True))


def test_embeddings_go_and_come_as_the_vendors_client_has_them(
    server: _Server, client: ollama.Client
) -> None:
    server.answer = EMBEDDINGS
    theirs = client.embed("all-minilm", ["why?", "grass"], dimensions=4, truncate=False)
    asked = embed(input=["why?", "grass"], dimensions=4, truncate=False, encoding_format="float")
    assert (server.path, server.body) == ("/api/embed", sent(asked, "all-minilm"))
    EmbedRequest.model_validate(server.body, strict=True)

    reply = OLLAMA.reply(asked, EMBEDDINGS)
    ours = CreateEmbeddingResponse.model_validate_json(reply.body, strict=True)
    assert [entry.embedding for entry in ours.data] == [list(v) for v in theirs.embeddings]
    assert [entry.index for entry in ours.data] == [0, 1]
    assert (ours.model, ours.usage.prompt_tokens, ours.usage.total_tokens) == ("all-minilm", 8, 8)
    assert reply.usage == Usage(prompt=8)


# The request.


@pytest.mark.parametrize(("stream", "accept"), [(True, "x-ndjson"), (False, "json")])
def test_where_it_goes(stream: bool, accept: str) -> None:
    out: Outgoing = OLLAMA.request(ask(stream=stream), to())
    assert out.url == "http://127.0.0.1:11434/api/chat"
    assert out.headers["accept"] == f"application/{accept}"
    assert out.headers["content-type"] == "application/json"
    assert out.headers["authorization"] == "Bearer sk-up"
    assert orjson.loads(out.body) == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": stream,
    }


def test_options_of_both_tongues_are_merged_and_the_own_object_wins() -> None:
    body = sent(
        ask(
            temperature=0,
            top_p=0.9,
            seed=7,
            max_tokens=5,
            stop=["a", "b"],
            frequency_penalty=0.1,
            presence_penalty=0.2,
            top_k=40,
            min_p=0.05,
            repeat_penalty=1.1,
            options={"num_ctx": 4096, "mirostat": 1, "seed": 8},
        )
    )
    assert body["options"] == {
        "temperature": 0,
        "top_p": 0.9,
        "seed": 8,
        "num_predict": 5,
        "stop": ["a", "b"],
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "num_ctx": 4096,
        "mirostat": 1,
    }
    assert set(body) == {"model", "messages", "stream", "options"}


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [
        ("qwen3", "none", False),
        ("qwen3", "minimal", True),
        ("qwen3:8b", "xhigh", True),
        ("gpt-oss:20b", "minimal", "low"),
        ("gpt-oss", "medium", "medium"),
        ("someone/gpt-oss:120b", "high", "high"),
    ],
)
def test_effort_is_thought(model: str, effort: str, think: Any) -> None:
    body = sent(ask(reasoning_effort=effort), model)
    assert body["think"] == think
    assert type(body["think"]) is type(think)


@pytest.mark.parametrize("effort", ["none", "xhigh"])  # Ollama takes no gpt-oss's thought away
def test_gpt_oss_has_three_efforts(effort: str) -> None:
    assert refusal(ask(reasoning_effort=effort), "gpt-oss").param == "reasoning_effort"


def test_own_members_pass_and_take_the_place_of_openais() -> None:
    body = sent(
        ask(
            think="high",
            reasoning_effort="low",
            format="json",
            response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}},
            keep_alive=0,
            truncate=False,
            shift=False,
        )
    )
    own = {name: body[name] for name in ("think", "format", "keep_alive", "truncate", "shift")}
    assert own == {
        "think": "high",
        "format": "json",
        "keep_alive": 0,
        "truncate": False,
        "shift": False,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}, SCHEMA),
        ({"type": "text"}, None),
    ],
)
def test_formats(given: Any, expected: Any) -> None:
    assert sent(ask(response_format=given)).get("format") == expected


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (None, ["get_weather", "clock"]),
        ("auto", ["get_weather", "clock"]),
        ("none", None),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "clock"}}],
                },
            },
            ["clock"],
        ),
    ],
)
def test_which_tools_are_shown(choice: Any, shown: list[str] | None) -> None:
    tools = sent(ask(tools=[WEATHER, CLOCK], tool_choice=choice)).get("tools")
    assert (tools and [tool["function"]["name"] for tool in tools]) == shown


def test_a_tool_that_takes_nothing_says_so() -> None:
    empty = {"type": "object", "properties": {}}
    assert sent(ask(tools=[CLOCK]))["tools"] == [
        {"type": "function", "function": {"name": "clock", "parameters": empty}}
    ]


def test_parts_become_one_string_and_pictures_stand_beside_it() -> None:
    words = base64.b64encode("naïve".encode()).decode()
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "file", "file": {"file_data": f"data:text/plain;base64,{words}"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}},
        {"type": "text", "text": "two"},
    ]
    assert sent(ask(messages=[{"role": "user", "content": parts}]))["messages"] == [
        {"role": "user", "content": "one\nnaïve\ntwo", "images": [PIXEL, "/9j/"]}
    ]


def test_thought_comes_back_as_one_string_without_what_is_sealed() -> None:
    message = {
        "role": "assistant",
        "content": "So.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "a", "signature": "s"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "thinking", "thinking": "b"},
        ],
    }
    assert sent(ask(messages=[message]))["messages"] == [
        {"role": "assistant", "content": "So.", "thinking": "a\nb"}
    ]


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            "messages[0].content[0]",
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            "messages[0].content[0].file.file_data",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "messages[0].content[0].file"),
    ],
)
def test_parts_that_it_can_not_take_are_named(part: Any, where: str) -> None:
    failure = refusal(ask(messages=[{"role": "user", "content": [part]}]))
    assert (failure.kind, failure.retry) == (FailureKind.UNSUPPORTED, Retry.NEXT_TARGET)
    assert failure.param == where


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "clock"}}),
        ("parallel_tool_calls", False),
        ("n", 2),
        ("logit_bias", {"50256": -100}),
        ("tools", [{"type": "web_search"}]),
        ("top_logprobs", 2),
        ("service_tier", "priority"),
        ("made_up", 1),
    ],
)
def test_what_it_can_not_say_is_refused_by_name_or_dropped(name: str, value: Any) -> None:
    asked = ask(**{name: value})
    failure = refusal(asked)
    assert (failure.kind, failure.retry) == (FailureKind.UNSUPPORTED, Retry.NEXT_TARGET)
    assert failure.param == name
    out = OLLAMA.request(asked._replace(drop_params=True), to())
    assert out.dropped == (name,)
    assert set(orjson.loads(out.body)) == {"model", "messages", "stream"}


def test_logprobs_are_asked_for_whole_answers_only() -> None:
    body = sent(ask(logprobs=True, top_logprobs=2))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    streamed = ask(logprobs=True, top_logprobs=2, stream=True)
    assert refusal(streamed).param == "logprobs"
    out = OLLAMA.request(streamed._replace(drop_params=True), to())
    assert out.dropped == ("logprobs",)
    assert set(orjson.loads(out.body)) == {"model", "messages", "stream"}


def test_a_tasks_defaults_and_what_stays_here() -> None:
    asked = ask(cache=True)._replace(defaults={"temperature": 0.3}, drop=frozenset({"cache"}))
    body = sent(asked)
    assert body["options"] == {"temperature": 0.3}
    assert "cache" not in body


@pytest.mark.parametrize("options", [[], "x"])
def test_options_must_be_an_object(options: Any) -> None:
    failure = refusal(ask(options=options))
    assert (failure.kind, failure.param) == (FailureKind.INVALID_REQUEST, "options")


# Embeddings.


def test_embeddings_as_base64_are_little_endian_floats() -> None:
    asked = embed(input="why?", encoding_format="base64")
    assert sent(asked) == {"model": "llama3.2", "input": "why?"}
    reply = OLLAMA.reply(asked, EMBEDDINGS)
    by_task = embed(input="why?")._replace(defaults={"encoding_format": "base64"})
    assert OLLAMA.reply(by_task, EMBEDDINGS) == reply
    data = orjson.loads(reply.body)["data"]
    packed = base64.b64decode(data[0]["embedding"])
    assert packed[:4] == struct.pack("<f", 0.010071029)
    assert struct.unpack("<4f", packed) == pytest.approx(
        [0.010071029, -0.0017594862, 0.05007221, 0.04692972], rel=1e-6
    )


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], ["a", 1]])
def test_token_ids_are_refused_by_name(tokens: Any) -> None:
    failure = refusal(embed(input=tokens))
    assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, "input")


@pytest.mark.parametrize("given", [None, [], 7])
def test_input_must_be_there(given: Any) -> None:
    failure = refusal(embed(input=given))
    assert (failure.kind, failure.param) == (FailureKind.INVALID_REQUEST, "input")


def test_embeddings_refuse_what_they_have_not() -> None:
    assert refusal(embed(input="a", encoding_format="int8")).param == "encoding_format"
    assert refusal(embed(input="a", temperature=1)).param == "temperature"
    assert OLLAMA.request(embed(input="a", user="me"), to()).dropped == ()


@pytest.mark.parametrize(
    "body", [b"{}", b'{"embeddings":null}', b'{"embeddings":[1]}', b'{"embeddings":[["x"]]}']
)
def test_what_is_no_list_of_embeddings(body: bytes) -> None:
    with pytest.raises(UpstreamFailure) as raised:
        OLLAMA.reply(embed(input="a", encoding_format="base64"), body)
    assert raised.value.failure.kind is FailureKind.INVALID_REPLY


# The whole answer.


def test_a_whole_answer() -> None:
    reply: Reply = OLLAMA.reply(ask(), TOOLS_WHOLE)
    assert reply.usage == Usage(prompt=169, completion=15)
    assert orjson.loads(reply.body) == {
        "id": "chatcmpl-new",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "qwen3",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Wait.",
                    "refusal": None,
                    "reasoning_content": "Two cities.",
                    "tool_calls": [
                        {
                            "id": call,
                            "type": "function",
                            "function": {"name": name, "arguments": orjson.dumps(given).decode()},
                        }
                        for call, name, given in CALLS
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 169,
            "completion_tokens": 15,
            "total_tokens": 184,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ('"done_reason":"stop",', "stop"),
        ('"done_reason":"length",', "length"),
        ('"done_reason":"load",', "stop"),
        ('"done_reason":"unload",', "stop"),
        ("", "stop"),
    ],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    whole = TEXT_WHOLE.replace(b'"done_reason":"stop",', reason.encode())
    answer = ChatCompletion.model_validate_json(OLLAMA.reply(ask(), whole).body, strict=True)
    assert answer.choices[0].finish_reason == finish
    stream = TEXT.replace(b'"done_reason":"stop",', reason.encode())
    assert chunks(read(stream, [])[0])[-2].choices[0].finish_reason == finish


@pytest.mark.parametrize(
    ("left_out", "usage"),
    [
        ((), Usage(26, 282)),
        ((b'"eval_count":282,',), Usage(26, 0)),
        ((b'"prompt_eval_count":26,',), None),
        ((b'"eval_count":282,', b'"prompt_eval_count":26,'), None),
    ],
)
def test_a_prompt_that_was_not_counted_is_unknown(
    left_out: tuple[bytes, ...], usage: Usage | None
) -> None:
    whole, stream = TEXT_WHOLE, TEXT
    for piece in left_out:
        whole, stream = whole.replace(piece, b""), stream.replace(piece, b"")
    reply = OLLAMA.reply(ask(), whole)
    assert reply.usage == usage
    assert orjson.loads(reply.body)["usage"].get("estimated", False) is (usage is None)
    assert reply.text_bytes == len("The sky é 日".encode())
    out, translator = read(stream, [])
    assert (translator.usage, translator.text_bytes) == (usage, reply.text_bytes)
    last = orjson.loads(out.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert last["usage"].get("estimated", False) is (usage is None)


@pytest.mark.parametrize("count", [b"0", b"null", b'"26"'])
def test_a_prompt_is_never_of_no_tokens(count: bytes) -> None:
    whole = TEXT_WHOLE.replace(b'"prompt_eval_count":26', b'"prompt_eval_count":' + count)
    assert OLLAMA.reply(ask(), whole).usage is None


def test_a_model_that_was_only_loaded_has_said_nothing() -> None:
    reply = OLLAMA.reply(ask(messages=[]), LOAD)
    assert ollama.ChatResponse.model_validate_json(LOAD).done_reason == "load"
    answer = ChatCompletion.model_validate_json(reply.body, strict=True)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "stop")
    assert reply.usage is None


def test_arguments_that_are_json_already_or_absent() -> None:
    whole = TOOLS_WHOLE.replace(b'{"city":"Tokyo"}', b'"{\\"city\\": \\"Tokyo\\"}"').replace(
        b',"arguments":{"city":"Z\xc3\xbcrich","days":2}', b""
    )
    answer = ChatCompletion.model_validate_json(OLLAMA.reply(ask(), whole).body)
    assert [call.function.arguments for call in answer.choices[0].message.tool_calls or ()] == [
        '{"city": "Tokyo"}',
        "{}",
    ]


def test_logprobs_in_openais_shape() -> None:
    given = [
        {
            "token": "The",
            "logprob": -0.1,
            "bytes": [84, 104, 101],
            "top_logprobs": [{"token": "The", "logprob": -0.1, "bytes": [84, 104, 101]}],
        },
        {"token": " sky", "logprob": -0.5},
    ]
    whole = orjson.dumps(orjson.loads(TEXT_WHOLE) | {"logprobs": given})
    theirs = ollama.ChatResponse.model_validate_json(whole).logprobs
    answer = ChatCompletion.model_validate_json(OLLAMA.reply(ask(), whole).body, strict=True)
    ours = answer.choices[0].logprobs
    assert theirs is not None
    assert ours is not None
    assert ours.content is not None
    assert [(e.token, e.logprob) for e in ours.content] == [(e.token, e.logprob) for e in theirs]
    assert [e.bytes for e in ours.content] == [[84, 104, 101], None]
    assert [len(e.top_logprobs) for e in ours.content] == [1, 0]


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"no",
        b"{}",
        b'{"message":"Hi","done":true}',
        b'{"message":{"content":5},"done":true}',
        b'{"message":{"content":"","tool_calls":[{"id":"1"}]},"done":true}',
        b'{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":[1]}}]}}',
    ],
)
def test_a_200_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFailure) as raised:
        OLLAMA.reply(ask(), body)
    assert raised.value.failure.kind is FailureKind.INVALID_REPLY


# Failures.


@pytest.mark.parametrize(
    ("status", "message", "kind", "retry"),
    [
        (404, "model 'nope' not found", FailureKind.NOT_FOUND, Retry.NEXT_TARGET),
        (
            400,
            "registry.ollama.ai/library/gemma3:latest does not support tools",
            FailureKind.INVALID_REQUEST,
            Retry.NEXT_TARGET,
        ),
        (
            400,
            '"llama3.2" does not support thinking',
            FailureKind.INVALID_REQUEST,
            Retry.NEXT_TARGET,
        ),
        (400, "invalid duration", FailureKind.INVALID_REQUEST, Retry.NEVER),
        (
            400,
            "the input length exceeds the context length",
            FailureKind.CONTEXT_LENGTH,
            Retry.NEVER,
        ),
        (
            503,
            "server busy, please try again. maximum pending requests exceeded",
            FailureKind.OVERLOADED,
            Retry.SAME_TARGET,
        ),
        (
            500,
            "an error was encountered while running the model: unexpected EOF",
            FailureKind.SERVER,
            Retry.SAME_TARGET,
        ),
    ],
)
def test_an_error_is_the_same_with_its_status_in_a_200_and_in_a_stream(
    status: int, message: str, kind: FailureKind, retry: Retry
) -> None:
    body = orjson.dumps({"error": message})
    failure = OLLAMA.failure(status, {}, body)
    assert (failure.kind, failure.retry) == (kind, retry)
    assert (failure.status, failure.message) == (status, message)
    if message == "invalid duration":  # only its status says what it is
        return
    with pytest.raises(UpstreamFailure) as raised:
        OLLAMA.reply(ask(), body)
    assert raised.value.failure == failure
    translator = OLLAMA.stream(ask(stream=True), no_cost)
    assert translator.feed(body + b"\n") == b""
    assert translator.failure == failure


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"404 page not found", "404 page not found"),
        (502, b"", "the upstream answered 502"),
        (401, b'{"error":"unauthorized","signin_url":"https://ollama.test"}', "unauthorized"),
        (429, b'{"error":{"message":"slow down"}}', "slow down"),
        (500, b"[]", "the upstream answered 500"),
    ],
)
def test_other_error_bodies(status: int, body: bytes, message: str) -> None:
    failure = OLLAMA.failure(status, {"retry-after": "3"}, body)
    assert (failure.status, failure.message, failure.retry_after) == (status, message, 3)


# The stream.


def test_a_stream_is_openais() -> None:
    out, translator = read(TOOLS, [])
    head = (
        'data: {"id":"chatcmpl-new","object":"chat.completion.chunk","created":1700000000,'
        '"model":"qwen3","choices":[{"index":0,"delta":'
    )

    def line(delta: str, finish: str = "null") -> str:
        return f'{head}{delta},"logprobs":null,"finish_reason":{finish}}}]}}\n\n'

    def call(index: int, id: str, given: str) -> str:
        function = f'{{"name":"get_weather","arguments":"{given}"}}'
        entry = f'{{"index":{index},"id":"{id}","type":"function","function":{function}}}'
        return line(f'{{"tool_calls":[{entry}]}}')

    assert out.decode() == (
        line('{"role":"assistant","content":""}')
        + line('{"reasoning_content":"Two "}')
        + line('{"reasoning_content":"cities."}')
        + line('{"content":"Wait."}')
        + call(0, "call_new", '{\\"city\\":\\"Tokyo\\"}')
        + call(1, "call_k1q2", '{\\"city\\":\\"Zürich\\",\\"days\\":2}')
        + line("{}", '"tool_calls"')
        + 'data: {"id":"chatcmpl-new","object":"chat.completion.chunk","created":1700000000,'
        '"model":"qwen3","choices":[],"usage":{"prompt_tokens":169,"completion_tokens":15,'
        '"total_tokens":184,"prompt_tokens_details":{"cached_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0}}}\n\n'
        "data: [DONE]\n\n"
    )
    assert (translator.done, translator.skipped, translator.failure) == (True, 0, None)


@pytest.mark.parametrize("stream", [TEXT, TOOLS, BARE_END])
@given(cuts=st.lists(st.integers(0, 2000), max_size=40))
def test_any_split_gives_the_same_stream(stream: bytes, cuts: list[int]) -> None:
    assert _settled(read(stream, cuts)[0]) == _settled(read(stream, [])[0])


@pytest.mark.parametrize("stream", [TEXT, TOOLS, BARE_END])
def test_byte_by_byte_crlf_and_no_last_newline(stream: bytes) -> None:
    whole = read(stream, [])[0]
    assert read(stream, list(range(len(stream))))[0] == whole
    assert read(stream.rstrip(b"\n"), [])[0] == whole
    assert read(stream.replace(b"\n", b"\r\n"), [])[0] == whole


def _settled(out: bytes) -> Any:
    """The chunks; hypothesis runs a test body many times under one `_same_ids`."""
    return [chunk.model_dump() for chunk in chunks(out)]


def test_a_call_before_others_in_the_line_that_is_done() -> None:
    """Some models' calls come whole in the last line."""
    last = b'"message":{"role":"assistant","content":""},"done_reason"'
    calls = b'"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done_reason"'
    out = chunks(read(TEXT.replace(last, calls), [])[0])
    assert out[-2].choices[0].finish_reason == "tool_calls"
    assert out[-3].choices[0].delta.tool_calls is not None
    assert out[-3].choices[0].delta.tool_calls[0].function is not None
    assert out[-3].choices[0].delta.tool_calls[0].function.arguments == "{}"


def test_usage_only_for_those_who_ask() -> None:
    out, translator = read(TEXT, [], ask(stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks(out))
    assert translator.usage == Usage(26, 282)


def test_an_error_in_the_middle_is_no_end() -> None:
    translator = OLLAMA.stream(ask(stream=True), no_cost)
    out = translator.feed(BROKEN + TEXT)
    assert b'" Yes"' in out
    assert b"The" not in out
    assert b"[DONE]" not in out
    assert translator.failure is not None
    assert translator.failure.message == "an error was encountered while running the model"
    assert translator.failure.kind is FailureKind.SERVER
    assert not translator.done


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_stream_without_done_is_cut_short(lines: int) -> None:
    translator = OLLAMA.stream(ask(stream=True), no_cost)
    translator.feed(b"".join(TEXT.splitlines(keepends=True)[:lines]))
    with pytest.raises(UpstreamFailure) as raised:
        translator.finish()
    assert raised.value.failure.kind is FailureKind.INTERRUPTED


@pytest.mark.parametrize(
    "odd",
    [
        b"not json",
        b"[]",
        b"5",
        b'{"message":"Hi"}',
        b'{"message":{"content":["a"]}}',
        b'{"message":{"content":"lost","tool_calls":[{}]}}',
    ],
)
def test_an_odd_line_is_counted_and_says_nothing(odd: bytes) -> None:
    out, translator = read(odd + b"\n" + TEXT, [])
    assert translator.skipped == 1
    assert out == read(TEXT, [])[0]


def test_a_line_over_the_limit_is_a_failure() -> None:
    translator = OLLAMA.stream(ask(stream=True), no_cost)
    translator.feed(b"x" * (16 * 1024 * 1024 + 1))
    assert translator.failure is not None
    assert translator.failure.kind is FailureKind.EVENT_TOO_LARGE
