"""Embeddings kept and given again."""

from typing import Any

import orjson
import pytest

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.base import Ask, Endpoint, Usage
from tests.adapters.asks import ask

VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}
BODY: dict[str, Any] = {
    "object": "list",
    "data": [VECTOR],
    "model": "m",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


def asked(given: Any) -> Ask:
    return ask(Endpoint.EMBEDDINGS, raw=orjson.dumps({"model": "m", "input": given}))


def body(*data: Any) -> bytes:
    return orjson.dumps({**BODY, "data": list(data)})


TWO = (VECTOR, {**VECTOR, "index": 1})


@pytest.mark.parametrize(
    ("given", "raw", "reason"),
    [
        ("a", body(VECTOR), None),
        (["a"], body(VECTOR), None),
        ([1, 2, 3], body(VECTOR), None),
        ([[1, 2], [3]], body(*TWO), None),
        (["a", "b"], body(*TWO), None),
        (["a", "b"], body(*reversed(TWO)), None),
        (["a", "b"], body(VECTOR), "malformed"),
        (["a", "b"], body(VECTOR, VECTOR), "malformed"),
        ("a", body(*TWO), "malformed"),
        ("a", body({**VECTOR, "embedding": "AAAA"}), None),
        ("a", body({**VECTOR, "embedding": []}), "empty"),
        ("a", body({**VECTOR, "embedding": ""}), "empty"),
        ("a", body({**VECTOR, "embedding": None}), "malformed"),
        ("a", body({"index": 0}), "malformed"),
        ("a", b"{}", "malformed"),
    ],
)
def test_unfit(given: Any, raw: bytes, reason: str | None) -> None:
    assert unfit(asked(given), raw) == reason


def test_the_very_same_bytes_are_given_again() -> None:
    raw = b'{"object": "list",  "data": [{"index": 0, "embedding": [1e-7, 0.10]}]}'
    assert replay(asked("a"), raw, 1) == (raw,)


def test_what_it_cost_is_nothing_now() -> None:
    raw = orjson.dumps({**BODY, "usage": {"prompt_tokens": 3, "cost_usd": 0.5}})
    (found,) = replay(asked("a"), raw, 1)
    assert orjson.loads(found) == {**BODY, "usage": {"prompt_tokens": 3, "cost_usd": 0}}


def test_read() -> None:
    assert usage_of(Endpoint.EMBEDDINGS, body(VECTOR)) == Usage(3, 0)
    assert text_of(Endpoint.EMBEDDINGS, body(VECTOR)) == ""
    assert gather(Endpoint.EMBEDDINGS, b"data: {}\n\n") is None
