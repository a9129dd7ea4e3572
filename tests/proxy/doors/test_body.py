"""A body read once, and checked only as far as Turnout needs it."""

from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from adapters.base import Endpoint
from proxy.doors import body as bodies
from proxy.errors import InvalidRequest

CHAT = {"model": "m", "messages": [{"role": "user"}]}


async def test_a_body_in_pieces() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": False},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    assert await bodies.read(receive) == b"abc"


async def test_a_client_that_leaves_half_way() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await bodies.read(receive)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.CHAT, CHAT),
        (Endpoint.CHAT, CHAT | {"max_tokens": 0, "stop": None, "new": {"x": 1}}),
        (Endpoint.CHAT, CHAT | {"stop": ["a"], "n": 2, "temperature": 2, "stream": None}),
        (Endpoint.COMPLETIONS, {"model": "m", "prompt": [1, 2]}),
        (Endpoint.EMBEDDINGS, {"model": "m", "input": ["a"]}),
    ],
)
def test_what_passes(endpoint: Endpoint, body: dict[str, Any]) -> None:
    bodies.check(endpoint, body)


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (Endpoint.CHAT, {"messages": [1]}, "model"),
        (Endpoint.CHAT, {"model": "m"}, "messages"),
        (Endpoint.CHAT, CHAT | {"max_tokens": True}, "max_tokens"),
        (Endpoint.CHAT, CHAT | {"max_tokens": 1.5}, "max_tokens"),
        (Endpoint.COMPLETIONS, {"model": "m"}, "prompt"),
        (Endpoint.EMBEDDINGS, {"model": "m", "input": ""}, "input"),
        (Endpoint.EMBEDDINGS, {"model": "m", "input": "x", "dimensions": -1}, "dimensions"),
        (Endpoint.CHAT, CHAT | {"api_key": None}, "api_key"),
    ],
)
def test_what_does_not(endpoint: Endpoint, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        bodies.check(endpoint, body)
    assert caught.value.param == param


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_a_model_s_name_is_no_longer_than_a_header_may_be(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidRequest, match="512 characters at most") as caught:
        bodies.check(endpoint, {**WHOLE, "model": "m" * 513})
    assert caught.value.param == "model"
    bodies.check(endpoint, {**WHOLE, "model": "m" * 512})


WHOLE = {"messages": [{"role": "user"}], "input": "x", "prompt": "x", "max_tokens": 1}
