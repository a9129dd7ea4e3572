"""Streams of typed events: passed on as they came, ended only by their own last event."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import FailureKind, Retry, UpstreamFailure, Usage
from adapters.openai_stream import TypedStream, read_typed_usage
from adapters.sse import LINE_LIMIT
from tests.adapters import heard

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 29,
}
COUNTED = Usage(prompt=20, completion=9, cached=8, reasoning=3)


def typed(kind: str, **members: Any) -> bytes:
    """One event, as OpenAI sends it."""
    payload = orjson.dumps({"type": kind, **members})
    return b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n"


CREATED = typed("response.created", response={"id": "r", "usage": None})
PROGRESS = typed("response.in_progress", response={"id": "r", "usage": None})
HELLO = typed("response.output_text.delta", delta="Hello", item_id="i")
COMPLETED = typed("response.completed", response={"id": "r", "usage": USAGE})


def fed(*events: bytes) -> tuple[TypedStream, bytes]:
    stream = TypedStream()
    return stream, stream.feed(b"".join(events))


class TestPassage:
    @given(seed=st.integers(0, 10_000))
    def test_any_split_gives_the_same_bytes(self, seed: int) -> None:
        raw = CREATED + PROGRESS + HELLO + COMPLETED
        stream = TypedStream()
        assert b"".join(map(stream.feed, heard.cut(raw, seed))) == raw
        assert stream.done
        assert (stream.usage, stream.text_bytes, stream.skipped) == (COUNTED, 5, 0)

    def test_the_event_line_is_there_though_the_upstream_left_it_out(self) -> None:
        _, out = fed(HELLO.split(b"\n", 1)[1])
        assert out == HELLO

    def test_its_bytes_are_the_upstreams(self) -> None:
        odd = b'{ "type":"response.output_text.delta", "delta" :"\\u00e9 \xe2\x80\xa8", "x":1.50}'
        stream, out = fed(b"data:" + odd + b"\r\n\r\n")
        assert out == b"event: response.output_text.delta\ndata: " + odd + b"\n\n"
        assert stream.text_bytes == len("é \u2028".encode())

    def test_openings_are_no_content(self) -> None:
        stream, _ = fed(CREATED, PROGRESS, typed("response.queued"), typed("keepalive"))
        assert stream.contents == 0
        stream.feed(HELLO)
        assert stream.contents == 1

    @pytest.mark.parametrize(
        "kind",
        ["response.output_item.added", "image_generation.partial_image", "speech.audio.delta"],
    )
    def test_all_else_is(self, kind: str) -> None:
        assert fed(typed(kind))[0].contents == 1

    def test_what_is_no_event_is_skipped_and_counted(self) -> None:
        odd = [b"{", b"7", b"[]", b"null", b'{"x":1}', b'"type"']
        stream, out = fed(HELLO, *(b"data: " + payload + b"\n\n" for payload in odd), COMPLETED)
        assert out == HELLO + COMPLETED
        assert stream.skipped == len(odd)

    @pytest.mark.parametrize("usage", [7, [], "x", {"input_tokens": "7"}, {}])
    def test_odd_usage_is_none(self, usage: Any) -> None:
        stream, out = fed(typed("response.completed", response={"usage": usage}))
        assert stream.usage is None
        assert stream.done
        assert out.startswith(b"event: response.completed\n")

    @pytest.mark.parametrize("response", [None, 7, []])
    def test_an_odd_response_is_none(self, response: Any) -> None:
        stream, out = fed(typed("response.completed", response=response))
        assert (stream.done, stream.usage) == (True, None)
        assert out

    def test_a_type_can_start_no_line_of_its_own(self) -> None:
        _, out = fed(b'data: {"type": "a\\ndata: {}\\n\\nevent: b"}\n\n' + COMPLETED)
        names = {line.split(b":")[0] for line in out.split(b"\n") if line}
        assert names <= {b"event", b"data"}
        assert out.count(b"\n\n") <= 2


class TestEnds:
    @pytest.mark.parametrize(
        "kind",
        [
            "response.completed",
            "response.incomplete",
            "image_generation.completed",
            "transcript.text.done",
            "speech.audio.done",
        ],
    )
    def test_the_last_event_of_each_api(self, kind: str) -> None:
        stream, out = fed(typed(kind, usage=USAGE), b"data: [DONE]\n\n", HELLO)
        assert stream.done
        assert out == typed(kind, usage=USAGE)
        images = 1 if kind.startswith("image") else 0  # by whose number some are billed
        assert stream.usage == COUNTED._replace(images=images)
        assert stream.finish() == b""

    def test_done_alone_is_no_end(self) -> None:
        stream, out = fed(HELLO, b"data: [DONE]\n\n")
        assert (out, stream.done, stream.skipped) == (HELLO, False, 0)
        assert_cut_short(stream)

    @pytest.mark.parametrize(
        "events",
        [
            [],
            [CREATED],
            [CREATED, HELLO],
            [CREATED, HELLO, typed("response.output_text.done", text="Hello")],
            [HELLO, COMPLETED[:-20]],
            [HELLO, typed("response.output_item.done")],
        ],
    )
    def test_an_end_of_file_before_it_is_no_end(self, events: Iterable[bytes]) -> None:
        stream, out = fed(*events)
        assert b"completed" not in out
        assert_cut_short(stream)

    def test_its_last_line_break_may_be_missing(self) -> None:
        stream, out = fed(HELLO, COMPLETED[:-2])
        assert out == HELLO
        assert stream.finish() == COMPLETED
        assert stream.done


def assert_cut_short(stream: TypedStream) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        stream.finish()
    failure = caught.value.failure
    assert (failure.kind, failure.retry) == (FailureKind.INTERRUPTED, Retry.SAME_TARGET)


class TestFailures:
    def test_an_error_event(self) -> None:
        event = typed("error", code="rate_limit_exceeded", message="slow", param="p")
        stream, out = fed(CREATED, HELLO, event, COMPLETED)
        assert out == CREATED + HELLO
        assert stream.failure is not None
        assert not stream.done
        failure = stream.failure
        said = (failure.kind, failure.message, failure.code, failure.param, failure.status)
        assert said == (FailureKind.RATE_LIMIT, "slow", "rate_limit_exceeded", "p", 429)
        assert stream.finish() == b""

    def test_an_error_object_inside_the_event(self) -> None:
        error = {"type": "invalid_request_error", "message": "no", "code": "c", "param": None}
        stream, out = fed(typed("error", error=error))
        assert out == b""
        assert stream.failure is not None
        assert stream.failure.kind is FailureKind.INVALID_REQUEST
        assert (stream.failure.message, stream.failure.code) == ("no", "c")
        assert stream.failure.retry is Retry.NEVER

    def test_a_response_that_failed_before_it_said_anything_may_be_made_elsewhere(self) -> None:
        response = {"status": "failed", "error": {"code": "server_error", "message": "sorry"}}
        stream, out = fed(CREATED, typed("response.failed", response=response))
        assert out == CREATED
        assert stream.contents == 0
        assert stream.failure is not None
        assert (stream.failure.kind, stream.failure.message) == (FailureKind.SERVER, "sorry")

    def test_one_that_failed_after_that_is_told_as_it_was(self) -> None:
        response = {"error": {"code": "server_error", "message": "sorry"}, "usage": USAGE}
        failed = typed("response.failed", response=response)
        stream, out = fed(CREATED, HELLO, failed)
        assert out == CREATED + HELLO + failed
        assert (stream.done, stream.failure, stream.usage) == (True, None, COUNTED)

    def test_an_event_too_large(self) -> None:
        stream, _ = fed(HELLO)
        stream.feed(b'data: {"type":"x","a":"' + b"x" * LINE_LIMIT)
        assert stream.failure is not None
        assert stream.failure.kind is FailureKind.EVENT_TOO_LARGE


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "value"),
        [
            (USAGE, COUNTED),
            (None, None),
            ({}, None),
            ({"prompt_tokens": 3}, None),
            ({"input_tokens": None, "output_tokens": 3}, None),
            ({"type": "duration", "seconds": 2}, None),
            ({"input_tokens": 3}, Usage(prompt=3)),
            ({"input_tokens": -3, "output_tokens": -1}, Usage()),
            ({"input_tokens": 3, "output_tokens": "x"}, Usage(prompt=3)),
            (
                {"input_tokens": 3, "input_tokens_details": {"cached_tokens": None}},
                Usage(prompt=3),
            ),
            (
                {
                    "input_tokens": 30,
                    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                    "output_tokens": 1,
                },
                Usage(30, 1, 10, 5),
            ),
            (  # of images
                {
                    "input_tokens": 50,
                    "output_tokens": 50,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                },
                Usage(prompt=50, completion=50),
            ),
        ],
    )
    def test_classes(self, usage: Any, value: Usage | None) -> None:
        assert read_typed_usage(usage) == value
