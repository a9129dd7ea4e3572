"""Legacy completions kept and given again."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.base import Ask, Endpoint, Usage
from tests.adapters.answers import bodies
from tests.adapters.answers.readers import completions_stream, cuts, payloads, without
from tests.adapters.asks import ask

NOW = 1_800_000_000

BODY: dict[str, Any] = {
    "id": "cmpl-old",
    "object": "text_completion",
    "created": 1,
    "model": "m-1",
    "choices": [{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def asked(prompt: Any = "Hi", **over: Any) -> Ask:
    return ask(Endpoint.COMPLETIONS, raw=orjson.dumps({"model": "m", "prompt": prompt, **over}))


def streaming() -> Ask:
    return asked(stream=True, stream_options={"include_usage": True})


def body(**choice: Any) -> bytes:
    return orjson.dumps({**BODY, "choices": [{**BODY["choices"][0], **choice}]})


def test_whole() -> None:
    found = orjson.loads(replay(asked(), body(), NOW)[0])
    assert found["id"].startswith("cmpl-")
    assert found["id"] != "cmpl-old"
    assert found == {**BODY, "id": found["id"], "created": NOW}


def test_a_stream_to_the_letter() -> None:
    found = payloads(replay(streaming(), body(), NOW))
    given_id = found[0]["id"]
    frame = {"id": given_id, "object": "text_completion", "created": NOW, "model": "m-1"}

    def chunk(text: str, finish: Any) -> Any:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {**frame, "choices": [choice]}

    assert found == [
        chunk(" Paris.", None),
        chunk("", "stop"),
        {**frame, "choices": [], "usage": {**BODY["usage"], "cost_usd": 0}},
        "[DONE]",
    ]


@given(bodies.completions)
def test_a_stream_gathered_is_the_body(whole: Any) -> None:
    stream = b"".join(replay(streaming(), orjson.dumps(whole), NOW))
    got = gather(Endpoint.COMPLETIONS, stream)
    assert got is not None
    assert without(orjson.loads(got), "id", "created") == without(whole, "id", "created")
    for part in cuts(stream):
        assert gather(Endpoint.COMPLETIONS, part) is None


@given(bodies.completions)
def test_the_sdk_hears_the_same_in_both(whole: Any) -> None:
    raw = orjson.dumps(whole)
    chunks = completions_stream(b"".join(replay(streaming(), raw, NOW)))
    for choice in whole["choices"]:
        mine = [c for chunk in chunks for c in chunk.choices if c.index == choice["index"]]
        assert "".join(c.text for c in mine) == choice["text"]
        assert mine[-1].finish_reason == choice["finish_reason"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("an_ask", "raw", "reason"),
    [
        (asked(), body(), None),
        (asked(["a"]), body(), None),
        (asked([1, 2, 3]), body(), None),
        (asked(["a", "b"]), body(), "malformed"),
        (asked(n=2), body(), "malformed"),
        (asked(), body(finish_reason="length"), "finish_length"),
        (asked(), body(finish_reason="content_filter"), "filtered"),
        (asked(), body(text=""), "empty"),
        (asked(), body(text=None), "malformed"),
        (asked(response_format={"type": "json_object"}), body(), "invalid_json"),
        (asked(), b'{"choices": [{"index": 0}]}', "malformed"),
    ],
)
def test_unfit(an_ask: Ask, raw: bytes, reason: str | None) -> None:
    assert unfit(an_ask, raw) == reason


def test_read() -> None:
    assert text_of(Endpoint.COMPLETIONS, body()) == " Paris."
    assert usage_of(Endpoint.COMPLETIONS, body()) == Usage(3, 2)


def test_a_text_that_is_none_is_nothing() -> None:
    odd = b'data: {"choices":[{"index":0,"text":[],"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    assert gather(Endpoint.COMPLETIONS, odd) is None
