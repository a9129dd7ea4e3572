"""Odd answers, held to their shape."""

from typing import Any

import orjson
import pytest

from adapters.base import FailureKind, UpstreamFailure
from adapters.inbound.tidy import tidy_chunk, tidy_completion


def chunk(delta: Any, **over: Any) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": None} | over
    return tidy_chunk(orjson.dumps({"id": "c", "created": 1, "model": "m", "choices": [choice]}))


def test_what_is_right_stays() -> None:
    delta = {
        "content": "x",
        "reasoning_content": "y",
        "tool_calls": [
            {
                "index": 1,
                "id": "a",
                "function": {"name": "f", "arguments": "{"},
                "extra_content": {"google": {"thought_signature": "s"}},
            }
        ],
        "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "y", "signature": "s"}],
    }
    assert chunk(delta, finish_reason="stop") == {
        "id": "c",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": "stop", "logprobs": None}],
    }


@pytest.mark.parametrize(
    "delta",
    [
        None,
        5,
        {"content": 5, "refusal": [], "extra_content": "x"},
        {"tool_calls": True, "thinking_blocks": [5, {"thinking": "x"}]},
        {"thinking_blocks": [{"type": "redacted_thinking"}]},
    ],
)
def test_what_is_odd_goes(delta: Any) -> None:
    found = chunk(delta, index=True, finish_reason={"a": 1}, logprobs=[1])
    kept = {"thinking_blocks": []} if isinstance(delta, dict) and "thinking_blocks" in delta else {}
    assert found["choices"] == [
        {"index": 0, "delta": kept, "finish_reason": None, "logprobs": None}
    ]


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"choices":5}', b"[" * 300 + b"]" * 300])
def test_what_is_no_chunk(payload: bytes) -> None:
    assert tidy_chunk(payload) is None


@pytest.mark.parametrize("body", [b"{}", b'{"choices":[]}', b'{"choices":[{"message":5}]}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        tidy_completion(body)
    assert failed.value.failure.kind is FailureKind.INVALID_REPLY


def test_numbers_of_calls_and_tokens() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b"}]
    tokens = [
        {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b"}]},
        {"token": "a", "logprob": "x"},
    ]
    body = orjson.dumps(
        {"choices": [{"message": {"tool_calls": calls}, "logprobs": {"content": tokens}}]}
    )
    (choice,) = tidy_completion(body)["choices"]
    assert choice["message"]["tool_calls"] == [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"index": 1, "id": "b", "function": {}},
    ]
    assert choice["logprobs"] == {
        "content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]
    }
