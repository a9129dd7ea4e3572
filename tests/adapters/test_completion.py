"""Writing OpenAI's shapes: chunks in their order, and nothing of an event that was odd."""

from typing import Any

import orjson
import pytest

from adapters.base import FailureKind, UpstreamFailure, Usage
from adapters.completion import (
    Choice,
    TranslatedStream,
    parse_object,
    thinking_object,
    usage_object,
)
from adapters.conversation import Thinking
from adapters.sse import Decoder
from tests.adapters.asks import ask
from tests.adapters.heard import of_stream


class Spoken(TranslatedStream[bytes]):
    """A dialect whose events are the words of the base class."""

    def _take(self, entry: bytes) -> None:
        word, *given = orjson.loads(entry)
        getattr(self, "_" + word)(*given)


def spoken(*events: Any, usage: Usage | None = None, **body: Any) -> tuple[Spoken, bytes]:
    stream = Spoken(ask(stream=True, **body), lambda _: 0.25, Decoder())
    stream.usage = usage
    out = b"".join(stream.feed(b"data: " + orjson.dumps(entry) + b"\n\n") for entry in events)
    return stream, out


def test_a_whole_stream_in_order() -> None:
    asked = {"stream_options": {"include_usage": True}}
    events = (
        ["begin", "id-1", "m-9"],
        ["reason", "hm"],
        ["text", "Hi\u2028"],
        ["call", "c1", "f", ""],
        ["arguments", 0, '{"a":'],
        ["arguments", 0, "1}"],
        ["finish", "tool_calls"],
        ["end"],
    )
    stream, out = spoken(*events, usage=Usage(5, 3, 2, 0, 1), **asked)
    heard = of_stream(out)
    choice = heard.choices[0]
    assert (choice.text, choice.reasoning, choice.finish) == ("Hi\u2028", "hm", "tool_calls")
    assert choice.calls == [("f", {"a": 1})]
    assert heard.usage == (5, 3, 2, 1)
    payloads = [orjson.loads(part[6:]) for part in out.split(b"\n\n")[:-2]]
    assert payloads[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {(p["id"], p["model"]) for p in payloads} == {("id-1", "m-9")}
    assert payloads[-1]["usage"]["cost_usd"] == 0.25
    assert payloads[-2]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    assert stream.done
    assert stream.contents == 6
    assert stream.text_bytes == len("hm") + len("Hi\u2028".encode()) + len('f{"a":1}')


def test_usage_is_estimated_and_says_so_when_nothing_was_counted() -> None:
    _, out = spoken(
        ["text", "12345678"],
        ["finish", "stop"],
        ["end"],
        stream_options={"include_usage": True},
    )
    usage = orjson.loads(out.split(b"\n\n")[-3][6:])["usage"]
    assert (usage["completion_tokens"], usage["estimated"]) == (2, True)


def test_an_odd_event_leaves_nothing_behind() -> None:
    stream, out = spoken(["text", "a"], ["call", 1], ["text", 5], ["text", "b"])
    assert stream.skipped == 2
    assert (stream.contents, stream.text_bytes) == (2, 2)
    assert out.count(b"data: ") == 3  # role, a, b


def test_a_finish_reason_makes_an_end_and_nothing_else_does() -> None:
    stream, _ = spoken(["text", "a"], ["finish", "stop"])
    assert stream.finish().endswith(b"data: [DONE]\n\n")
    broken, _ = spoken(["text", "a"])
    with pytest.raises(UpstreamFailure) as failed:
        broken.finish()
    assert failed.value.failure.kind is FailureKind.INTERRUPTED


def test_an_event_that_is_too_large() -> None:
    events = Decoder(limit=10)
    stream = Spoken(ask(stream=True), lambda _: None, events)
    stream.feed(b"data: " + b"x" * 20)
    assert stream.failure is not None
    assert stream.failure.kind is FailureKind.EVENT_TOO_LARGE


def test_a_message_without_text() -> None:
    choice = Choice(calls=[{}])
    assert choice.message()["content"] is None
    assert Choice().message()["content"] == ""
    assert Choice(refusal="no").message() == {
        "role": "assistant",
        "content": None,
        "refusal": "no",
    }


def test_shapes_of_thought_and_usage() -> None:
    assert thinking_object(Thinking("a", "s")) == {
        "type": "thinking",
        "thinking": "a",
        "signature": "s",
    }
    assert thinking_object(Thinking(redacted="d")) == {"type": "redacted_thinking", "data": "d"}
    shape = usage_object(Usage(10, 5, 4, 3, 2))
    assert shape["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 3}
    assert shape["total_tokens"] == 15


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a":'])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        parse_object(body)
    assert failed.value.failure.kind is FailureKind.INVALID_REPLY
