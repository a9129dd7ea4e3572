"""Responses kept and given again, read by OpenAI's SDK."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.base import Ask, Endpoint, Usage
from tests.adapters.answers import bodies
from tests.adapters.answers.readers import (
    EVENTS,
    cuts,
    payloads,
    responses_stream,
    responses_whole,
    without,
)
from tests.adapters.asks import ask

RESPONSES = Endpoint.RESPONSES
NOW = 1_800_000_000

PART = {"type": "output_text", "text": "Paris.", "annotations": [], "logprobs": []}
MESSAGE = {
    "type": "message",
    "id": "msg_old",
    "status": "completed",
    "role": "assistant",
    "content": [PART],
}
REASONING = {
    "type": "reasoning",
    "id": "rs_old",
    "summary": [{"type": "summary_text", "text": "Hm"}],
}
CALL = {
    "type": "function_call",
    "id": "fc_old",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}
BODY: dict[str, Any] = {
    "id": "resp_old",
    "object": "response",
    "created_at": 1,
    "completed_at": 2,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "metadata": {"run": "1"},
    "model": "m-1",
    "output": [MESSAGE],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "user": "ann",
    "usage": {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
        "cost_usd": 0.25,
    },
}


def body(*output: Any, **over: Any) -> bytes:
    return orjson.dumps({**BODY, "output": list(output) or BODY["output"], **over})


def asked(**over: Any) -> Ask:
    return ask(RESPONSES, raw=orjson.dumps({"model": "m", "input": "Hi", **over}))


def streamed(raw: bytes) -> bytes:
    return b"".join(replay(asked(stream=True), raw, NOW))


def anonymous(answer: Any) -> Any:
    """Without ids and times."""
    found = copy.deepcopy(without(answer, "id", "created_at", "completed_at"))
    for item in found["output"]:
        item.pop("id", None)
    return found


def brief(raw: bytes) -> list[tuple[Any, ...]]:
    """What each event is and says, each of them of the SDK's own type."""
    said = ("delta", "text", "refusal", "arguments", "annotation")
    found = payloads(replay(asked(stream=True), raw, NOW))
    for event in found:
        EVENTS.validate_python(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return [
        (event["type"].removeprefix("response."), *(event[name] for name in said if name in event))
        for event in found
    ]


class TestWhole:
    def test_ids_times_and_cost_are_new(self) -> None:
        found = orjson.loads(replay(asked(metadata={"run": "2"}), body(), NOW)[0])
        assert found["id"].startswith("resp_")
        assert found["output"][0]["id"].startswith("msg_")
        assert "old" not in found["id"] + found["output"][0]["id"]
        assert found == {
            **BODY,
            "id": found["id"],
            "created_at": NOW,
            "completed_at": NOW,
            "metadata": {"run": "2"},
            "user": None,
            "output": [{**MESSAGE, "id": found["output"][0]["id"]}],
            "usage": {**BODY["usage"], "cost_usd": 0},
        }

    def test_members_that_stayed_here_are_not_told(self) -> None:
        an_ask = asked(metadata={"own": "x"})._replace(drop=frozenset({"metadata"}))
        assert orjson.loads(replay(an_ask, body(), NOW)[0])["metadata"] == {}

    def test_encrypted_thought_keeps_its_id(self) -> None:
        sealed = {**REASONING, "encrypted_content": "xyz"}
        found = orjson.loads(replay(asked(), body(sealed, MESSAGE), NOW)[0])
        assert found["output"][0] == sealed


class TestStream:
    def test_the_events_of_words(self) -> None:
        assert brief(body()) == [
            ("created",),
            ("in_progress",),
            ("output_item.added",),
            ("content_part.added",),
            ("output_text.delta", "Paris."),
            ("output_text.done", "Paris."),
            ("content_part.done",),
            ("output_item.done",),
            ("completed",),
        ]

    def test_the_events_of_thought_and_a_call(self) -> None:
        assert brief(body(REASONING, CALL))[2:-1] == [
            ("output_item.added",),
            ("reasoning_summary_part.added",),
            ("reasoning_summary_text.delta", "Hm"),
            ("reasoning_summary_text.done", "Hm"),
            ("reasoning_summary_part.done",),
            ("output_item.done",),
            ("output_item.added",),
            ("function_call_arguments.delta", "{}"),
            ("function_call_arguments.done", "{}"),
            ("output_item.done",),
        ]

    def test_the_events_of_a_refusal_and_of_an_annotation(self) -> None:
        cited = {**PART, "annotations": [{"type": "file_path", "file_id": "f", "index": 1}]}
        message = {**MESSAGE, "content": [cited, {"type": "refusal", "refusal": "No."}]}
        assert brief(body(message))[4:-2] == [
            ("output_text.delta", "Paris."),
            ("output_text.annotation.added", {"type": "file_path", "file_id": "f", "index": 1}),
            ("output_text.done", "Paris."),
            ("content_part.done",),
            ("content_part.added",),
            ("refusal.delta", "No."),
            ("refusal.done", "No."),
            ("content_part.done",),
        ]

    def test_what_has_not_happened_yet(self) -> None:
        sealed = {**REASONING, "encrypted_content": "xyz"}
        found = payloads(replay(asked(stream=True), body(sealed, MESSAGE), NOW))
        began = found[0]["response"]
        assert (began["status"], began["output"], began["usage"]) == ("in_progress", [], None)
        assert (began["completed_at"], began["created_at"]) == (None, NOW)
        added = [e["item"] for e in found if e["type"] == "response.output_item.added"]
        last = found[-1]["response"]
        assert added == [
            {"type": "reasoning", "id": last["output"][0]["id"], "summary": []},
            {**MESSAGE, "id": last["output"][1]["id"], "status": "in_progress", "content": []},
        ]
        part = next(e["part"] for e in found if e["type"] == "response.content_part.added")
        assert part == {**PART, "text": ""}
        places = {e["item_id"] for e in found if e.get("output_index") == 1 and "item_id" in e}
        assert places == {last["output"][1]["id"]}

    def test_tokens_come_with_all_of_the_words(self) -> None:
        token = {"token": "x", "bytes": [120], "logprob": -0.5, "top_logprobs": []}
        part = {**PART, "text": "word " * 30, "logprobs": [token]}
        found = payloads(replay(asked(stream=True), body({**MESSAGE, "content": [part]}), NOW))
        deltas = [e for e in found if e["type"] == "response.output_text.delta"]
        assert [(e["delta"], e["logprobs"]) for e in deltas] == [("word " * 30, [token])]


class TestRoundTrip:
    @given(bodies.responses)
    def test_a_stream_gathered_is_the_body(self, whole: Any) -> None:
        got = gather(RESPONSES, streamed(orjson.dumps(whole)))
        assert got is not None
        assert anonymous(orjson.loads(got)) == anonymous(whole)

    @given(bodies.responses)
    def test_the_sdk_hears_the_same_in_both(self, whole: Any) -> None:
        raw = orjson.dumps(whole)
        assert anonymous(responses_stream(streamed(raw))) == anonymous(responses_whole(raw))

    @given(bodies.responses)
    def test_cut_anywhere_it_is_nothing(self, whole: Any) -> None:
        for part in cuts(streamed(orjson.dumps(whole))):
            assert gather(RESPONSES, part) is None


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


END = {"type": "response.completed", "response": BODY}


@pytest.mark.parametrize(
    "stream",
    [
        sse(END, {"type": "response.output_text.delta"}),
        sse({"type": "error", "message": "x"}, END),
        sse({**END, "type": "response.incomplete"}),
        sse({**END, "type": "response.failed"}),
        sse({"type": "response.incomplete"}, END),
        sse({"type": "response.completed"}),
        b"data: {\n\n" + sse(END),
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_not_whole(stream: bytes) -> None:
    assert gather(RESPONSES, stream) is None


FORM = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("over", "raw", "reason"),
    [
        ({}, body(), None),
        ({}, body(REASONING, MESSAGE), None),
        ({}, body(REASONING), "empty"),
        ({}, body(MESSAGE, CALL), "tool_call"),
        ({}, body({"type": "web_search_call", "id": "ws_1"}, MESSAGE), "tool_call"),
        ({}, body({**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}), "refusal"),
        ({}, body(status="failed"), "finish_failed"),
        (
            {},
            body(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "finish_max_output_tokens",
        ),
        (
            {},
            body(status="incomplete", incomplete_details={"reason": "content_filter"}),
            "filtered",
        ),
        ({}, body(status="incomplete", incomplete_details=None), "finish_incomplete"),
        ({}, body(error={"code": "x"}), "malformed"),
        ({}, body("x"), "malformed"),
        ({}, body({**MESSAGE, "content": None}), "malformed"),
        ({"text": FORM}, body(), "invalid_json"),
        ({"text": FORM}, body({**MESSAGE, "content": [{**PART, "text": "{}"}]}), None),
    ],
)
def test_unfit(over: Any, raw: bytes, reason: str | None) -> None:
    assert unfit(asked(**over), raw) == reason


def test_read() -> None:
    assert text_of(RESPONSES, body(REASONING, MESSAGE, MESSAGE)) == "Paris.Paris."
    assert usage_of(RESPONSES, body()) == Usage(3, 2, cached=1)
