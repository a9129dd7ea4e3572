"""Chat completions kept and given again, read by OpenAI's SDK."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.answers.chat import is_plain
from adapters.base import Ask, Endpoint, Usage
from tests.adapters.answers import bodies
from tests.adapters.answers.readers import chat_stream, chat_whole, cuts, payloads, without
from tests.adapters.asks import ask

CHAT = Endpoint.CHAT
NOW = 1_800_000_000

BODY: dict[str, Any] = {
    "id": "chatcmpl-old",
    "object": "chat.completion",
    "created": 1,
    "model": "m-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost_usd": 0.25},
    "system_fingerprint": "fp_1",
}

LONG = "It is the capital of France, on the Seine, and has been for about a thousand years."


def body(**choice: Any) -> bytes:
    return orjson.dumps({**BODY, "choices": [{**BODY["choices"][0], **choice}]})


def said(content: Any = "Paris.", finish: Any = "stop", **message: Any) -> bytes:
    whole = {"role": "assistant", "content": content, "refusal": None, **message}
    return body(message=whole, finish_reason=finish)


def streaming(usage: bool = True, **over: Any) -> Ask:
    return ask(stream=True, stream_options={"include_usage": usage}, **over)


def streamed(raw: bytes, usage: bool = True) -> bytes:
    return b"".join(replay(streaming(usage), raw, NOW))


class TestReplay:
    def test_whole(self) -> None:
        (raw,) = replay(ask(), body(), NOW)
        found = orjson.loads(raw)
        assert found["id"] != "chatcmpl-old"
        assert found["id"].startswith("chatcmpl-")
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost_usd": 0}
        assert found == {**BODY, "id": found["id"], "created": NOW, "usage": usage}

    def test_no_cost_is_added_to_a_body_without_one(self) -> None:
        raw = orjson.dumps({**BODY, "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        (found,) = replay(ask(), raw, NOW)
        assert orjson.loads(found)["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}

    def test_each_time_another_id(self) -> None:
        assert len({orjson.loads(replay(ask(), body(), NOW)[0])["id"] for _ in range(50)}) == 50

    def test_a_stream_to_the_letter(self) -> None:
        found = payloads(replay(streaming(), body(), NOW))
        frame = {
            "id": found[0]["id"],
            "object": "chat.completion.chunk",
            "created": NOW,
            "model": "m-1",
            "system_fingerprint": "fp_1",
        }

        def chunk(delta: Any, finish: Any = None) -> Any:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return {**frame, "choices": [choice]}

        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost_usd": 0}
        assert found == [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Paris."}),
            chunk({}, "stop"),
            {**frame, "choices": [], "usage": usage},
            "[DONE]",
        ]
        assert frame["id"].startswith("chatcmpl-")
        assert frame["id"] != "chatcmpl-old"

    def test_usage_only_for_who_asked(self) -> None:
        found = payloads(replay(streaming(usage=False), body(), NOW))
        assert [chunk.get("usage") for chunk in found[:-1]] == [None, None, None]
        assert found[-1] == "[DONE]"

    def test_a_usage_that_nobody_counted_is_an_estimate(self) -> None:
        raw = orjson.dumps(without(BODY, "usage"))
        usage = payloads(replay(streaming(), raw, NOW))[-2]["usage"]
        assert usage["estimated"] is True
        assert (usage["completion_tokens"], usage["cost_usd"]) == (4, 0)  # 15 bytes, its role too

    def test_words_come_in_pieces_cut_at_spaces(self) -> None:
        found = payloads(replay(streaming(), said(LONG), NOW))
        assert [chunk["choices"][0]["delta"].get("content") for chunk in found[1:-3]] == [
            "It is the capital of France, on the Seine, ",
            "and has been for about a thousand years.",
        ]

    def test_thought_comes_before_words(self) -> None:
        block = {"type": "thinking", "thinking": "hm", "signature": "s"}
        raw = said(reasoning_content="hm", thinking_blocks=[block], annotations=[{"a": 1}])
        deltas = [
            c["choices"][0]["delta"] for c in payloads(replay(streaming(False), raw, NOW))[:-1]
        ]
        assert deltas == [
            {"role": "assistant", "content": ""},
            {"reasoning_content": "hm"},
            {"thinking_blocks": [{**block, "index": 0}]},
            {"content": "Paris."},
            {"annotations": [{"a": 1}]},
            {},
        ]

    def test_logprobs_come_with_all_of_the_words(self) -> None:
        tokens = {"content": [{"token": "x", "logprob": -0.5}], "refusal": None}
        raw = orjson.dumps(orjson.loads(said(LONG)) | {})
        whole = orjson.loads(raw)
        whole["choices"][0]["logprobs"] = tokens
        found = payloads(replay(streaming(False), orjson.dumps(whole), NOW))
        assert [
            (c["choices"][0]["delta"].get("content"), c["choices"][0]["logprobs"])
            for c in found[:-1]
        ] == [
            ("", None),
            (LONG, tokens),
            (None, None),
        ]

    @given(bodies.chats)
    def test_every_chunk_is_of_openais_type(self, whole: Any) -> None:
        pieces = replay(streaming(), orjson.dumps(whole), NOW)
        assert pieces[-1] == b"data: [DONE]\n\n"
        heads = set()
        for piece in pieces[:-1]:
            chunk = ChatCompletionChunk.model_validate_json(piece.removeprefix(b"data: "))
            heads.add((chunk.id, chunk.created, chunk.model))
        assert len(heads) == 1


class TestRoundTrip:
    @given(bodies.chats)
    def test_a_stream_gathered_is_the_body(self, whole: Any) -> None:
        got = gather(CHAT, streamed(orjson.dumps(whole)))
        assert got is not None
        assert without(orjson.loads(got), "id", "created") == without(whole, "id", "created")

    @given(bodies.chats)
    def test_the_sdk_hears_the_same_in_both(self, whole: Any) -> None:
        for choice in whole["choices"]:  # the SDK's accumulator does not come to an end with others
            choice["finish_reason"] = "stop"
            choice.pop("content_filter_results", None)  # nor does it keep what comes with an end
        raw = orjson.dumps(whole)
        left_out = ("id", "created", "object")
        assert without(chat_stream(streamed(raw)), *left_out) == without(chat_whole(raw), *left_out)

    @given(bodies.chats)
    def test_cut_anywhere_it_is_nothing(self, whole: Any) -> None:
        for part in cuts(streamed(orjson.dumps(whole))):
            assert gather(CHAT, part) is None

    def test_cut_within_an_event(self) -> None:
        stream = streamed(body())
        for end in range(len(stream)):
            assert gather(CHAT, stream[:end]) is None


FORM = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": FORM}}


class TestUnfit:
    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (said(), None),
            (said(finish="length"), "finish_length"),
            (said(finish=None), "finish_none"),
            (said(finish="Weird\nlabel"), "finish_other"),
            (said(finish="content_filter"), "filtered"),
            (said(finish="tool_calls"), "tool_call"),
            (said(tool_calls=[{"id": "a"}]), "tool_call"),
            (said(function_call={"name": "f"}), "tool_call"),
            (said(None, refusal="No."), "refusal"),
            (said(" \n"), "empty"),
            (said(None), "empty"),
            (said(["parts"]), "malformed"),
            (said(finish=[]), "malformed"),
            (said(thinking_blocks=["x"]), "malformed"),
            (body(content_filter_results={"hate": {"filtered": True}}), "filtered"),
            (body(content_filter_results={"hate": {"filtered": False}}), None),
            (body(message="x"), "malformed"),
            (body(index=1), "malformed"),
            (orjson.dumps({**BODY, "choices": []}), "malformed"),
            (orjson.dumps({**BODY, "choices": BODY["choices"] * 2}), "malformed"),
            (orjson.dumps({**BODY, "usage": "x"}), "malformed"),
            (b"{", "malformed"),
            (b"[]", "malformed"),
            (b"null", "malformed"),
        ],
    )
    def test_reasons(self, raw: bytes, reason: str | None) -> None:
        assert unfit(ask(), raw) == reason

    @pytest.mark.parametrize(
        ("form", "text", "reason"),
        [
            ({"type": "json_object"}, '{"b": 1}', None),
            ({"type": "json_object"}, "[1]", "invalid_json"),
            ({"type": "json_object"}, '{"b": 1', "invalid_json"),
            (SCHEMA, '{"a": 1}', None),
            (SCHEMA, '{"b": 1}', "invalid_json"),
            (SCHEMA, "```json\n{}\n```", "invalid_json"),
            ({"type": "text"}, "words", None),
        ],
    )
    def test_json_as_it_was_asked_for(self, form: Any, text: str, reason: str | None) -> None:
        assert unfit(ask(response_format=form), said(text)) == reason
        defaults = {"response_format": form}
        assert unfit(ask()._replace(defaults=defaults), said(text)) == reason

    def test_any_choice_of_several(self) -> None:
        second = {**BODY["choices"][0], "index": 1, "finish_reason": "length"}
        two = orjson.dumps({**BODY, "choices": [BODY["choices"][0], second]})
        assert unfit(ask(n=2), two) == "finish_length"
        assert unfit(ask(n=2), body()) == "malformed"


class TestRead:
    def test_words(self) -> None:
        assert text_of(CHAT, body()) == "Paris."
        assert text_of(CHAT, said(None)) == ""
        assert text_of(CHAT, b"{}") == ""

    def test_usage(self) -> None:
        assert usage_of(CHAT, body()) == Usage(3, 2)
        assert usage_of(CHAT, orjson.dumps(without(BODY, "usage"))) is None
        assert usage_of(CHAT, b"x") is None

    def test_a_known_usage_goes_where_the_stream_told_none(self) -> None:
        got = gather(CHAT, streamed(body(), usage=False), Usage(7, 8, cached=1, reasoning=2))
        assert got is not None
        assert orjson.loads(got)["usage"] == {
            "prompt_tokens": 7,
            "completion_tokens": 8,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        told = gather(CHAT, streamed(body()), Usage(7, 8))
        assert told is not None
        assert orjson.loads(told)["usage"]["prompt_tokens"] == 3


_WORDS = st.text(min_size=1)
_MAYBE = st.none() | st.text()
_USAGES = st.dictionaries(st.text(), st.none() | st.integers(0, 2**53) | st.text() | st.floats())


@given(
    st.fixed_dictionaries(
        {
            "id": st.text(),
            "object": st.just("chat.completion"),
            "created": st.integers(0, 2**40),
            "model": st.text(),
            "choices": st.tuples(
                st.fixed_dictionaries(
                    {
                        "index": st.just(0),
                        "message": st.fixed_dictionaries(
                            {"role": st.text(), "content": _WORDS},
                            optional={"refusal": st.none(), "annotations": st.just([])},
                        ),
                        "finish_reason": st.sampled_from(["stop", "end", "STOP"]),
                    },
                    optional={"logprobs": st.none()},
                )
            ),
        },
        optional={"usage": _USAGES, "system_fingerprint": _MAYBE, "service_tier": _MAYBE},
    )
)
def test_what_is_plain_can_be_given_and_read_again(answer: dict[str, Any]) -> None:
    """It is not rehearsed when it is kept, so nothing of it may fail when somebody waits."""
    body = orjson.dumps(answer)
    assert is_plain(orjson.loads(body))
    streamed = ask(Endpoint.CHAT, stream=True)._replace(wants_usage=True)
    whole = gather(Endpoint.CHAT, b"".join(replay(streamed, body, 7)))
    assert whole is not None
    assert text_of(Endpoint.CHAT, whole) == answer["choices"][0]["message"]["content"]
    assert orjson.loads(*replay(ask(Endpoint.CHAT), body, 7))["model"] == answer["model"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), {"x": 1}), ((), {"id": 5}), ((), {"usage": []}), ((), {"service_tier": {}}),
        (("choices", 0), {"logprobs": {"content": []}}), (("choices", 0), {"odd": 1}),
        (("choices", 0), {"finish_reason": None}),
        (("choices", 0, "message"), {"tool_calls": [{}]}),
        (("choices", 0, "message"), {"annotations": [{}]}),
        (("choices", 0, "message"), {"content": None}),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_rehearsed(place: tuple[Any, ...], value: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "a"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer: Any = {"id": "a", "created": 1, "model": "m", "choices": [choice]}
    assert is_plain(answer)
    inner = answer
    for step in place:
        inner = inner[step]
    inner.update(value)
    assert not is_plain(answer)
