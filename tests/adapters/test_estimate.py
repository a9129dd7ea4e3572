"""Estimates: rough, but never from nothing."""

import pytest

from adapters.base import Endpoint, Usage
from adapters.estimate import estimate, text_size, tokens
from tests.adapters.asks import ask


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("abc", 3),
        ("日本", 6),
        (["ab", {"x": "cd", "n": 1}], 4),
        ("data:image/png;base64,AAAA", 0),
        (None, 0),
        ("\ud800", 1),
    ],
)
def test_text_size(value: object, size: int) -> None:
    assert text_size(value) == size


def test_tokens_round_up() -> None:
    assert [tokens(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_chat_counts_text_and_frames() -> None:
    an_ask = ask(messages=[{"role": "user", "content": "x" * 40}, {"role": "user", "content": ""}])
    assert estimate(an_ask, 8) == Usage(prompt=16, completion=2)


def test_prompts_and_inputs() -> None:
    assert estimate(ask(Endpoint.COMPLETIONS, raw=b'{"prompt":"xxxxxxxx"}'), 0) == Usage(prompt=2)
    assert estimate(ask(Endpoint.EMBEDDINGS, raw=b'{"input":["xxxx","x"]}'), 0) == Usage(prompt=2)
