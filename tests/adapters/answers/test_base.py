"""The pieces that the shapes are made of."""

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.answers import gather, replay, text_of, unfit, usage_of
from adapters.answers.base import NotWhole, named_event, read_payloads, split, unbilled
from adapters.base import Endpoint
from tests.adapters.answers import bodies
from tests.adapters.asks import ask


@given(st.text())
def test_pieces_are_all_of_a_text(text: str) -> None:
    pieces = split(text)
    assert "".join(pieces) == text
    assert all(1 <= len(piece) <= 65 for piece in pieces)


@given(st.lists(st.text("abc", min_size=1, max_size=20), max_size=60))
def test_pieces_end_at_spaces(words: list[str]) -> None:
    pieces = split(" ".join(words))
    assert all(piece.endswith(" ") for piece in pieces[:-1])
    assert all(len(piece) >= 40 for piece in pieces[:-1])


def test_payloads_are_whole_or_nothing() -> None:
    assert read_payloads(b": hi\n\nevent: x\ndata: 1\n\ndata: 2\n\n") == [b"1", b"2"]
    for raw in (b"", b"\n\n", b"data: 1\n\ndata: 2", b"data: 1\n\ndata: 2\n", b"data: 1\n\nda"):
        with pytest.raises(NotWhole):
            read_payloads(raw)


def test_a_named_event() -> None:
    assert named_event({"type": "a.b", "x": 1}) == b'event: a.b\ndata: {"type":"a.b","x":1}\n\n'


def test_unbilled() -> None:
    for usage, expected in [
        ({"cost_usd": 1.5, "n": 2}, {"cost_usd": 0, "n": 2}),
        ({}, {}),
        (None, None),
    ]:
        answer = {"usage": usage}
        unbilled(answer)
        assert answer == {"usage": expected}


def test_answers_of_other_endpoints_are_not_kept() -> None:
    for endpoint in (Endpoint.IMAGES, Endpoint.SPEECH, Endpoint.COUNT_TOKENS):
        assert unfit(ask(endpoint), b"{}") == "endpoint"
        assert gather(endpoint, b"data: [DONE]\n\n") is None
        assert usage_of(endpoint, b"{}") is None
        assert text_of(endpoint, b"{}") == ""


def test_what_is_nested_too_deep_to_be_written_again_is_not_kept() -> None:
    deep = b"[" * 400 + b"]" * 400
    choice = (
        b'{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop","a":%b}'
        % deep
    )
    assert unfit(ask(), b'{"choices":[%b]}' % choice) == "malformed"
    good = choice.replace(deep, b"[]")
    assert unfit(ask(), b'{"choices":[%b]}' % good) is None
    assert orjson.loads(replay(ask(), b'{"choices":[%b]}' % good, 7)[0])["created"] == 7


SHAPES = {
    Endpoint.CHAT: bodies.chats,
    Endpoint.COMPLETIONS: bodies.completions,
    Endpoint.MESSAGES: bodies.messages,
    Endpoint.RESPONSES: bodies.responses,
}
OWN = {"model": "m", "input": "Hi", "prompt": "Hi", "messages": []}


def damaged(value: Any, chance: random.Random, odd: Any) -> Any:
    """A JSON value with `odd` in one place of it."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.2:
        return odd
    place = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copied = value.copy()
    copied[place] = damaged(value[place], chance, odd)
    return copied


@pytest.mark.parametrize("endpoint", SHAPES)
@given(data=st.data(), seed=st.integers(0, 2**32), odd=bodies.values)
def test_whatever_an_upstream_says_nothing_is_raised(
    endpoint: Endpoint, data: Any, seed: int, odd: Any
) -> None:
    """What is judged fit can be given again; a stream is gathered or it is not."""
    whole, chance = data.draw(SHAPES[endpoint]), random.Random(seed)
    asked = ask(endpoint, raw=orjson.dumps(OWN))
    streaming = asked._replace(stream=True, wants_usage=True)
    body = orjson.dumps(damaged(whole, chance, odd))
    usage_of(endpoint, body)
    text_of(endpoint, body)
    if unfit(asked, body) is None:
        assert replay(asked, body, 7)
        assert gather(endpoint, b"".join(replay(streaming, body, 7)))
    events = list(replay(streaming, orjson.dumps(whole), 7))
    place = chance.randrange(len(events) - (endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS)))
    *_, data_line = events[place].removesuffix(b"\n\n").split(b"\n")
    payload = orjson.loads(data_line.removeprefix(b"data: "))
    events[place] = b"data: " + orjson.dumps(damaged(payload, chance, odd)) + b"\n\n"
    got = gather(endpoint, b"".join(events))
    assert got is None or isinstance(orjson.loads(got), dict)
