"""The Responses API's events, made of chat chunks: literals, the SDK's types, the SDK itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import orjson
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from adapters.base import Ask, Endpoint
from adapters.inbound.base import Bridged
from adapters.inbound.responses import Responses
from adapters.inbound.responses_stream import Envelope, seal, unseal
from adapters.openai import OpenAI as OpenAIDialect
from tests.adapters.asks import ask
from tests.recordings import Recording, of_path

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
    "cost_usd": 0.25,
}


def responses_ask(**body: Any) -> Ask:
    given = {"model": "m", "input": "Hi", "stream": True} | body
    return ask(Endpoint.RESPONSES, raw=orjson.dumps(given))


def sse(*payloads: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(payload) for payload in payloads)


def chunk(delta: dict[str, Any], finish: str | None = None, **choice: Any) -> dict[str, Any]:
    entry = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **choice}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "real-m",
        "choices": [entry],
    }


def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    """A delta with a piece of a call; `id` and `name` begin one."""
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"tool_calls": [{"index": index, "function": {**name, "arguments": arguments}, **more}]}


def stream_of(*deltas: dict[str, Any], finish: str = "stop") -> bytes:
    usage = {**chunk({}), "choices": [], "usage": USAGE}
    first = chunk({"role": "assistant", "content": ""})
    chunks = [first, *map(chunk, deltas), chunk({}, finish), usage]
    return sse(*chunks) + b"data: [DONE]\n\n"


def shape(data: bytes, **body: Any) -> bytes:
    return Responses().stream(responses_ask(**body)).feed(data)


def events(data: bytes) -> list[Any]:
    """The events' payloads, each of which the SDK's own type has to take."""
    found = []
    for block in data.decode().removesuffix("\n\n").split("\n\n"):
        name, payload = block.split("\n")
        event = orjson.loads(payload.removeprefix("data: "))
        assert name == "event: " + event["type"]
        EVENTS.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def brief(found: list[Any]) -> list[tuple[Any, ...]]:
    """What each event is and says, without its place."""
    said = ("delta", "text", "refusal", "arguments")
    return [
        (event["type"].removeprefix("response."), *(event[name] for name in said if name in event))
        for event in found
    ]


TALK = stream_of(
    {"reasoning_content": "H"},
    {"reasoning_content": "m"},
    {"content": "Hé"},
    {"content": "llo"},
    piece(0, "", id="call_a", name="f", type="function"),
    piece(0, '{"x":'),
    piece(0, "1}"),
    finish="tool_calls",
)

MESSAGE = {
    "type": "message",
    "id": "msg_1_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Héllo", "annotations": [], "logprobs": []}],
}
REASONING = {
    "type": "reasoning",
    "id": "rs_1_0",
    "summary": [{"type": "summary_text", "text": "Hm"}],
}
CALL = {
    "type": "function_call",
    "id": "fc_1_2",
    "call_id": "call_a",
    "name": "f",
    "arguments": '{"x":1}',
    "status": "completed",
}


def test_the_events_of_thought_words_and_a_call() -> None:
    found = events(shape(TALK))
    assert brief(found) == [
        ("created",),
        ("in_progress",),
        ("output_item.added",),
        ("reasoning_summary_part.added",),
        ("reasoning_summary_text.delta", "H"),
        ("reasoning_summary_text.delta", "m"),
        ("reasoning_summary_text.done", "Hm"),
        ("reasoning_summary_part.done",),
        ("output_item.done",),
        ("output_item.added",),
        ("content_part.added",),
        ("output_text.delta", "Hé"),
        ("output_text.delta", "llo"),
        ("output_text.done", "Héllo"),
        ("content_part.done",),
        ("output_item.done",),
        ("output_item.added",),
        ("function_call_arguments.delta", '{"x":'),
        ("function_call_arguments.delta", "1}"),
        ("function_call_arguments.done", '{"x":1}'),
        ("output_item.done",),
        ("completed",),
    ]
    assert [e["item"] for e in found if e["type"] == "response.output_item.added"] == [
        {**REASONING, "summary": []},
        {**MESSAGE, "status": "in_progress", "content": []},
        {**CALL, "status": "in_progress", "arguments": ""},
    ]
    done = [e["item"] for e in found if e["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"] == [REASONING, MESSAGE, CALL]


def test_an_event_in_full() -> None:
    found = {event["type"].removeprefix("response."): event for event in events(shape(TALK))}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": "msg_1_1", "output_index": 1, "content_index": 0}
    thought = {"item_id": "rs_1_0", "output_index": 0, "summary_index": 0}
    assert found["content_part.added"] == {
        "type": "response.content_part.added",
        "sequence_number": 10,
        "part": part,
        **place,
    }
    assert found["output_text.done"] == {
        "type": "response.output_text.done",
        "sequence_number": 13,
        "text": "Héllo",
        "logprobs": [],
        **place,
    }
    assert found["reasoning_summary_part.done"] == {
        "type": "response.reasoning_summary_part.done",
        "sequence_number": 7,
        "part": {"type": "summary_text", "text": "Hm"},
        **thought,
    }
    assert found["function_call_arguments.done"] == {
        "type": "response.function_call_arguments.done",
        "sequence_number": 19,
        "item_id": "fc_1_2",
        "output_index": 2,
        "arguments": '{"x":1}',
    }


def test_the_response_at_the_beginning_and_at_the_end() -> None:
    found = events(shape(TALK, instructions="Be"))
    first, last = found[0]["response"], found[-1]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert {k for k in last if last[k] != first[k]} == {"status", "output", "usage"}
    assert (last["id"], last["model"], last["created_at"]) == ("resp_1", "real-m", 1700000000)
    assert (last["status"], last["instructions"]) == ("completed", "Be")
    assert last["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 17,
        "cost_usd": 0.25,
    }


SIGNED = stream_of(
    {"reasoning_content": "Hm"},
    {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "Hm", "signature": "c2ln"}]},
    {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "cmVk"}]},
    {"content": "Hello"},
    piece(0, "{}", id="a", name="f", extra_content={"google": {"thought_signature": "R1NJRw=="}}),
    piece(1, "{}", id="b", name="g"),
    finish="tool_calls",
)


def test_a_stream_and_a_whole_answer_of_one_chat_agree() -> None:
    google = {"google": {"thought_signature": "R1NJRw=="}}
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": "{}"}, **more}
        for i, n, more in (("a", "f", {"extra_content": google}), ("b", "g", {}))
    ]
    message = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning_content": "Hm",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "cmVk"},
        ],
        "tool_calls": calls,
    }
    whole = {
        **chunk({}),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": USAGE,
    }
    for include in ([], ["reasoning.encrypted_content"]):
        found = events(shape(SIGNED, include=include))
        reply = Responses().reply(responses_ask(include=include), orjson.dumps(whole))
        assert found[-1]["response"] == orjson.loads(reply)


@pytest.mark.parametrize("data", [TALK, SIGNED], ids=["talk", "signed"])
def test_split_anywhere_it_is_the_same(data: bytes) -> None:
    include = ["reasoning.encrypted_content"]
    whole = shape(data, include=include)
    single = Responses().stream(responses_ask(include=include))
    assert b"".join(single.feed(data[i : i + 1]) for i in range(len(data))) == whole
    for cut in range(0, len(data), 7):
        two = Responses().stream(responses_ask(include=include))
        assert two.feed(data[:cut]) + two.feed(data[cut:]) == whole
    assert shape(data.replace(b"\n", b"\r\n"), include=include) == whole


def test_calls_that_come_in_turns() -> None:
    data = stream_of(
        piece(0, '{"x"', id="a", name="f"),
        piece(1, '{"y"', id="b", name="g"),
        piece(0, ":1}"),
        piece(1, ":2}"),
        finish="tool_calls",
    )
    found = events(shape(data))
    output = found[-1]["response"]["output"]
    said = [(i["id"], i["call_id"], i["name"], i["arguments"]) for i in output]
    assert said == [("fc_1_0", "a", "f", '{"x":1}'), ("fc_1_1", "b", "g", '{"y":2}')]
    deltas = [(e["output_index"], e["delta"]) for e in found if e["type"].endswith(".delta")]
    assert deltas == [(0, '{"x"'), (1, '{"y"'), (0, ":1}"), (1, ":2}")]
    done = [e["output_index"] for e in found if e["type"] == "response.output_item.done"]
    assert done == [0, 1]


def test_calls_of_odd_upstreams() -> None:
    """All numbered 0; an id with every piece; no id; arguments that are no string; a late name."""
    data = stream_of(
        piece(0, "{}", id="a", name="f"),
        piece(0, '{"y":', id="b", name="g"),
        piece(0, "2}", id="z"),
        piece(1, "{}", name="h"),
        {"tool_calls": [{"index": 2, "id": "c", "function": {"arguments": {"k": 1}}}]},
        piece(2, "", name="late"),
        finish="tool_calls",
    )
    output = events(shape(data))[-1]["response"]["output"]
    assert [(i["call_id"], i["name"], i["arguments"]) for i in output] == [
        ("a", "f", "{}"),
        ("b", "g", '{"y":2}'),
        ("call_1_2", "h", "{}"),
        ("c", "late", '{"k":1}'),
    ]


def test_thought_between_words_and_pieces_of_thought_without_a_number() -> None:
    def thinking(**block: Any) -> dict[str, Any]:
        return {"thinking_blocks": [{"type": "thinking", **block}]}

    data = stream_of(
        {"content": "One"},
        {"reasoning": "H"},
        thinking(thinking="H", signature=None),
        thinking(thinking="m", signature=""),
        thinking(thinking="", signature="c2ln"),
        thinking(thinking="So", signature="c2ln2"),
        {"content": "Two"},
    )
    found = events(shape(data, include=["reasoning.encrypted_content"]))
    first, thought, second = found[-1]["response"]["output"]
    assert (first["content"][0]["text"], second["content"][0]["text"]) == ("One", "Two")
    assert unseal(thought["encrypted_content"]) == Envelope(
        [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "thinking", "thinking": "So", "signature": "c2ln2"},
        ],
        {},
    )


def test_a_refusal_after_words() -> None:
    data = stream_of(
        {"content": "Well"}, {"refusal": "N"}, {"refusal": "o"}, finish="content_filter"
    )
    found = events(shape(data))
    assert brief(found)[2:] == [
        ("output_item.added",),
        ("content_part.added",),
        ("output_text.delta", "Well"),
        ("output_text.done", "Well"),
        ("content_part.done",),
        ("content_part.added",),
        ("refusal.delta", "N"),
        ("refusal.delta", "o"),
        ("refusal.done", "No"),
        ("content_part.done",),
        ("output_item.done",),
        ("incomplete",),
    ]
    assert [e["content_index"] for e in found if e["type"] == "response.content_part.added"] == [
        0,
        1,
    ]
    last = found[-1]["response"]
    assert last["incomplete_details"] == {"reason": "content_filter"}
    assert last["output"][0]["content"][1] == {"type": "refusal", "refusal": "No"}


def test_an_answer_cut_short() -> None:
    found = events(
        shape(stream_of({"reasoning_content": "Hm"}, {"content": "He"}, finish="length"))
    )
    assert found[-1]["type"] == "response.incomplete"
    last = found[-1]["response"]
    assert (last["status"], last["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert last["output"][1]["status"] == "incomplete"


def test_the_signature_of_words_may_come_after_or_before_them() -> None:
    extra = {"google": {"thought_signature": "R1NJRw=="}}
    for deltas in (
        [{"content": "Hi"}, {"extra_content": extra}],
        [{"extra_content": extra}, {"content": "Hi"}],
    ):
        [item] = events(shape(stream_of(*deltas)))[-1]["response"]["output"]
        assert item["extra_content"] == extra


def test_logprobs_only_for_who_asked() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    data = sse(
        chunk({"content": "Hi"}, logprobs={"content": [token], "refusal": None}),
        chunk({"content": "Hi"}, logprobs={"content": [token], "refusal": None}),
        chunk({}, "stop"),
    )
    data += b"data: [DONE]\n\n"
    found = events(shape(data, include=["message.output_text.logprobs"]))
    said = {e["type"]: e["logprobs"] for e in found if "logprobs" in e}
    assert said["response.output_text.delta"] == [token]
    assert said["response.output_text.done"] == [token, token]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [token, token]
    assert found[-1]["response"]["usage"] is None
    assert all(e.get("logprobs", []) == [] for e in events(shape(data)))


def test_each_part_has_its_own_logprobs() -> None:
    tokens = [{"token": t, "logprob": -0.5, "bytes": [97], "top_logprobs": []} for t in "ab"]
    data = sse(
        chunk({"content": "a"}, logprobs={"content": tokens[:1]}),
        chunk({"refusal": "No"}),
        chunk({"content": "b"}, logprobs={"content": tokens[1:]}),
        chunk({}, "stop"),
    )
    data += b"data: [DONE]\n\n"
    found = events(shape(data, include=["message.output_text.logprobs"]))
    parts = found[-1]["response"]["output"][0]["content"]
    assert [part.get("logprobs") for part in parts] == [tokens[:1], None, tokens[1:]]


def test_the_tier_that_served_is_told_if_it_has_openais_name() -> None:
    for tier, told in (("priority", "priority"), ("on_demand", "auto"), (None, "auto")):
        data = sse({**chunk({"content": "Hi"}), "service_tier": tier}) + b"data: [DONE]\n\n"
        assert events(shape(data))[-1]["response"]["service_tier"] == told


def test_nothing_comes_before_the_first_choice_or_after_the_end() -> None:
    azure = {**chunk({}), "id": "", "model": "", "choices": []}
    other = chunk({"content": "two"}, index=1)
    shaper = Responses().stream(responses_ask())
    assert shaper.feed(sse(azure, other)) == b""
    found = events(shaper.feed(TALK))
    assert found[0]["response"]["id"] == "resp_1"
    assert shaper.feed(TALK) == b""


def test_a_chat_without_a_word_still_ends() -> None:
    found = events(shape(stream_of()))
    assert brief(found) == [("created",), ("in_progress",), ("completed",)]
    assert events(shape(b"data: [DONE]\n\n"))[-1]["response"]["output"] == []


STREAMS = [found for found in of_path("/chat/completions") if found.is_stream]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.id)
def test_recorded_streams_through_the_openai_dialect(recording: Recording) -> None:
    given = responses_ask()
    bridged = Bridged(OpenAIDialect(), Responses()).stream(given, lambda _: 0.5)
    found = events(bridged.feed(recording.reply) + bridged.finish())
    payloads = [line[6:] for line in recording.reply.split(b"\n") if line.startswith(b"data: {")]
    choices = [c for p in map(orjson.loads, payloads) for c in p["choices"]]
    texts = [choice["delta"].get("content") for choice in choices]
    last = Response.model_validate(found[-1]["response"])
    if all(text is None or isinstance(text, str) for text in texts):
        assert last.output_text == "".join(filter(None, texts))
    calls = [call for c in choices for call in c["delta"].get("tool_calls") or ()]
    made = "".join(i.name + i.arguments for i in last.output if i.type == "function_call")
    parts = [call["function"] for call in calls]
    assert made == "".join((p.get("name") or "") + (p.get("arguments") or "") for p in parts)
    assert found[-1]["response"]["usage"]["cost_usd"] == 0.5


def test_there_are_recorded_streams() -> None:
    assert len(STREAMS) >= 4


# Envelopes.


def test_an_envelope_opens_as_it_was_closed() -> None:
    envelope = Envelope([{"type": "thinking", "signature": "ü"}], {"a": {"b": 1}})
    assert unseal(seal(envelope)) == envelope


# The SDK as the client.


@contextmanager
def served(body: bytes, content_type: str) -> Iterator[OpenAI]:
    """An SDK client of a server that answers every POST with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    http = httpx.Client(trust_env=False)
    try:
        with OpenAI(base_url=url, api_key="sk", max_retries=0, http_client=http) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def streaming(data: bytes, **body: Any) -> Iterator[OpenAI]:
    with served(shape(data, **body), "text/event-stream") as client:
        yield client


def test_the_sdks_stream_helper_reads_it() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    with (
        streaming(TALK, tools=[tool]) as client,
        client.responses.stream(model="m", input="Hi", tools=[tool]) as stream,
    ):
        snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots == ["Hé", "Héllo"]
    assert final.output_text == "Héllo"
    [call] = [item for item in final.output if item.type == "function_call"]
    assert (call.name, call.call_id, call.parsed_arguments) == ("f", "call_a", {"x": 1})
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 7)


def test_the_sdks_plain_stream_reads_it() -> None:
    with (
        streaming(TALK) as client,
        client.responses.create(model="m", input="Hi", stream=True) as stream,
    ):
        found = list(stream)
    thought = [e.delta for e in found if e.type == "response.reasoning_summary_text.delta"]
    assert thought == ["H", "m"]
    assert found[-1].type == "response.completed"
    assert found[-1].response.usage is not None
    assert found[-1].response.usage.total_tokens == 17


class Payment(BaseModel):
    """What the SDK is to parse."""

    amount: float


def test_the_sdk_parses_a_stream_and_a_whole_answer() -> None:
    data = stream_of({"content": '{"amount":'}, {"content": "12.5}"})
    with (
        streaming(data) as client,
        client.responses.stream(model="m", input="Hi", text_format=Payment) as stream,
    ):
        assert stream.get_final_response().output_parsed == Payment(amount=12.5)
    message = {"role": "assistant", "content": '{"amount":12.5}'}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = orjson.dumps({**chunk({}), "choices": [choice], "usage": USAGE})
    body = Responses().reply(responses_ask(), whole)
    with served(body, "application/json") as client:
        parsed = client.responses.parse(model="m", input="Hi", text_format=Payment)
    assert parsed.output_parsed == Payment(amount=12.5)
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 17


def test_the_sdk_reads_an_incomplete_stream() -> None:
    with (
        streaming(stream_of({"content": "He"}, finish="length")) as client,
        client.responses.create(model="m", input="Hi", stream=True) as stream,
    ):
        last = list(stream)[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == "He"
