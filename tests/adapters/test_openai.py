"""The OpenAI dialect: what goes out byte for byte, and what a stream becomes."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Ask, Endpoint, FailureKind, Retry, UpstreamFailure, Usage
from adapters.openai import OpenAI, read_usage
from tests.adapters.asks import ask, no_cost, target

ADAPTER = OpenAI()
RAW = b'{ "model":"m", "messages" : [{"role":"user","content":"\\u00e9"}], "new_field": 1.50 }'


def sse(*events: Any, done: bool = True) -> bytes:
    payloads = [e if isinstance(e, bytes) else orjson.dumps(e) for e in events]
    return b"".join(b"data: " + p + b"\n\n" for p in [*payloads, *([b"[DONE]"] if done else [])])


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **over: Any) -> Any:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, "logprobs": None}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": [choice],
    } | over


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hello"})
STOP = chunk(finish="stop")
USAGE = chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})


def events(stream: bytes) -> list[Any]:
    found = [e.removeprefix(b"data: ") for e in stream.split(b"\n\n") if e]
    return [e if e == b"[DONE]" else orjson.loads(e) for e in found]


def run(an_ask: Ask, stream: bytes, size: int | None = None) -> bytes:
    translator = ADAPTER.stream(an_ask, no_cost)
    out = b""
    for start in range(0, len(stream), size or len(stream)):
        out += translator.feed(stream[start : start + (size or len(stream))])
    return out + translator.finish()


class TestRequest:
    def test_what_need_not_change_goes_out_byte_for_byte(self) -> None:
        an_ask = ask(raw=RAW)
        out = ADAPTER.request(an_ask, target())
        assert out.body is an_ask.raw
        assert out.url == "http://up.test/v1/chat/completions"
        assert out.headers["authorization"] == "Bearer sk-up"

    def test_only_the_model_changes(self) -> None:
        out = ADAPTER.request(ask(raw=RAW), target("gpt-4o"))
        assert out.body == RAW.replace(b'"m"', b'"gpt-4o"')

    def test_a_stream_is_asked_for_its_usage(self) -> None:
        out = ADAPTER.request(ask(stream=True), target())
        assert orjson.loads(out.body)["stream_options"] == {"include_usage": True}

    def test_a_stream_that_asks_itself_is_left_alone(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        assert ADAPTER.request(an_ask, target()).body == an_ask.raw

    def test_other_stream_options_survive(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_obfuscation": False})
        sent = orjson.loads(ADAPTER.request(an_ask, target()).body)
        assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}

    def test_a_target_that_refuses_stream_options_gets_none(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        out = ADAPTER.request(an_ask, target(takes_stream_options=False))
        assert "stream_options" not in orjson.loads(out.body)

    def test_defaults_are_added_and_own_fields_dropped(self) -> None:
        an_ask = ask(metadata={"task": "x"})._replace(
            defaults={"temperature": 0.3}, drop=frozenset({"metadata"})
        )
        sent = orjson.loads(ADAPTER.request(an_ask, target()).body)
        assert sent["temperature"] == 0.3
        assert "metadata" not in sent

    def test_configured_headers_win(self) -> None:
        an_ask = ask()._replace(headers=(("openai-beta", "x"),))
        out = ADAPTER.request(an_ask, target(headers=(("x-team", "a"),)))
        assert (out.headers["openai-beta"], out.headers["x-team"]) == ("x", "a")


class TestReply:
    def test_a_complete_reply_passes_untouched(self) -> None:
        message = {"role": "assistant", "content": "Hi", "refusal": None, "odd": 1}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        body = orjson.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}, "new": [1]})
        assert ADAPTER.reply(ask(), body).body is body

    def test_what_a_strict_client_wants_is_added(self) -> None:
        body = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"eos"}],"x":1}'
        reply = orjson.loads(ADAPTER.reply(ask(), body).body)
        choice = reply["choices"][0]
        assert (choice["logprobs"], choice["message"]["refusal"]) == (None, None)
        assert (choice["finish_reason"], reply["x"]) == ("stop", 1)

    def test_without_usage_the_text_is_measured(self) -> None:
        reply = ADAPTER.reply(
            ask(), b'{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}'
        )
        assert (reply.usage, reply.text_bytes) == (None, 2)

    @pytest.mark.parametrize(
        "body", [b"<html>", b'{"choices": [', b"[]", b'{"object":"x"}', b'{"choices":[1]}', b""]
    )
    def test_what_is_no_answer_is_a_failure(self, body: bytes) -> None:
        with pytest.raises(UpstreamFailure) as caught:
            ADAPTER.reply(ask(), body)
        assert caught.value.failure.kind is FailureKind.INVALID_REPLY
        assert caught.value.failure.retry is Retry.NEXT_TARGET

    def test_an_error_inside_a_200_is_that_error(self) -> None:
        with pytest.raises(UpstreamFailure) as caught:
            ADAPTER.reply(ask(), b'{"error":{"message":"slow down","code":429}}')
        assert caught.value.failure.kind is FailureKind.RATE_LIMIT

    def test_embeddings(self) -> None:
        body = b'{"data":[{"embedding":[1.0]}],"usage":{"prompt_tokens":5,"total_tokens":5}}'
        reply = ADAPTER.reply(ask(Endpoint.EMBEDDINGS, input="x"), body)
        assert (reply.body, reply.usage) == (body, Usage(prompt=5))


class TestStream:
    stream = sse(ROLE, HELLO, STOP, USAGE)

    def test_the_usage_chunk_is_kept_from_who_did_not_ask(self) -> None:
        assert events(run(ask(stream=True), self.stream)) == [ROLE, HELLO, STOP, b"[DONE]"]

    def test_the_usage_chunk_is_given_to_who_asked(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        assert events(run(an_ask, self.stream)) == [ROLE, HELLO, STOP, USAGE, b"[DONE]"]

    def test_its_cost_is_in_it(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        translator = ADAPTER.stream(an_ask, lambda usage: usage.total / 1000)
        usage = events(translator.feed(self.stream))[-2]["usage"]
        assert usage == USAGE["usage"] | {"cost_usd": 0.004}

    def test_missing_usage_is_estimated_and_says_so(self) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        usage_chunk = events(run(an_ask, sse(ROLE, HELLO, STOP)))[-2]
        assert usage_chunk["choices"] == []
        assert usage_chunk["id"] == "c1"
        assert usage_chunk["usage"]["estimated"] is True
        assert usage_chunk["usage"]["completion_tokens"] == 2

    def test_usage_beside_choices_passes_and_counts(self) -> None:
        last = STOP | {"usage": USAGE["usage"]}
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        assert events(translator.feed(sse(ROLE, HELLO, last)))[-2] == last
        assert translator.usage == Usage(prompt=3, completion=1)

    @given(size=st.integers(1, 60))
    def test_any_split_gives_the_same(self, size: int) -> None:
        an_ask = ask(stream=True, stream_options={"include_usage": True})
        assert run(an_ask, self.stream, size) == run(an_ask, self.stream)

    def test_events_pass_as_they_were_sent(self) -> None:
        odd = b'{"choices":[{"index":0,"delta":{"content":"\xe2\x80\xa8"}}],   "x":1.50}'
        assert b"data: " + odd + b"\n\n" in run(ask(stream=True), sse(ROLE, odd, STOP))

    def test_content_is_told_from_what_comes_before(self) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        translator.feed(sse(chunk(choices=[], prompt_filter_results=[]), ROLE, done=False))
        assert translator.contents == 0
        translator.feed(sse(chunk({"reasoning_content": "hm"}), done=False))
        assert translator.contents == 1

    @pytest.mark.parametrize(
        "delta",
        [
            {"content": "x"},
            {"tool_calls": [{"index": 0}]},
            {"refusal": "no"},
            {"reasoning": "hm"},
            {"audio": {"id": "a"}},
        ],
    )
    def test_content_of_every_kind_counts(self, delta: dict[str, Any]) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        translator.feed(sse(chunk(delta), done=False))
        assert translator.contents == 1

    def test_done_is_added_after_a_finish(self) -> None:
        assert run(ask(stream=True), sse(ROLE, HELLO, STOP, done=False)).endswith(
            b"data: [DONE]\n\n"
        )

    @pytest.mark.parametrize(
        "stream",
        [
            sse(ROLE, HELLO, done=False),
            sse(ROLE, HELLO, done=False) + b"data: {",
            b"",
            sse(ROLE, chunk({"content": "a"}, choices=[]), done=False),
        ],
    )
    def test_an_end_without_a_finish_is_no_end(self, stream: bytes) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        out = translator.feed(stream)
        assert b"[DONE]" not in out
        with pytest.raises(UpstreamFailure) as caught:
            translator.finish()
        assert caught.value.failure.kind is FailureKind.INTERRUPTED

    def test_done_without_a_finish_is_no_end_either(self) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        assert b"[DONE]" not in translator.feed(sse(ROLE, HELLO))
        assert translator.failure is not None
        assert translator.failure.kind is FailureKind.INTERRUPTED

    def test_every_choice_must_finish(self) -> None:
        second = {"index": 1, "delta": {"content": "b"}, "finish_reason": None}
        stream = sse(HELLO, chunk(choices=[second]), STOP, done=False)
        translator = ADAPTER.stream(ask(stream=True, n=2), no_cost)
        translator.feed(stream)
        with pytest.raises(UpstreamFailure):
            translator.finish()

    def test_an_error_event_ends_it(self) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        error = {"error": {"message": "boom", "type": "server_error", "code": None}}
        out = translator.feed(sse(ROLE, HELLO, error, STOP))
        assert events(out) == [ROLE, HELLO]
        assert translator.failure is not None
        assert translator.failure.kind is FailureKind.SERVER
        assert translator.finish() == b""

    def test_a_malformed_event_is_skipped_and_counted(self) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        out = translator.feed(sse(ROLE, b'{"choices": [', b"7", HELLO, STOP))
        assert events(out) == [ROLE, HELLO, STOP, b"[DONE]"]
        assert translator.skipped == 2

    def test_an_event_too_large_ends_it(self) -> None:
        translator = ADAPTER.stream(ask(stream=True), no_cost)
        translator.feed(sse(ROLE, HELLO, done=False) + b"data: " + b"x" * (16 * 1024 * 1024 + 1))
        assert translator.failure is not None
        assert translator.failure.kind is FailureKind.EVENT_TOO_LARGE

    def test_a_vendors_finish_reason_is_put_in_openais_words(self) -> None:
        out = events(run(ask(stream=True), sse(ROLE, HELLO, chunk(finish="eos"))))
        assert out[2]["choices"][0]["finish_reason"] == "stop"

    def test_legacy_completions(self) -> None:
        text = {"id": "c", "choices": [{"index": 0, "text": "Hi", "finish_reason": None}]}
        end = {"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
        an_ask = ask(Endpoint.COMPLETIONS, prompt="x", stream=True)
        assert events(run(an_ask, sse(text, end))) == [text, end, b"[DONE]"]


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "value"),
        [
            (None, None),
            ({}, None),
            ({"prompt_tokens": 7}, Usage(prompt=7)),
            (
                {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                },
                Usage(prompt=10, completion=5, cached=4, reasoning=3),
            ),
            ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 6}, Usage(prompt=9, cached=6)),
            (
                {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
                Usage(5, cached=5),
            ),
            ({"prompt_tokens": "x", "completion_tokens": -1}, Usage()),
        ],
    )
    def test_classes(self, usage: Any, value: Usage | None) -> None:
        assert read_usage(usage) == value
