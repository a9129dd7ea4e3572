"""Anthropic's messages kept and given again, read by Anthropic's SDK."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.base import Ask, Endpoint, Usage
from tests.adapters.answers import bodies
from tests.adapters.answers.readers import (
    cuts,
    messages_stream,
    messages_whole,
    payloads,
    without,
)
from tests.adapters.asks import ask

MESSAGES = Endpoint.MESSAGES
NOW = 1_800_000_000

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s1"}
TEXT = {"type": "text", "text": "Paris."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}

BODY: dict[str, Any] = {
    "id": "msg_old",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": [THOUGHT, TEXT],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
        "cost_usd": 0.25,
    },
}


def body(*content: Any, **over: Any) -> bytes:
    return orjson.dumps({**BODY, "content": list(content) or BODY["content"], **over})


def asked(**over: Any) -> Ask:
    return ask(MESSAGES, max_tokens=9, **over)


def streamed(raw: bytes) -> bytes:
    return b"".join(replay(asked(stream=True), raw, NOW))


def test_whole() -> None:
    found = orjson.loads(replay(asked(), body(), NOW)[0])
    assert found["id"].startswith("msg_")
    assert found["id"] != "msg_old"
    assert found == {**BODY, "id": found["id"], "usage": {**BODY["usage"], "cost_usd": 0}}


def test_a_stream_to_the_letter() -> None:
    found = payloads(replay(asked(stream=True), body(THOUGHT, TEXT, USE), NOW))

    def event(kind: str, index: int, **members: Any) -> Any:
        return {"type": "content_block_" + kind, "index": index, **members}

    begun = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 0}
    frame = {**BODY, "id": found[0]["message"]["id"], "content": [], "stop_reason": None}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    assert found == [
        {"type": "message_start", "message": {**frame, "usage": begun}},
        event("start", 0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
        event("delta", 0, delta={"type": "thinking_delta", "thinking": "hm"}),
        event("delta", 0, delta={"type": "signature_delta", "signature": "s1"}),
        event("stop", 0),
        event("start", 1, content_block={"type": "text", "text": ""}),
        event("delta", 1, delta={"type": "text_delta", "text": "Paris."}),
        event("stop", 1),
        event("start", 2, content_block={**USE, "input": {}}),
        event("delta", 2, delta={"type": "input_json_delta", "partial_json": '{"x":1}'}),
        event("stop", 2),
        {"type": "message_delta", "delta": delta, "usage": {**BODY["usage"], "cost_usd": 0}},
        {"type": "message_stop"},
    ]


class TestRoundTrip:
    @given(bodies.messages)
    def test_a_stream_gathered_is_the_body(self, whole: Any) -> None:
        got = gather(MESSAGES, streamed(orjson.dumps(whole)))
        assert got is not None
        assert without(orjson.loads(got), "id") == without(whole, "id")

    @given(bodies.messages)
    def test_the_sdk_hears_the_same_in_both(self, whole: Any) -> None:
        raw = orjson.dumps(whole)
        told, said = messages_stream(streamed(raw)), messages_whole(raw)
        for found in (told, said):  # the SDK's accumulator passes over members it has no type for
            found.pop("context_management", None)
            found["usage"].pop("cost_usd", None)
        assert without(told, "id") == without(said, "id")

    @given(bodies.messages)
    def test_cut_anywhere_it_is_nothing(self, whole: Any) -> None:
        for part in cuts(streamed(orjson.dumps(whole))):
            assert gather(MESSAGES, part) is None


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


START = {"type": "message_start", "message": {**BODY, "content": [], "stop_reason": None}}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
SHUT = {"type": "content_block_stop", "index": 0}
TOLD = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 9, "input_tokens": None},
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def delta(kind: str, index: int = 0, **members: Any) -> Any:
    inner = {"type": kind, **members}
    return {"type": "content_block_delta", "index": index, "delta": inner}


def opened(**block: Any) -> Any:
    return {**OPEN, "content_block": block}


class TestGather:
    def test_counts_of_the_end_replace_those_of_the_beginning(self) -> None:
        words = [delta("text_delta", text="Hel"), PING, delta("text_delta", text="lo")]
        got = gather(MESSAGES, sse(START, PING, OPEN, *words, SHUT, TOLD, STOP))
        assert got is not None
        assert orjson.loads(got) == {
            **BODY,
            "content": [{"type": "text", "text": "Hello"}],
            "usage": {**BODY["usage"], "output_tokens": 9},
        }

    def test_a_call_without_arguments(self) -> None:
        start = opened(type="tool_use", id="a", name="f", input={})
        got = gather(MESSAGES, sse(START, start, SHUT, TOLD, STOP))
        assert got is not None
        use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
        assert orjson.loads(got)["content"] == [use]

    @pytest.mark.parametrize(
        "events",
        [
            [START, OPEN, SHUT, STOP],  # no reason to end
            [START, OPEN, TOLD, STOP],  # a block is open
            [START, OPEN, SHUT, TOLD],
            [OPEN, SHUT, TOLD, STOP],
            [START, START, TOLD, STOP],
            [START, TOLD, STOP, PING, STOP],
            [START, {"type": "error", "error": {"type": "overloaded_error"}}, TOLD, STOP],
            [START, {"type": "content_block_news"}, TOLD, STOP],
            [START, OPEN, delta("news_delta"), SHUT, TOLD, STOP],
            [START, OPEN, delta("thinking_delta", thinking="x"), SHUT, TOLD, STOP],
            [START, OPEN, delta("input_json_delta", partial_json="{}"), SHUT, TOLD, STOP],
            [START, OPEN, delta("text_delta", 1, text="x"), SHUT, TOLD, STOP],
            [START, OPEN, SHUT, delta("text_delta", text="x"), TOLD, STOP],
            [START, OPEN, SHUT, OPEN, SHUT, TOLD, STOP],
            [
                START,
                opened(type="tool_use", id="a", name="f", input={}),
                delta("input_json_delta", partial_json='{"x'),
                SHUT,
                TOLD,
                STOP,
            ],
            [{"type": "message_start", "message": BODY}, TOLD, STOP],
            [START, [], TOLD, STOP],
            [START, {}, TOLD, STOP],
        ],
    )
    def test_what_is_not_whole(self, events: list[Any]) -> None:
        assert gather(MESSAGES, sse(*events)) is None

    def test_malformed_json(self) -> None:
        assert gather(MESSAGES, sse(START) + b"data: {\n\n" + sse(TOLD, STOP)) is None


FORM = {"type": "json_schema", "schema": {"type": "array"}}


@pytest.mark.parametrize(
    ("over", "raw", "reason"),
    [
        ({}, body(), None),
        ({}, body(stop_reason="stop_sequence", stop_sequence="###"), None),
        ({}, body(stop_reason="max_tokens"), "finish_max_tokens"),
        ({}, body(stop_reason="pause_turn"), "finish_pause_turn"),
        ({}, body(stop_reason="refusal"), "refusal"),
        ({}, body(stop_reason="tool_use"), "tool_call"),
        ({}, body(TEXT, USE), "tool_call"),
        ({}, body(THOUGHT), "empty"),
        ({}, body({"type": "text", "text": 1}), "malformed"),
        ({}, body("x"), "malformed"),
        ({}, orjson.dumps(without(BODY, "content")), "malformed"),
        ({"output_config": {"format": FORM}}, body(), "invalid_json"),
        ({"output_format": FORM}, body(), "invalid_json"),
        ({"output_config": {"format": FORM}}, body({"type": "text", "text": "[1]"}), None),
        ({"output_config": {"format": FORM}}, body({"type": "text", "text": "{}"}), "invalid_json"),
    ],
)
def test_unfit(over: Any, raw: bytes, reason: str | None) -> None:
    assert unfit(asked(**over), raw) == reason


def test_read() -> None:
    assert text_of(MESSAGES, body(TEXT, THOUGHT, TEXT)) == "Paris.Paris."
    assert usage_of(MESSAGES, body()) == Usage(7, 2, cached=4)
